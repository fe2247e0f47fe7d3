#!/bin/bash
# In a clean root, as root, in which there is no dpkg and no apt: the tarball $1 is installed, $2 installed over it, removed, purged.
set -euo pipefail
cd /tmp
# shellcheck source=words.sh
source /tmp/words.sh

store=/var/lib/edgeferry
config=/etc/edgeferry/edgeferry.toml
list=/usr/share/doc/edgeferry/installed-files
# What makes a system Debian's, for the script: without these it is any distribution.
rm -rf /usr/bin/dpkg* /usr/bin/apt* /var/lib/dpkg /etc/debian_version /usr/sbin/adduser /usr/bin/deb-systemd-* /etc/dpkg

unpack() {
    rm -rf /tmp/unpacked
    mkdir /tmp/unpacked
    tar --extract --gzip --file="$1" --directory=/tmp/unpacked --strip-components=1
}

# --- What it refuses

unpack "$1"
refused setpriv --reuid=nobody --clear-groups /tmp/unpacked/install.sh
says "only root can install it"
refused /tmp/unpacked/install.sh --force
says "'--force' is not known"
refused /tmp/unpacked/install.sh --uninstall
says "nothing was installed by this script"
refused /tmp/unpacked/install.sh --uninstall --purge
says "nothing was installed by this script"
# To dpkg it may be a package that was removed: a purge of that would take this installation's configuration.
printf '#!/bin/sh\necho config-files\n' >/usr/bin/dpkg-query
chmod 755 /usr/bin/dpkg-query
refused /tmp/unpacked/install.sh
says "was removed and still owns $config"
has_no /usr/bin/edgeferry
rm /usr/bin/dpkg-query
systemctl=$(command -v systemctl)
mv "$systemctl" "$systemctl.away"
refused /tmp/unpacked/install.sh
says "there is no systemd on this machine"
has_no /usr/bin/edgeferry
run /tmp/unpacked/install.sh --without-systemd
has_no /usr/lib/systemd/system/edgeferry.service
run edgeferry check
run /tmp/unpacked/install.sh --without-systemd
says "a program that runs is the old one until you restart it"
run /tmp/unpacked/install.sh --uninstall --purge
has_no "$config"
mv "$systemctl.away" "$systemctl"
hash -r
cp /tmp/unpacked/files/usr/bin/edgeferry /tmp/kept
# A program of another machine.
printf '\177ELF\2\1\1' >/tmp/unpacked/files/usr/bin/edgeferry
refused /tmp/unpacked/install.sh
says "the program does not run on this machine"
has_no /usr/bin/edgeferry
cp /tmp/kept /tmp/unpacked/files/usr/bin/edgeferry

# --- A configuration elsewhere, on a partition that is not mounted, is not replaced

mkdir -p "${config%/*}"
ln -s /data/edgeferry.toml "$config"
run /tmp/unpacked/install.sh
says "$config is a link to /data/edgeferry.toml, which is not there now"
[[ $(readlink "$config") == /data/edgeferry.toml && ! -e $config ]] || miss "the link is gone"
run /tmp/unpacked/install.sh --uninstall
[[ $(readlink "$config") == /data/edgeferry.toml ]] || miss "the link is gone"
rm "$config"

# --- Installed, used, installed over, removed

run /tmp/unpacked/install.sh
says "not enabled and not started"
look_at_installation
sed -i 's|^# id = "pi-{serial}"|id = "gw-of-the-test"|' "$config"
make_backlog "$store"
backlog=$(queued)
# What the next version has no more.
echo /usr/share/doc/edgeferry/of-a-former-version >>"$list"
touch /usr/share/doc/edgeferry/of-a-former-version
unpack "$2"
echo "# a new setting" >>/tmp/unpacked/files/etc/edgeferry/edgeferry.toml
run /tmp/unpacked/install.sh
says "your $config is as it was"
look_at_installation
has_no /usr/share/doc/edgeferry/of-a-former-version
grep -q '^id = "gw-of-the-test"' "$config" || miss "the configuration was replaced"
[[ $(queued) == "$backlog" ]] || miss "messages are gone"
[[ -z $(find / -xdev -name '*.edgeferry-new') ]] || miss "there are halves of files"

