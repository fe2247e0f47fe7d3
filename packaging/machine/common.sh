# What the scripts of the Debian package and install.sh share. On the machine of a user, with any POSIX shell.

CONFIG=/etc/edgeferry/edgeferry.toml
# Stores in which nothing waited for delivery when the program was removed, each with a fingerprint: a purge may delete these, if they are
# what they were. A store is not written to for that.
DELIVERED=/var/lib/misc/edgeferry.delivered
# What a removal stopped and disabled, for a removal that is given up half-way. Not for longer than the machine runs.
STOPPED=/run/edgeferry.stopped
# Longest look at one store, seconds: an index of a million messages opens in one. A card that is about to die must not hold a removal.
LOOK_LIMIT=120
# How long a look that was told to end may take for it, seconds, before it is killed.
LOOK_END=10

# Whoever listened may be gone: a link that broke, `| head`, a log on a full disk. What is done matters more than what is said of it.
say() { echo "edgeferry: $*" >&2 || true; }
# A word that nobody reads must not end the shell without its EXIT trap. No '': programs that are started would ignore it, too.
trap : PIPE

# edgeferry, which may be on a card that hangs.
ask() { timeout -k "$LOOK_END" "$LOOK_LIMIT" edgeferry "$@"; }

systemd_runs() { [ -d /run/systemd/system ]; }

# The user that units, secrets and stores belong to.
make_user() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers /usr/lib/sysusers.d/edgeferry.conf
    elif ! id edgeferry >/dev/null 2>&1; then
        # Somebody may have made the group before.
        if grep -q '^edgeferry:' /etc/group; then group='--gid edgeferry'; else group=--user-group; fi
        # shellcheck disable=SC2086 # one or two words
        useradd --system $group --home-dir /var/lib/edgeferry --no-create-home --shell /usr/sbin/nologin \
            --comment 'edgeferry gateway' edgeferry
    fi
    # It may name brokers and users, and is nobody else's business. Whom an administrator gave it to, it stays with.
    if [ -f "$CONFIG" ] && [ "$(stat -c %G "$CONFIG")" = root ]; then
        chgrp edgeferry "$CONFIG"
    fi
}

# The gateways of this machine in one of the states $1: edgeferry.service and instances of edgeferry@.service.
units() {
    systemctl list-units --plain --no-legend --state="$1" 'edgeferry.service' 'edgeferry@*.service' | cut -d' ' -f1
}

# Those that systemd has something to do for.
running_units() { units active,activating,reloading; }

# The unit that the link $1 wants started.
wanted_by_link() {
    case "${1##*/}" in
        edgeferry.service | edgeferry@*.service) echo "${1##*/}" ;;
    esac
}

# The unit that the link $1 is another name of (`Alias=`). That of the template has the instance in it. A link with a name of ours is somebody's own
# unit, or a mask.
unit_of_alias() {
    [ -z "$(wanted_by_link "$1")" ] || return 0
    target=$(readlink "$1")
    instance=${1##*@}
    case "${target##*/}" in
        edgeferry@.service) [ "$instance" = "$1" ] || echo "edgeferry@$instance" ;;
        edgeferry.service | edgeferry@*.service) echo "${target##*/}" ;;
    esac
}

# The links by which gateways start by themselves when the machine or another unit does, or have another name.
links() {
    for link in /etc/systemd/system/*.wants/*.service /etc/systemd/system/*.requires/*.service /etc/systemd/system/*.upholds/*.service; do
        if [ -L "$link" ] && [ -n "$(wanted_by_link "$link")$(unit_of_alias "$link")" ]; then printf '%s\n' "$link"; fi
    done
    for link in /etc/systemd/system/*.service; do
        if [ -L "$link" ] && [ -n "$(unit_of_alias "$link")" ]; then printf '%s\n' "$link"; fi
    done
}

# systemd refuses it when /run is full, and can be too busy to answer. Neither may leave a package half-installed.
reload_units() {
    systemd_runs || return 0
    systemctl daemon-reload || say "systemd did not read its units again: systemctl daemon-reload, once it can"
}

# The configuration file of a unit, as its command line names it.
config_of() {
    named=$(systemctl show --value --property=ExecStart "$1" | sed -n 's/.* --config[= ]\([^ ;]*\).*/\1/p' | head -n 1)
    echo "${named:-$CONFIG}"
}

# The `data_dir` of a configuration file.
store_of() {
    sed -n "s/^[[:space:]]*data_dir[[:space:]]*=[[:space:]]*[\"']\([^\"']*\)[\"'].*/\1/p" "$1" 2>/dev/null | head -n 1
}

