
# Every file that was installed, so that all of them can be removed.
LIST=/usr/share/doc/edgeferry/installed-files
# The configuration as it was shipped: to see whether a later one is another.
SHIPPED=/usr/share/doc/edgeferry/edgeferry.toml

usage() {
    cat <<TEXT
usage: ./install.sh [--without-systemd]       install or upgrade
       ./install.sh --uninstall [--purge]     remove; configuration and stores stay

  --without-systemd  on a machine that has none: you start 'edgeferry run' as the user edgeferry yourself
  --purge            also delete $CONFIG, and stores in which nothing waits for delivery
TEXT
}

refuse() {
    say "$*"
    exit 1
}

# dpkg must know nothing of it: what it removes or purges later would be the files of this installation.
look_at_package() {
    command -v dpkg-query >/dev/null || return 0
    case "$(dpkg-query --show --showformat='${db:Status-Status}' edgeferry 2>/dev/null)" in
        '' | not-installed) ;;
        config-files)
            refuse "the Debian package edgeferry was removed and still owns $CONFIG: copy that, then apt purge edgeferry (stores with messages are kept)"
            ;;
        *) refuse "edgeferry is installed as a Debian package: upgrade it with that (apt install ./edgeferry_..._$ARCHITECTURE.deb), or purge it first" ;;
    esac
}

look_at_machine() {
    if command -v look_at_processor >/dev/null; then look_at_processor; fi
    look_at_package
    if ! command -v systemctl >/dev/null && [ -z "$without_systemd" ]; then
        refuse "there is no systemd on this machine. With --without-systemd everything but the units is installed, and you start 'edgeferry run' yourself"
    fi
    if ! command -v systemd-sysusers >/dev/null && ! command -v useradd >/dev/null && ! id edgeferry >/dev/null 2>&1; then
        refuse "there is neither systemd-sysusers nor useradd on this machine: make a system user 'edgeferry' with a group of its name first"
    fi
    status=0
    program=$here/files/usr/bin/edgeferry
    said=$("$program" --version 2>&1) || status=$?
    case "$status" in
        0) ;;
        126 | 127) refuse "the program does not run on this machine ($(uname -m)): $said. It is for $ARCHITECTURE and glibc; is this the right archive, and may programs run in $here (noexec)?" ;;
        132) refuse "this machine's processor does not know the instructions of the program; it is for $ARCHITECTURE" ;;
        *) refuse "the program does not run on this machine: $said" ;;
    esac
    if ! [ -e /etc/ssl/certs/ca-certificates.crt ] && ! [ -e /etc/pki/tls/certs/ca-bundle.crt ] && ! [ -d /etc/ssl/certs ]; then
        say "no certificate authorities are on this machine (usually the package ca-certificates): TLS will need ca_file"
    fi
}

# Copies one file ($1) beside its place ($2), with mode $3, for `swap`. Here and below few programs are started for a file: a small board takes long for each.
stage() {
    [ ! -d "$2" ] || refuse "$2 is a folder, and has to be a file: put it away first"
    [ -d "${2%/*}" ] || make_folder "${2%/*}"
    echo "$2" >>"$work/staged"
    # Nobody else can read it before it has its mode.
    install -o 0 -g 0 -m "$3" "$1" "$2.edgeferry-new"
}

# Makes a folder, and notes those that were not there before, the innermost first.
make_folder() {
    [ -d "${1%/*}/" ] || make_folder "${1%/*}"
    mkdir "$1"
    { echo "$1" && cat "$work/folders"; } >"$work/folders.new"
    mv "$work/folders.new" "$work/folders"
}

# Has the file systems of these folders on the disk. All of them where sync cannot choose: then it also waits for whatever else is written on this machine.
flush() {
    # shellcheck disable=SC2086 # several folders, which have no spaces in their names
    sync -f $1 2>/dev/null || sync
}

