# What the scripts of the Debian package and install.sh share. On the machine of a user, with any POSIX shell.

CONFIG=/etc/edgeferry/edgeferry.toml
# Stores of which everything was delivered when the program was removed: a purge may delete these. A store is not written to for
# that, and what a purge finds changed since is kept.
DELIVERED=/var/lib/misc/edgeferry.delivered
# Longest look at one store, seconds: an index of a million messages opens in one. A card that is about to die must not hold a removal.
LOOK_LIMIT=120

say() { echo "edgeferry: $*" >&2; }

systemd_runs() { [ -d /run/systemd/system ]; }

# The user that units, secrets and stores belong to.
make_user() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers /usr/lib/sysusers.d/edgeferry.conf
    elif ! id edgeferry >/dev/null 2>&1; then
        useradd --system --user-group --home-dir /var/lib/edgeferry --no-create-home --shell /usr/sbin/nologin \
            --comment 'edgeferry gateway' edgeferry
    fi
    # It may name brokers and users, and is nobody else's business. Whom an administrator gave it to, it stays with.
    if [ -f "$CONFIG" ] && [ "$(stat -c %G "$CONFIG")" = root ]; then
        chgrp edgeferry "$CONFIG"
    fi
}

# The gateways of this machine that systemd has something to do for: edgeferry.service and instances of edgeferry@.service.
running_units() {
    systemctl list-units --plain --no-legend --state=active,activating,reloading 'edgeferry.service' 'edgeferry@*.service' | cut -d' ' -f1
}

# Those that start by themselves when the machine does.
enabled_units() {
    for link in /etc/systemd/system/*.wants/edgeferry.service /etc/systemd/system/*.wants/edgeferry@*.service; do
        if [ -L "$link" ]; then basename "$link"; fi
    done
}

# What runs is stopped by its own program, and started by the new one; what does not run stays as it is.
start_again() {
    systemd_runs || return 0
    systemctl daemon-reload
    for unit in $(running_units); do
        if systemctl try-restart "$unit"; then
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
    if [ -n "$(enabled_units)" ]; then return 0; fi
    say "not enabled and not started, because it has to know first where its brokers are:"
    say "  edit $CONFIG, then: edgeferry check --live && systemctl enable --now edgeferry"
}

stop_everything() {
    if systemd_runs; then
        for unit in $(running_units); do
            say "stopping $unit"
            systemctl stop "$unit"
        done
    fi
    if command -v systemctl >/dev/null; then
        for unit in $(enabled_units); do
            systemctl --quiet disable "$unit"
        done
    fi
}

# The sum of the numbers behind a name in JSON.
sum_of() { grep -o "\"$1\":[0-9]*" | awk -F: '{ sum += $2 } END { print sum + 0 }'; }

# Says for each store what is in it that was not delivered, while there still is a program to ask, and notes those that have nothing.
note_what_is_left() {
    noted=''
    for config in /etc/edgeferry/*.toml; do
        [ -f "$config" ] || continue
        store=$(sed -n "s/^[[:space:]]*data_dir[[:space:]]*=[[:space:]]*[\"']\([^\"']*\)[\"'].*/\1/p" "$config" | head -n 1)
        if [ -z "$store" ] || [ ! -d "$store" ]; then continue; fi
        if queue=$(timeout "$LOOK_LIMIT" edgeferry queue ls --json --config "$config" 2>&1) &&
            letters=$(timeout "$LOOK_LIMIT" edgeferry dead-letter ls --json --config "$config" 2>&1) &&
            [ "$(echo "$queue" | grep -c '"lane":{')" = "$(echo "$queue" | grep -c '"failure":null')" ]; then
            queued=$(echo "$queue" | sum_of queued)
            dead=$(echo "$letters" | sum_of letters)
            if [ "$queued" = 0 ] && [ "$dead" = 0 ]; then
                noted="$noted$store
"
                continue
            fi
            say "$store keeps $queued messages that are not delivered, and $dead dead letters"
        else
            say "$store is kept; what is in it cannot be said: $(echo "$queue $letters" | tail -n 1)"
        fi
    done
    # After all looks, so that nothing in a store is newer.
    mkdir -p "${DELIVERED%/*}"
    printf '%s' "$noted" >"$DELIVERED"
}

# Deletes the stores in which nothing was left, and only those. Messages do not vanish because a program does.
purge_stores() {
    for store in /var/lib/edgeferry /var/lib/edgeferry-*; do
        if [ ! -d "$store" ] || [ -L "$store" ]; then continue; fi
        if grep -qxF "$store" "$DELIVERED" 2>/dev/null && [ -z "$(find "$store" -newer "$DELIVERED" | head -n 1)" ]; then
            rm -rf "$store"
            say "deleted $store: everything in it was delivered"
        else
            say "kept $store ($(du -sh "$store" | cut -f1)): it may have messages that were not delivered."
            say "  Installed again, edgeferry delivers them. To give them up: rm -r $store"
        fi
    done
    rm -f "$DELIVERED"
    if [ -n "$(ls -A /etc/edgeferry 2>/dev/null)" ]; then
        say "kept in /etc/edgeferry, because no package put it there: $(cd /etc/edgeferry && echo *)"
    fi
    # Files that a purge does not know of may belong to it, and must not become those of the next user with its number.
    say "the user edgeferry stays: userdel edgeferry"
}