# Why the new program would not start as this unit, if it would not. Only what it is sure to refuse: an expired certificate keeps no gateway
# from starting, and does not matter here.
why_not() {
    its_config=$(config_of "$1")
    if ! why=$(ask check --file-only --config "$its_config" 2>&1); then
        echo "${why:-edgeferry check did not answer}"
        return
    fi
    its_store=$(store_of "$its_config")
    its_format=$(sed -n 's/^edgeferry-store *\([0-9][0-9]*\).*/\1/p' "${its_store:-/nowhere}/format" 2>/dev/null) || true
    format=$(edgeferry --version --verbose --json | sed -n 's/.*"store_format": *\([0-9]*\).*/\1/p')
    if [ -n "$its_format" ] && [ -n "$format" ] && [ "$its_format" -gt "$format" ]; then
        echo "$its_store was written by a newer edgeferry (format $its_format); this one reads up to $format. Install the newer one again"
    fi
}

# Whoever prepares an image or a window for maintenance may forbid restarts.
may_restart() {
    [ -x /usr/sbin/policy-rc.d ] || return 0
    answer=0
    /usr/sbin/policy-rc.d "$1" restart >/dev/null 2>&1 || answer=$?
    [ "$answer" != 101 ]
}

# What runs is stopped by its own program, and started by the new one; what does not run stays as it is. A gateway that the new program
# would not start is better off with the old one, which has its file open.
start_again() {
    systemd_runs || return 0
    reload_units
    for unit in $(running_units); do
        if ! may_restart "$unit"; then
            say "$unit goes on with the old program, because /usr/sbin/policy-rc.d forbids a restart: systemctl restart $unit"
            continue
        fi
        why=$(why_not "$unit")
        if [ -n "$why" ]; then
            say "$unit was not restarted, and goes on with the old program until it ends: the new one would not start."
            printf '%s\n' "$why" >&2 || true
            say "Mend that, then: systemctl restart $unit"
        elif systemctl try-restart "$unit"; then
            say "$unit runs with the new program: $(systemctl show --value --property=StatusText "$unit")"
        else
            say "$unit did not start again. Its store is as it was. It said:"
            journalctl --quiet --unit "$unit" --lines 5 --output cat >&2 || true
            say "journalctl -u $unit says more"
        fi
    done
}

# For whoever has just installed it.
say_how_to_go_on() {
    if [ -n "$(links)" ]; then return 0; fi
    if systemd_runs && [ -n "$(running_units)" ]; then return 0; fi
    say "not enabled and not started, because it has to know first where its brokers are:"
    say "  edit $CONFIG, then: edgeferry check --live && systemctl enable --now edgeferry"
}

# Stops and disables all gateways, and notes which: a removal can still be given up.
stop_everything() {
    mkdir -p "${STOPPED%/*}"
    # What a removal noted that was cut short is still to be undone.
    : >>"$STOPPED"
    if systemd_runs; then
        # Also those that are about to end: they have their store until then.
        for unit in $(units active,activating,reloading,deactivating); do
            say "stopping $unit"
            echo "ran $unit" >>"$STOPPED"
            systemctl stop "$unit" || say "$unit could not be stopped"
        done
    fi
    # Not by `systemctl disable`, which leaves names of instances and takes links that `enable` would not make again.
    for link in $(links); do
        printf 'link %s %s\n' "$link" "$(readlink "$link")" >>"$STOPPED"
        rm -f "$link" || say "$link could not be removed: rm $link"
    done
}

# Makes the link $1 to $2 again.
link_again() {
    [ ! -L "$1" ] || return 0
    if ! mkdir -p "${1%/*}" || ! ln -s "$2" "$1"; then say "$1 could not be made again: it was a link to $2"; fi
}

# The package stays after all.
undo_stop() {
    [ -f "$STOPPED" ] || return 0
    while read -r what name target; do
        [ "$what" != link ] || link_again "$name" "$target"
    done <"$STOPPED"
    reload_units
    while read -r what unit _; do
        if [ "$what" = ran ] && systemd_runs; then
            systemctl start "$unit" || say "$unit did not start again: journalctl -u $unit says why"
        fi
    done <"$STOPPED"
    rm -f "$STOPPED" "$DELIVERED"
}

# What an earlier removal noted is about another time.
forget_removal() { rm -f "$STOPPED" "$DELIVERED"; }

# The sum of the numbers behind a name in JSON.
sum_of() { grep -o "\"$1\":[0-9]*" | awk -F: '{ sum += $2 } END { print sum + 0 }'; }

# A daemon has the lock of its store, whoever started it. What cannot be asked counts as in use.
is_in_use() { [ -e "$1/lock" ] && ! flock --nonblock "$1/lock" true; }

# What tells a store from any other and from itself at another time: no copy has these inode numbers and times of change, and no clock that goes
# wrong makes them come again. Fails when something cannot be read, or where `find` cannot say it.
fingerprint() {
    files=$(cd "$1" && find . ! -type d -printf '%i %s %T@ %C@ %P\n' 2>/dev/null) || return 1
    printf '%s\n' "$files" | LC_ALL=C sort | sha256sum | cut -d' ' -f1
}

