#!/bin/bash
# In a clean root, as root: install the package $1, upgrade to $2 with a backlog, go back, remove, purge. What a machine without a
# running systemd can show; tests/parts/systemd/package.rs does it with one.
set -euo pipefail
cd /tmp
# shellcheck source=words.sh
source /tmp/words.sh

first=$1 second=$2
store=/var/lib/edgeferry
config=/etc/edgeferry/edgeferry.toml
# The clean root was made without manuals.
rm -f /etc/dpkg/dpkg.cfg.d/99mmdebstrap

version_of() { dpkg-deb --field "$1" Version; }

# By apt, as docs/install.md says: without a network everything that it asks for has to be here, and nothing else is wanted.
install_it() { run apt-get install --yes --no-install-recommends --allow-downgrades "./$1"; }

# --- Installing enables and starts nothing

install_it "$first"
says "not enabled and not started"
look_at_installation
[[ $(dpkg-query --show --showformat='${Status} ${Version}' edgeferry) == "install ok installed $(version_of "$first")" ]] ||
    miss "dpkg does not think that it is installed"
dpkg --verify edgeferry >"$said" 2>&1 || miss "files differ from the package"
has_no "$store"

# --- A backlog outlives an upgrade, a way back and a removal; so does a configuration that was edited

sed -i 's|^# id = "pi-{serial}"|id = "gw-of-the-test"|' "$config"
make_backlog "$store"
backlog=$(queued)
belongs "$store" 'edgeferry:edgeferry 700'
edgeferry queue export >/tmp/before.jsonl 2>/dev/null

unchanged() {
    [[ $(queued) == "$backlog" ]] || miss "$(queued) messages are queued, not $backlog"
    edgeferry queue export 2>/dev/null >/tmp/after.jsonl
    # The first line says when it was written, and the last one is a sum over all.
    cmp <(sed "1d;\$d" /tmp/before.jsonl) <(sed "1d;\$d" /tmp/after.jsonl) || miss "the queue has other messages"
    grep -q '^id = "gw-of-the-test"' "$config" || miss "the configuration was replaced"
    belongs "$config" 'root:edgeferry 640'
    [[ -z $(find "$store" ! -user edgeferry) ]] || miss "not all of the store is edgeferry's: $(find "$store" ! -user edgeferry)"
}

install_it "$second"
[[ $(dpkg-query --show --showformat='${Version}' edgeferry) == $(version_of "$second") ]] || miss "it was not upgraded"
look_at_installation
unchanged
install_it "$first"
unchanged

# One has a name of the machine's owner besides, another one only such.
units=/etc/systemd/system
mkdir -p "$units/edgeferry.service.d" "$units/edgeferry@.service.d"
printf '[Install]\nWantedBy=\nAlias=gateway.service\n' >"$units/edgeferry.service.d/name.conf"
printf '[Install]\nAlias=gateway@%%i.service\n' >"$units/edgeferry@.service.d/name.conf"
run systemctl enable edgeferry.service edgeferry@east.service
[[ -L $units/gateway.service && -L $units/gateway@east.service && -L $units/multi-user.target.wants/edgeferry@east.service ]] ||
    miss "systemd made other links: $(find "$units" -type l)"
run dpkg --remove edgeferry
has_no "$units/gateway.service"
has_no "$units/gateway@east.service"
says "$store keeps $backlog messages that are not delivered"
says "stay"
has_no /usr/bin/edgeferry
has_no /usr/lib/systemd/system/edgeferry.service
has_no /usr/share/doc/edgeferry/copyright
has_no /etc/systemd/system/multi-user.target.wants/edgeferry.service
has_no /etc/systemd/system/multi-user.target.wants/edgeferry@east.service
has "$config"
has "$store"
rm -r "$units"/edgeferry*.service.d
install_it "$second"
unchanged

# --- A purge takes the configuration, but no message

