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
mv /usr/bin/systemctl /usr/bin/systemctl.away
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
mv /usr/bin/systemctl.away /usr/bin/systemctl
cp /tmp/unpacked/files/usr/bin/edgeferry /tmp/kept
# A program of another machine.
printf '\177ELF\2\1\1' >/tmp/unpacked/files/usr/bin/edgeferry
refused /tmp/unpacked/install.sh
says "the program does not run on this machine"
has_no /usr/bin/edgeferry
cp /tmp/kept /tmp/unpacked/files/usr/bin/edgeferry

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
has_no /usr/share/doc/edgeferry/of-a-former-version
grep -q '^id = "gw-of-the-test"' "$config" || miss "the configuration was replaced"
[[ $(queued) == "$backlog" ]] || miss "messages are gone"
[[ -z $(find / -xdev -name '*.edgeferry-new') ]] || miss "there are halves of files"

run systemctl enable edgeferry.service
run /tmp/unpacked/install.sh --uninstall
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
run_a_gateway "$store"
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

# --- What stands in the way of an installation leaves no half of it

run /tmp/unpacked/install.sh
before=$(sha256sum /usr/bin/edgeferry "$list" "$config")
mv /usr/share/fish /tmp/fish
touch /usr/share/fish
refused /tmp/unpacked/install.sh
rm /usr/share/fish
mv /tmp/fish /usr/share/fish
[[ $(sha256sum /usr/bin/edgeferry "$list" "$config") == "$before" ]] || miss "an installation that failed changed files"
[[ -z $(find / -xdev -name '*.edgeferry-new') ]] || miss "there are halves of files: $(find / -xdev -name '*.edgeferry-new')"
run /tmp/unpacked/install.sh --uninstall --purge
[[ -z $(find / -xdev -name '*edgeferry*' -not -path '/tmp/*' -not -path '/proc/*') ]] ||
    miss "left behind: $(find / -xdev -name '*edgeferry*' -not -path '/tmp/*' -not -path '/proc/*')"
echo "the tarball installed, upgraded, removed, purged without dpkg"