# What is in a store's folder and no part of a store that is in order: exports, another store, and generations that only
# `edgeferry queue salvage` may still read. docs/disk-format.md has what belongs there.
strange_in() {
    find "$1" -mindepth 1 -maxdepth 1 ! -name format ! -name lock ! -name control.sock ! -name imports.json ! -name ballast \
        ! -name identity.json ! -name lanes ! -name dead-letters ! -name retired ! -name lost+found &&
        find "$1" \( -name '*.damaged-*' -o -name '*.kept-*' \) -prune
}

# Looks at the store of configuration $1: true when nothing in it waits for delivery, otherwise it says what does.
is_delivered() {
    store=$(store_of "$1")
    if is_in_use "$store"; then
        say "$store is in use by another program: it is kept"
        return 1
    fi
    status=0
    queue=$(ask queue ls --json --config "$1" 2>&1) || status=$?
    letters=
    [ "$status" != 0 ] || letters=$(ask dead-letter ls --json --config "$1" 2>&1) || status=$?
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then
        # It was ended before it could give back what root made there.
        chown -Rh --reference="$store" "$store" || true
    fi
    if [ "$status" != 0 ] || [ "$(echo "$queue" | grep -c '"lane":{')" != "$(echo "$queue" | grep -c '"failure":null')" ]; then
        say "$store is kept; what is in it cannot be said: $(echo "$queue $letters" | tail -n 1)"
        return 1
    fi
    queued=$(echo "$queue" | sum_of queued)
    dead=$(echo "$letters" | sum_of letters)
    if [ "$queued" != 0 ] || [ "$dead" != 0 ]; then
        say "$store keeps $queued messages that are not delivered, and $dead dead letters"
        return 1
    fi
    if ! strange=$(strange_in "$store" 2>&1) || [ -n "$strange" ]; then
        say "$store is kept: it has something in it that is no message and could be wanted: $(echo "$strange" | head -n 3 | paste -sd' ')"
        return 1
    fi
}

# Says for each store what is in it that was not delivered, while there still is a program to ask, and notes those that have nothing.
note_what_is_left() {
    free='' kept=''
    for config in /etc/edgeferry/*.toml; do
        [ -f "$config" ] || continue
        store=$(store_of "$config")
        if [ -z "$store" ] || [ ! -d "$store" ]; then continue; fi
        if is_delivered "$config"; then
            free="$free$store
"
        else
            kept="$kept$store
"
        fi
    done
    mkdir -p "${DELIVERED%/*}"
    # After all looks: a look takes the lock, and two configurations may name one store.
    printf '%s' "$free" | sort -u | while IFS= read -r store; do
        if printf '%s' "$kept" | grep -qxF "$store"; then continue; fi
        if sum=$(fingerprint "$store"); then echo "$sum $store"; fi
    done >"$DELIVERED"
}

# Deletes a store. The partition that it may be stays, and so does what somebody mounted inside.
delete_store() {
    if mountpoint -q "$1"; then
        find "$1" -xdev -mindepth 1 ! -path "$1/lost+found" ! -path "$1/lost+found/*" -delete
    else
        rm -rf --one-file-system "$1"
    fi
}

# Deletes the store $1 if it is exactly what was noted. With its lock held, so that no daemon uses it meanwhile.
purge_store() {
    status=4
    if [ -f "$1/lock" ]; then
        status=0
        (
            flock --nonblock 9 || exit 3
            sum=$(fingerprint "$1") && grep -qxF "$sum $1" "$DELIVERED" 2>/dev/null || exit 4
            delete_store "$1" || exit 5
        ) 9<"$1/lock" || status=$?
    fi
    case "$status" in
        0) say "deleted $1: nothing in it waited for delivery" ;;
        3) say "kept $1: it is in use by another program" ;;
        5) say "$1 could not be deleted as a whole; nothing in it waited for delivery: rm -r $1" ;;
        *)
            say "kept $1 ($(du -sh "$1" | cut -f1)): it may have messages that were not delivered."
            say "  Installed again, edgeferry delivers them. To give them up: rm -r $1"
            ;;
    esac
}

# Deletes the stores in which nothing was left, and only those. Messages do not vanish because a program does.
purge_stores() {
    for store in /var/lib/edgeferry /var/lib/edgeferry-*; do
        if [ -L "$store" ]; then
            say "kept $store: it is a link to $(readlink "$store")"
        elif [ -d "$store" ]; then
            purge_store "$store"
        fi
    done
    forget_removal
    if [ -n "$(ls -A /etc/edgeferry 2>/dev/null)" ]; then
        say "kept in /etc/edgeferry, because no package put it there: $(cd /etc/edgeferry && echo *)"
    fi
    # Files that a purge does not know of may belong to it, and must not become those of the next user with its number.
    say "the user edgeferry stays: userdel edgeferry"
}
