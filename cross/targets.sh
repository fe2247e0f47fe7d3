# shellcheck shell=bash
# The machines that edgeferry is built for: name, Rust's name, the oldest C library it must start on, what readelf says about a
# program for it (machine, loader); how many bytes it may have. Sourced by cross/ and packaging/.
# The bytes are what it had on 2026-11-22 and 2 to 3 %: what makes it grow is seen, and is worth it or goes (docs/decisions/0034-size.md).
# 2.28 is Debian 10 and Raspberry Pi OS of 2020; docs/decisions/0029-cross-building.md says why not older, and why not musl.
cross_targets() {
    cat <<'TABLE'
aarch64 aarch64-unknown-linux-gnu 2.28 AArch64 /lib/ld-linux-aarch64.so.1 13310000
armv7 armv7-unknown-linux-gnueabihf 2.28 ARM /lib/ld-linux-armhf.so.3 13270000
amd64 x86_64-unknown-linux-gnu 2.28 X86-64 /lib64/ld-linux-x86-64.so.2 16070000
TABLE
}

# cross_target NAME FIELD: one field of the row of a target; fails when there is no such target.
cross_target() {
    local name triple glibc machine loader largest
    # shellcheck disable=SC2034 # they are read by name
    while read -r name triple glibc machine loader largest; do
        [[ $name == "$1" ]] || continue
        echo "${!2}"
        return
    done < <(cross_targets)
    return 1
}

cross_names() { cross_targets | cut -d' ' -f1; }

# Where the finished program for a target lies: only what passed cross/check.sh is put there.
cross_output() { echo "${CARGO_TARGET_DIR:-target}/cross/$(cross_target "$1" triple)/edgeferry"; }