echo secret >/etc/edgeferry/kafka-password
run dpkg --purge edgeferry
says "kept $store"
says "To give them up: rm -r $store"
says "kept in /etc/edgeferry, because no package put it there: kafka-password"
has "$store"
has_no "$config"
has /etc/edgeferry/kafka-password
getent passwd edgeferry >/dev/null || miss "the user of the kept store is gone"
install_it "$second"
# The shipped configuration is there again.
[[ $(queued) == "$backlog" ]] || miss "a purge took messages"

# --- What was delivered goes with a purge, if it is what it was at the removal

empty() {
    run edgeferry queue purge --all --yes
    [[ $(queued) == 0 ]] || miss "there should be nothing left"
}

remove_it() {
    run dpkg --remove edgeferry
    ! grep -q "keeps" "$said" || miss "it speaks of messages that are not there"
}

# What a removal noted is about that day: $1 happens to the store between it and the purge.
kept_after() {
    empty
    remove_it
    "$1"
    run dpkg --purge edgeferry
    says "kept $store"
    has "$store/identity.json"
    install_it "$second"
}

cp -a "$store" /tmp/card
# Somebody runs another program on it. A clock may be behind.
used() { touch "$store/identity.json" --date='2001-01-01'; }
# The store of a dead board is put there, with its times.
brought_back() {
    rm -r "$store"
    cp -a /tmp/card "$store"
}
# The partition was not mounted, and is.
mounted() {
    mount -t tmpfs -o size=512m store "$store"
    cp -a /tmp/card/. "$store"
}
kept_after used
kept_after brought_back
[[ $(queued) == "$backlog" ]] || miss "the messages of the other board are gone"
kept_after mounted
[[ $(queued) == "$backlog" ]] || miss "the messages of the partition are gone"
umount "$store"

# --- What is no message, and a gateway that systemd does not know, keep a store

empty
letters=$store/letters.jsonl
touch "$letters"
run dpkg --purge edgeferry
says "it has something in it that is no message and could be wanted: $letters"
says "kept $store"
rm "$letters"
install_it "$second"
run_a_gateway
run dpkg --purge edgeferry
says "$store is in use by another program"
says "kept $store: it is in use by another program"
end_the_gateway
install_it "$second"

# --- A partition of its own is emptied, and the purge does not fail of it

remove_it
rm -rf "$store"
install -d "$store"
mount -t tmpfs -o size=512m store "$store"
chown edgeferry: "$store"
install_it "$second"
make_backlog "$store"
empty
mkdir "$store/lost+found"
run dpkg --purge edgeferry
says "deleted $store: nothing in it waited for delivery"
[[ $(ls -A "$store") == lost+found ]] || miss "the partition still has $(ls -A "$store")"
umount "$store"
rmdir "$store"

# --- A new shipped configuration: yours stays, if you say so; a question without a terminal leaves everything running as it is

install_it "$first"
sed -i 's|^# id = "pi-{serial}"|id = "gw-of-the-test"|' "$config"
mkdir /tmp/changed
dpkg-deb --raw-extract "$second" /tmp/changed
echo '# A setting of a later version.' >>/tmp/changed/etc/edgeferry/edgeferry.toml
sed -i 's/^Version: .*/&+conf/' /tmp/changed/DEBIAN/control
run dpkg-deb --root-owner-group -Znone --build /tmp/changed /tmp/changed.deb
refused dpkg --install /tmp/changed.deb </dev/null
grep -q '^id = "gw-of-the-test"' "$config" || miss "the configuration was replaced without an answer"
run dpkg --force-confold --configure edgeferry
grep -q '^id = "gw-of-the-test"' "$config" || miss "the configuration was replaced"
belongs "$config" 'root:edgeferry 640'
run dpkg --force-confold --install "$first"
run dpkg --force-confnew --install /tmp/changed.deb
grep -q '^# A setting of a later version' "$config" || miss "the new configuration is not there"
belongs "$config" 'root:edgeferry 640'

# --- What edgeferry needs is replaced by something else: that is no removal