# --- A removal that is cut short starts and links everything again, also what `systemctl enable` would not make

units=/etc/systemd/system
ln -s /usr/lib/systemd/system/edgeferry.service "$units/gateway.service"
ln -s /usr/lib/systemd/system/edgeferry@.service "$units/gateway@west.service"
mkdir -p "$units/modem.target.wants"
ln -s /usr/lib/systemd/system/edgeferry@.service "$units/modem.target.wants/edgeferry@west.service"
linked() { find "$units" -type l -printf '%p %l\n' | LC_ALL=C sort; }
before=$(linked)
# While it looks at a store, the link to whoever watches breaks, and nobody stops hanging up.
stubs=/tmp/stubs
mkdir "$stubs"
cat >"$stubs/edgeferry" <<'STUB'
#!/bin/sh
ls /run/edgeferry.stopped >/tmp/noted
while kill -HUP "$(cat /tmp/pid)"; do sleep 0.01; done >/dev/null 2>&1 &
exec /usr/bin/edgeferry "$@"
STUB
chmod 755 "$stubs/edgeferry"
# Under nohup a program hears of no hanging up, and in the background of a script of no interrupt: that is handed down to all that follows.
watched() {
    # shellcheck disable=SC2016 # the inner shell expands it
    PATH=$stubs:$PATH env --default-signal=HUP,INT sh -c 'echo $$ >/tmp/pid; exec /tmp/unpacked/install.sh "$@"' sh "$@"
}
refused watched --uninstall
says "the removal did not succeed"
has /tmp/noted
[[ $(linked) == "$before" ]] || miss "a removal that was cut short left $(linked)"
has /usr/bin/edgeferry
has "$list"
has_no /run/edgeferry.stopped
rm -r "$stubs"

run systemctl enable edgeferry.service
run /tmp/unpacked/install.sh --uninstall
has_no "$units/gateway.service"
has_no "$units/gateway@west.service"
has_no "$units/modem.target.wants/edgeferry@west.service"
says "$store keeps $backlog messages that are not delivered"
has_no /usr/bin/edgeferry
has_no /etc/systemd/system/multi-user.target.wants/edgeferry.service
has_no /usr/share/doc/edgeferry
has "$config"
has "$store"

# --- A purge; also of a gateway that systemd knows nothing of

run /tmp/unpacked/install.sh
run /tmp/unpacked/install.sh --uninstall --purge
says "kept $store"
has_no "$config"
run /tmp/unpacked/install.sh
[[ $(queued) == "$backlog" ]] || miss "a purge took messages"
run edgeferry queue purge --all --yes
run_a_gateway
run /tmp/unpacked/install.sh --uninstall
says "$store is in use by another program: it is kept"
end_the_gateway
run /tmp/unpacked/install.sh --uninstall --purge
says "kept $store"
run /tmp/unpacked/install.sh
run edgeferry queue ls
# The purge may come later.
run /tmp/unpacked/install.sh --uninstall
run /tmp/unpacked/install.sh --uninstall --purge
says "deleted $store: nothing in it waited for delivery"
has_no "$store"
has_no "$config"
refused /tmp/unpacked/install.sh --uninstall --purge
says "nothing was installed by this script"

# --- A step that fails leaves no half of an installation

halves() { find / -xdev -name '*.edgeferry-new' -o -xdev -name '*.edgeferry-old'; }
state() { tr '\n' '\0' <"$list" | xargs -0 sha256sum; }
# An upgrade in which a step fails: all is as before.
given_up() { given_up_by /tmp/unpacked/install.sh; }
given_up_by() {
    refused "$@"
    [[ $(state) == "$before" ]] || miss "an installation that failed changed files"
    [[ -z $(halves) ]] || miss "there are halves of files: $(halves)"
    [[ -z $(find /tmp -maxdepth 1 -name 'tmp.*') ]] || miss "its notes are still there: it did not come to the end of going back"
}

