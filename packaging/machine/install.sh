
# Every file that was installed, so that all of them can be removed.
LIST=/usr/share/doc/edgeferry/installed-files
# The configuration as it was shipped: to see whether a later one is another.
SHIPPED=/usr/share/doc/edgeferry/edgeferry.toml

usage() {
    cat <<TEXT
usage: ./install.sh [--without-systemd]       install or upgrade
       ./install.sh --uninstall [--purge]     remove; configuration and stores stay

  --without-systemd  on a machine that has none: you start 'edgeferry run' as the user edgeferry yourself
  --purge            also delete $CONFIG, and stores of which everything was delivered
TEXT
}

refuse() {
    say "$*"
    exit 1
}

look_at_machine() {
    if command -v look_at_processor >/dev/null; then look_at_processor; fi
    if command -v dpkg-query >/dev/null && dpkg-query --show --showformat='${Status}' edgeferry 2>/dev/null | grep -q ' installed'; then
        refuse "edgeferry is installed as a Debian package: upgrade it with that (apt install ./edgeferry_..._$ARCHITECTURE.deb), or remove it first"
    fi
    if ! command -v systemctl >/dev/null && [ -z "$without_systemd" ]; then
        refuse "there is no systemd on this machine. With --without-systemd everything but the units is installed, and you start 'edgeferry run' yourself"
    fi
    status=0
    said=$("$here/files/usr/bin/edgeferry" --version 2>&1) || status=$?
    case "$status" in
        0) ;;
        126 | 127) refuse "the program does not run on this machine ($(uname -m)): $said. It is for $ARCHITECTURE and glibc; is this the right archive?" ;;
        132) refuse "this machine's processor does not know the instructions of the program; it is for $ARCHITECTURE" ;;
        *) refuse "the program does not run on this machine: $said" ;;
    esac
    if ! [ -e /etc/ssl/certs/ca-certificates.crt ] && ! [ -e /etc/pki/tls/certs/ca-bundle.crt ] && ! [ -d /etc/ssl/certs ]; then
        say "no certificate authorities are on this machine (usually the package ca-certificates): TLS will need ca_file"
    fi
}

# Copies one file beside its place and renames it: a running program keeps its own, and a power cut leaves the old one or the new one.
place() {
    mkdir -p "$(dirname "/$1")"
    cp "$here/files/$1" "/$1.edgeferry-new"
    chmod "$2" "/$1.edgeferry-new"
    chown 0:0 "/$1.edgeferry-new"
    mv "/$1.edgeferry-new" "/$1"
}

place_files() {
    (cd "$here/files" && find . -type f) | sed 's|^\./||' | grep -v '^etc/' | LC_ALL=C sort >"$work/new"
    if [ -n "$without_systemd" ]; then
        grep -v '^usr/lib/systemd/' "$work/new" >"$work/some"
        mv "$work/some" "$work/new"
    fi
    while IFS= read -r file; do
        case "$file" in
            usr/bin/*) place "$file" 755 ;;
            *) place "$file" 644 ;;
        esac
    done <"$work/new"
    # What this version has no more.
    if [ -f "$LIST" ]; then
        sed 's|^/||' "$LIST" | grep -vxF -f "$work/new" | while IFS= read -r file; do rm -f "/$file"; done
    fi
}

place_config() {
    if [ ! -e "$CONFIG" ]; then
        place "${CONFIG#/}" 640
    elif [ -f "$work/shipped-before" ] && ! cmp -s "$work/shipped-before" "$here/files$CONFIG"; then
        say "your $CONFIG is as it was. The shipped one has changed: $SHIPPED"
    fi
    cp "$here/files$CONFIG" "$SHIPPED"
    chmod 644 "$SHIPPED"
    { sed 's|^|/|' "$work/new" && echo "$SHIPPED" && echo "$LIST"; } >"$LIST"
}

install_it() {
    look_at_machine
    if [ -f "$SHIPPED" ]; then cp "$SHIPPED" "$work/shipped-before"; fi
    place_files
    place_config
    make_user
    start_again
    say "$VERSION is installed"
    if [ -z "$without_systemd" ]; then say_how_to_go_on; fi
}

uninstall_it() {
    [ -f "$LIST" ] || refuse "$LIST is missing: nothing was installed by this script"
    stop_everything
    note_what_is_left
    cp "$LIST" "$work/list"
    while IFS= read -r file; do
        rm -f "$file"
        # And the folders that nobody else has something in.
        rmdir -p "$(dirname "$file")" 2>/dev/null || true
    done <"$work/list"
    if systemd_runs; then systemctl daemon-reload; fi
    say "removed; configuration (/etc/edgeferry) and stores (/var/lib/edgeferry*) stay"
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
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
if [ -n "$uninstall" ]; then uninstall_it; else install_it; fi
