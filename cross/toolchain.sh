# shellcheck shell=bash
# The toolchain of ./dev cross: zig as the C compiler and linker for every target (it carries the headers and the symbol lists of
# every C library since 2.0), cargo-zigbuild to tell cargo about it. Sourced by cross/build.sh after scripts/setup.sh.

cross_tools() {
    local pins
    pins=$(sha256sum cross/requirements.txt | cut -c1-12)
    echo "${EDGEFERRY_CROSS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/cross-$pins}"
}

# A Python environment keeps its place in its scripts, so what is made beside its place and renamed is a plain folder of packages.
fetch_cross_tools() {
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --target "$1" --requirement cross/requirements.txt
}

need_cross_tools() {
    local tools
    tools=$(cross_tools)
    if [[ ! -d $tools ]]; then
        say "fetching cargo-zigbuild and zig (about 100 MB) into $tools"
        make_at "$tools" fetch_cross_tools ||
            fail "pip could not fetch them; is the Python package index (or a mirror in ~/.config/pip/pip.conf) reachable?"
    fi
    # cargo-zigbuild asks these before it looks for a zig in PATH.
    export CARGO_ZIGBUILD_ZIG_PATH=$tools/ziglang/zig
    export PATH=$tools/bin:$PATH
}

need_rust_target() {
    command -v rustup >/dev/null || fail "rustup is missing: the standard library for $1 comes from it (https://rustup.rs)"
    rustup target list --installed | grep -qx "$1" || rustup target add "$1" >&2 ||
        fail "rustup could not add the target $1"
}

setup_cross() {
    need_packages build cross
    need_cargo
    need_cross_tools
}