unpack "$1"
run /tmp/unpacked/install.sh
before=$(state)
unpack "$2"
# The program itself is another one, and so is its list.
touch /tmp/unpacked/files/usr/share/edgeferry/of-this-version
echo >>/tmp/unpacked/files/usr/bin/edgeferry
# Where a folder has to be, there is a file.
mv /usr/share/fish /tmp/fish
touch /usr/share/fish
refused /tmp/unpacked/install.sh
rm /usr/share/fish
mv /tmp/fish /usr/share/fish
[[ $(state) == "$before" ]] || miss "an installation that failed changed files"
# Where a file has to be, there is a folder.
mkdir /usr/share/edgeferry/of-this-version
given_up
says "/usr/share/edgeferry/of-this-version is a folder"
rmdir /usr/share/edgeferry/of-this-version
# One file cannot be replaced.
mount --bind /usr/bin/edgeferry /usr/bin/edgeferry
given_up
says "the installation did not succeed: everything is put back as it was"
umount /usr/bin/edgeferry
# All files are in place, and the user cannot be made.
sysusers=$(command -v systemd-sysusers)
mv "$sysusers" /tmp/sysusers
printf '#!/bin/sh\necho "no room in /etc" >&2\nexit 1\n' >"$sysusers"
chmod 755 "$sysusers"
given_up
says "no room in /etc"
says "everything is put back as it was"
has_no /usr/share/edgeferry/of-this-version
# The same when nobody can be told: the log is on a full disk, or who read it is gone.
quietly() { /tmp/unpacked/install.sh 2>/dev/full; }
given_up_by quietly
unread() { /tmp/unpacked/install.sh 2>&1 | true; }
given_up_by unread
# Or when it is told to end again and again.
# shellcheck disable=SC2016 # the stub expands it
printf '#!/bin/sh\nwhile kill -TERM "$PPID"; do :; done >/dev/null 2>&1 &\nsleep 0.1\n' >"$sysusers"
given_up
says "everything is put back as it was"
printf '#!/bin/sh\nexit 1\n' >"$sysusers"
# The same at a first installation, after which there is nothing.
run /tmp/unpacked/install.sh --uninstall --purge
refused /tmp/unpacked/install.sh
says "everything is put back as it was"
left() { find / -xdev -name '*edgeferry*' -not -path '/tmp/*' -not -path '/proc/*'; }
[[ -z $(left) ]] || miss "left behind: $(left)"
# --- Once all is in place, nothing takes it away: one old file cannot be removed, or who watches ends it just then

in_place() {
    cmp /usr/bin/edgeferry /tmp/unpacked/files/usr/bin/edgeferry || miss "the program is not the new one"
    has /usr/share/edgeferry/of-this-version
    has /usr/lib/systemd/system/edgeferry.service
    has "$config"
    has "$list"
}
mv /tmp/sysusers "$sysusers"
# An older one, to be replaced.
unpack "$1"
run /tmp/unpacked/install.sh
unpack "$2"
touch /tmp/unpacked/files/usr/share/edgeferry/of-this-version
echo >>/tmp/unpacked/files/usr/bin/edgeferry
mv "$sysusers" /tmp/sysusers
printf '#!/bin/sh\nmount --bind /usr/bin/edgeferry.edgeferry-old /usr/bin/edgeferry.edgeferry-old\n' >"$sysusers"
chmod 755 "$sysusers"
run /tmp/unpacked/install.sh
says "files that end in .edgeferry-old could not be removed"
in_place
umount /usr/bin/edgeferry.edgeferry-old
mv /tmp/sysusers "$sysusers"
run /tmp/unpacked/install.sh
[[ -z $(halves) ]] || miss "there are halves of files: $(halves)"
run /tmp/unpacked/install.sh --uninstall --purge
[[ -z $(left) ]] || miss "left behind: $(left)"
mkdir "$stubs"
# shellcheck disable=SC2016 # the stub expands it
printf '#!/bin/sh\n/usr/bin/xargs "$@"\nkill -INT "$(cat /tmp/pid)"\n' >"$stubs/xargs"
chmod 755 "$stubs/xargs"
refused watched
says "the new version is in place"
in_place
rm -r "$stubs"
run /tmp/unpacked/install.sh
in_place

# --- Nothing is left behind

run /tmp/unpacked/install.sh --uninstall --purge
[[ -z $(left) ]] || miss "left behind: $(left)"
echo "the tarball installed, upgraded, removed, purged without dpkg"
