#!/usr/bin/env bash
# ./dev cross: the program for other machines, built on this one. docs/decisions/0029-cross-building.md says why in this way.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh
# shellcheck source=targets.sh
source cross/targets.sh
# shellcheck source=toolchain.sh
source cross/toolchain.sh

# What a package ships: everything but the parts of `edgeferry demo`, and all C code linked in.
features=(--no-default-features --features static)

# The same source in the same folder gives the same bytes: no time of the build, no home of who built it. OpenSSL alone writes the folder into
# the program (where it would look for engines and modules, and the command that compiled it).
reproducible() {
    local cargo_home=${CARGO_HOME:-$HOME/.cargo} library hash
    # Flags for compilers are words between spaces, and have no quotes.
    [[ "$PWD $cargo_home" != *' '*' '* ]] || fail "there is a space in $PWD or $cargo_home: build in a folder without one"
    # Where rustup has installed rust-src, rustc names the standard library's files by their place on this machine.
    library=$(rustc --print sysroot)/lib/rustlib/src/rust
    hash=$(rustc -vV | sed -n 's/^commit-hash: //p')
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
    [[ -n $SOURCE_DATE_EPOCH ]] || fail "this is not a git checkout: set SOURCE_DATE_EPOCH to the time of the release (seconds since 1970)"
    export SOURCE_DATE_EPOCH
    export RUSTFLAGS="--remap-path-prefix=$PWD=/edgeferry --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$library=/rustc/$hash"
    c_flags="-I$PWD/cross/include -ffile-prefix-map=$PWD=/edgeferry -ffile-prefix-map=$cargo_home=/cargo"
    # No panic passes through C code, so nobody reads its tables for unwinding.
    c_flags+=" -fno-asynchronous-unwind-tables -fno-unwind-tables -fomit-frame-pointer"
    # One word: OpenSSL's Configure would take the second of two for the name of a machine.
    c_flags+=" -include$PWD/cross/include/zstd-parts.h"
    export OPENSSL_SRC_PERL=$PWD/cross/openssl-perl.sh
}

# All targets in one run of cargo: what runs on this machine (macros, build scripts) is compiled once.
build() {
    local name triple glibc targets=()
    for name in "$@"; do
        triple=$(cross_target "$name" triple)
        glibc=$(cross_target "$name" glibc)
        need_rust_target "$triple"
        export "CFLAGS_${triple//-/_}=$c_flags" "CXXFLAGS_${triple//-/_}=$c_flags"
        targets+=(--target "$triple.$glibc")
    done
    cargo zigbuild --locked --release "${features[@]}" "${targets[@]}"
}

# Beside the final place and renamed: whoever packs the file never sees half of it.
hand_over() {
    local built output
    built=${CARGO_TARGET_DIR:-target}/$(cross_target "$1" triple)/release/edgeferry
    output=$(cross_output "$1")
    cross/check.sh "$1" "$built" || fail "what was built for $1 must not be shipped"
    mkdir -p "$(dirname "$output")"
    install -m 755 "$built" "$output.new"
    mv "$output.new" "$output"
    say "$1: $output, $(stat -c %s "$output") bytes"
}

# A function, so that all of it is read before it runs: a build takes long, and somebody may change this file meanwhile.
main() {
    local name names=("$@")
    [[ $# -gt 0 ]] || mapfile -t names < <(cross_names)
    for name in "${names[@]}"; do
        cross_target "$name" triple >/dev/null ||
            fail "there is no target '$name'; there are: $(cross_names | paste -sd' '). cross/README.md says which board needs which"
    done
    setup_cross
    reproducible
    build "${names[@]}"
    for name in "${names[@]}"; do hand_over "$name"; done
    exit
}

main "$@"