# Renames all that is staged: a running program keeps its own file. What is renamed is on the disk before, so a power cut leaves an old file or a new
# one, and never half of one. The old ones stay beside until `keep_it`.
swap() {
    folders=$(sed 's|/[^/]*$||' "$work/staged" | sort -u)
    flush "$folders"
    while IFS= read -r file; do
        if [ -e "$file.edgeferry-old" ] || [ -L "$file.edgeferry-old" ]; then rm -f "$file.edgeferry-old"; fi
        # A second name of the same file where there can be one: it needs no room.
        if [ -L "$file" ] || { [ -e "$file" ] && ! ln "$file" "$file.edgeferry-old" 2>/dev/null; }; then
            cp -pP "$file" "$file.edgeferry-old"
        fi
        echo "$file" >>"$work/swapped"
        mv -f "$file.edgeferry-new" "$file"
    done <"$work/staged"
    : >"$work/staged"
    flush "$folders"
}

# Nothing can fail any more for which the old version would be wanted again. That is settled before the first old file is gone: without it, `go_back`
# would take the new one for a file that was not there before.
keep_it() {
    cp "$work/swapped" "$work/kept"
    : >"$work/swapped"
    : >"$work/folders"
    unfinished=yes
    sed 's|$|.edgeferry-old|' "$work/kept" | tr '\n' '\0' | xargs -0 rm -f ||
        say "files that end in .edgeferry-old could not be removed; the next ./install.sh tries it again"
}

# Puts back the files that `swap` renamed.
swap_back() {
    word="everything is put back as it was"
    while IFS= read -r file; do
        if [ -e "$file.edgeferry-new" ]; then
            # It was not renamed.
            continue
        elif [ -e "$file.edgeferry-old" ] || [ -L "$file.edgeferry-old" ]; then
            mv -f "$file.edgeferry-old" "$file"
        else
            rm -f "$file"
        fi || word="not all could be put back; what was there ends in .edgeferry-old"
    done <"$work/swapped"
    say "the installation did not succeed: $word"
}

# What was there before, when a step failed, for want of room or patience. Gateways that run have seen nothing of it. It ends however often
# it is told to end, and whether or not somebody listens.
go_back() {
    trap '' HUP INT TERM
    trap - EXIT
    set +e
    if [ -s "$work/swapped" ]; then swap_back; fi
    # Where there is no new one any more, an old one could not be put back, and is wanted.
    while IFS= read -r file; do
        if [ -e "$file.edgeferry-new" ]; then rm -f "$file.edgeferry-new" "$file.edgeferry-old"; fi
    done <"$work/staged"
    while IFS= read -r folder; do rmdir "$folder" 2>/dev/null; done <"$work/folders"
    if [ -n "$unfinished" ]; then say "the new version is in place; gateways may run with the old one: ./install.sh again"; fi
    if [ -n "$stopped" ]; then
        say "the removal did not succeed: what ran is started again"
        undo_stop
    fi
    rm -rf "$work"
}

# The files of this version, one in a line, with the two that the script makes.
list_files() {
    (cd "$here/files" && find . -type f) | sed 's|^\.||' | grep -v '^/etc/' >"$work/all"
    if [ -n "$without_systemd" ]; then grep -v '^/usr/lib/systemd/' "$work/all"; else cat "$work/all"; fi >"$work/files"
    { cat "$work/files" && echo "$SHIPPED" && echo "$LIST"; } | LC_ALL=C sort >"$work/new"
    # Until what this version has no more is gone, the list has both: an installation that is cut short can be removed as well.
    if [ -f "$LIST" ]; then cp "$LIST" "$work/old"; else : >"$work/old"; fi
    LC_ALL=C sort -u "$work/old" "$work/new" >"$work/both"
}

stage_config() {
    if [ -L "$CONFIG" ] && [ ! -e "$CONFIG" ]; then
        # The partition that has it is not mounted at the moment.
        say "$CONFIG is a link to $(readlink "$CONFIG"), which is not there now: it is left as it is"
    elif [ ! -e "$CONFIG" ]; then
        stage "$here/files$CONFIG" "$CONFIG" 640
    elif [ -f "$SHIPPED" ] && ! cmp -s "$SHIPPED" "$here/files$CONFIG"; then
        say "your $CONFIG is as it was. The shipped one has changed: $SHIPPED"
    fi
    stage "$here/files$CONFIG" "$SHIPPED" 644
}

