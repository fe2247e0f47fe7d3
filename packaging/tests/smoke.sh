#!/bin/bash
# In a clean root, as root: the package $1 is installed, looked at, removed and purged. The short form of cycle.sh, for ./dev test.
set -euo pipefail
cd /tmp
# shellcheck source=words.sh
source /tmp/words.sh

rm -f /etc/dpkg/dpkg.cfg.d/99mmdebstrap
run dpkg --install "$1"
says "not enabled and not started"
look_at_installation
make_backlog /var/lib/edgeferry
run dpkg --remove edgeferry
says "/var/lib/edgeferry keeps 4 messages that are not delivered"
has_no /usr/bin/edgeferry
has /etc/edgeferry/edgeferry.toml
run dpkg --purge edgeferry
says "kept /var/lib/edgeferry"
has_no /etc/edgeferry
has /var/lib/edgeferry/identity.json
echo "installed, removed, purged"