run systemctl enable edgeferry.service
make_dummy() {
    mkdir -p "/tmp/$1/DEBIAN"
    printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: test <test@localhost>\nDescription: test\n%s' "$1" "$2" >"/tmp/$1/DEBIAN/control"
    run dpkg-deb --root-owner-group -Znone --build "/tmp/$1" "/tmp/$1.deb"
}
make_dummy needed ''
make_dummy instead $'Conflicts: needed\nReplaces: needed\n'
run dpkg --install /tmp/needed.deb
sed -i 's/^Depends: /&needed, /' /tmp/changed/DEBIAN/control
run dpkg-deb --root-owner-group -Znone --build /tmp/changed /tmp/changed.deb
run dpkg --force-confold --install /tmp/changed.deb
# It tries to configure edgeferry again at once, and cannot: what it needs is not there yet, as in the middle of a release upgrade.
refused dpkg --auto-deconfigure --install /tmp/instead.deb
says "De-configuring edgeferry"
has /etc/systemd/system/multi-user.target.wants/edgeferry.service
run dpkg --force-depends --configure edgeferry
has /etc/systemd/system/multi-user.target.wants/edgeferry.service

# --- A removal that is given up undoes what it did

# shellcheck disable=SC2016 # prerm expands it
printf '\nif [ "$1" = remove ] && [ -e /tmp/give-up ]; then exit 1; fi\n' >>/var/lib/dpkg/info/edgeferry.prerm
touch /tmp/give-up
ln -s /usr/lib/systemd/system/edgeferry@.service "$units/gateway@west.service"
# Made by hand: `systemctl disable` would take it, and `systemctl enable` would make another.
ln -s /usr/lib/systemd/system/edgeferry.service "$units/gateway.service"
linked() { find "$units" -type l -printf '%p %l\n' | LC_ALL=C sort; }
before=$(linked)
refused dpkg --remove edgeferry
[[ $(linked) == "$before" ]] || miss "a removal that was given up left $(linked)"
has /usr/bin/edgeferry
has "$units/multi-user.target.wants/edgeferry.service"
run systemctl disable edgeferry.service
ln -sf /usr/lib/systemd/system/edgeferry.service "$units/gateway.service"
before=$(linked)
refused dpkg --remove edgeferry
[[ $(linked) == "$before" ]] || miss "a removal that was given up left $(linked)"
rm "$units/gateway@west.service" "$units/gateway.service"
rm /tmp/give-up

# --- The archive's installation is taken over, with what only that had

run dpkg --purge edgeferry
mkdir -p /usr/share/doc/edgeferry
touch /usr/share/doc/edgeferry/of-the-archive
printf '/usr/share/doc/edgeferry/of-the-archive\n/usr/bin/edgeferry\n' >/usr/share/doc/edgeferry/installed-files
# A 32-bit system may have a 64-bit kernel (Raspberry Pi OS on a Pi 4), which calls the processor by another name than the package.
if [[ $(dpkg --print-architecture) == armhf ]]; then
    mv /usr/bin/uname /usr/bin/uname.own 2>/dev/null || mv /bin/uname /usr/bin/uname.own
    printf '#!/bin/sh\necho aarch64\n' >/usr/bin/uname
    chmod 755 /usr/bin/uname
fi
install_it "$second"
has_no /usr/share/doc/edgeferry/of-the-archive
has_no /usr/share/doc/edgeferry/installed-files
has /usr/bin/edgeferry

# --- Nothing is left behind

rm /etc/edgeferry/kafka-password
# Nobody can be told: the log is on a full disk.
quietly() { dpkg --purge edgeferry 2>/dev/full; }
run quietly
has_no /etc/edgeferry
left=$(find / -xdev -name '*edgeferry*' -not -path '/tmp/*' -not -path '/proc/*' -not -path '/var/cache/*' -not -path '/var/log/*')
[[ -z $left ]] || miss "left behind: $left"
echo "installed, upgraded, downgraded, removed, purged"