place_files() {
    list_files
    stage "$work/both" "$LIST" 644
    while IFS= read -r file; do
        case "$file" in
            /usr/bin/*) stage "$here/files$file" "$file" 755 ;;
            *) stage "$here/files$file" "$file" 644 ;;
        esac
    done <"$work/files"
    stage_config
    swap
}

# What this version has no more. Where the shorter list cannot be written, the longer one does no harm.
drop_former_files() {
    grep -vxF -f "$work/new" "$work/old" | while IFS= read -r file; do rm -f "$file" || true; done
    if cp "$work/new" "$LIST.edgeferry-new" && flush "${LIST%/*}"; then
        mv -f "$LIST.edgeferry-new" "$LIST"
    else
        rm -f "$LIST.edgeferry-new"
    fi
}

install_it() {
    look_at_machine
    is_upgrade=''
    if [ -f "$LIST" ]; then is_upgrade=yes; fi
    place_files
    make_user
    keep_it
    drop_former_files
    forget_removal
    start_again
    unfinished=''
    say "$VERSION is installed"
    if [ -z "$without_systemd" ]; then
        say_how_to_go_on
    elif [ -n "$is_upgrade" ]; then
        say "a program that runs is the old one until you restart it"
    fi
}

remove_files() {
    { cat "$LIST" && echo "$CONFIG"; } >"$work/list"
    # From here on there is nothing to start again: --uninstall once more ends it. For that the list goes last.
    stopped=''
    # Also what an installation left beside it that was cut short.
    sed 's|$|.edgeferry-old|; p; s|-old$|-new|' "$work/list" | tr '\n' '\0' | xargs -0 rm -f
    grep -vxF -e "$LIST" -e "$CONFIG" "$work/list" | tr '\n' '\0' | xargs -0 rm -f
    rm -f "$LIST"
    # The folders that are edgeferry's alone, where nobody else has something in them.
    for folder in /usr/share/doc/edgeferry /usr/share/edgeferry; do
        if [ -d "$folder" ]; then find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
    done
    reload_units
    rm -f "$STOPPED"
    say "removed; configuration (/etc/edgeferry) and stores (/var/lib/edgeferry*) stay"
}

uninstall_it() {
    if [ -n "$purge" ]; then look_at_package; fi
    if [ -f "$LIST" ]; then
        stopped=yes
        stop_everything
        note_what_is_left
        remove_files
    elif [ -z "$purge" ] || [ ! -e "$DELIVERED" ]; then
        # The note is what a removal leaves for a purge.
        refuse "$LIST is missing: nothing was installed by this script"
    fi
    if [ -n "$purge" ]; then
        rm -f "$CONFIG"
        rmdir /etc/edgeferry 2>/dev/null || true
        purge_stores
    fi
}

uninstall='' purge='' without_systemd=''
for word in "$@"; do
    case "$word" in
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        --without-systemd) without_systemd=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            usage >&2
            refuse "'$word' is not known"
            ;;
    esac
done
if [ -n "$purge" ] && [ -z "$uninstall" ]; then refuse "--purge goes with --uninstall"; fi
[ "$(id -u)" = 0 ] || refuse "only root can install it: sudo ./install.sh"
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
for list in staged swapped folders; do : >"$work/$list"; done
# What `go_back` has to know beside its lists: gateways are stopped for a removal; the new files are in place, and not all is done.
stopped='' unfinished=''
trap go_back EXIT
# Not `exit` alone: a signal that comes while EXIT's trap begins would end that.
trap 'go_back; exit 1' HUP INT TERM
umask 022
if [ -n "$uninstall" ]; then uninstall_it; else install_it; fi
