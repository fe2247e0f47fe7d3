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
unchanged
install_it "$first"
unchanged

run systemctl enable edgeferry.service edgeferry@east.service
run dpkg --remove edgeferry
says "$store keeps $backlog messages that are not delivered"
says "stay"
has_no /usr/bin/edgeferry
has_no /usr/lib/systemd/system/edgeferry.service
has_no /usr/share/doc/edgeferry/copyright
has_no /etc/systemd/system/multi-user.target.wants/edgeferry.service
has_no /etc/systemd/system/multi-user.target.wants/edgeferry@east.service
has "$config"
has "$store"
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

# --- What was delivered goes with a purge, unless it was used since

run edgeferry queue purge --all --yes
[[ $(queued) == 0 ]] || miss "there should be nothing left"
run dpkg --remove edgeferry
grep -q "keeps" "$said" && miss "it speaks of messages that are not there"
# Somebody runs another program on it before the purge.
touch "$store/identity.json" --date='+1 second'
run dpkg --purge edgeferry
says "kept $store"
install_it "$second"
run dpkg --purge edgeferry
says "deleted $store: everything in it was delivered"
has_no "$store"
rm /etc/edgeferry/kafka-password
install_it "$second"
run dpkg --purge edgeferry
has_no /etc/edgeferry
[[ -z $(find / -xdev -name '*edgeferry*' -not -path '/tmp/*' -not -path '/proc/*' -not -path '/var/cache/*' -not -path '/var/log/*') ]] ||
    miss "left behind: $(find / -xdev -name '*edgeferry*' -not -path '/tmp/*' -not -path '/proc/*' -not -path '/var/cache/*' -not -path '/var/log/*')"
echo "installed, upgraded, downgraded, removed, purged"
