#!/bin/bash
# In a root whose own programs run on old processors (armel), as root, emulated as the processor of a Raspberry Pi Zero: the package
# $1 and the tarball $2 for ARMv7 say what is wrong, and change nothing.
set -euo pipefail
cd /tmp
# shellcheck source=words.sh
source /tmp/words.sh

[[ $(uname -m) == armv6l ]] || miss "the emulator is an $(uname -m), not an armv6l"
run dpkg --add-architecture armhf
refused dpkg --install --force-depends "$1"
says "this machine's processor is an armv6l one"
says "needs ARMv7"
has_no /usr/bin/edgeferry
mkdir /tmp/unpacked
tar --extract --gzip --file="$2" --directory=/tmp/unpacked --strip-components=1
refused /tmp/unpacked/install.sh
says "this machine's processor is an armv6l one"
has_no /usr/bin/edgeferry
echo "refused on ARMv6 in plain words"
