# shellcheck shell=bash
# What all parts of the packing know: names, version, time, tools. Sourced by packaging/build.sh and packaging/test.sh.
# shellcheck disable=SC2034 # used by those

target_folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
maintainer=${EDGEFERRY_MAINTAINER:-edgeferry maintainers <maintainers@edgeferry.invalid>}

# What ./dev cross builds with, instead of the default: what is linked in depends on it.
shipped_features=static

# Whether this is a checkout of its own: around an unpacked archive there may be another repository.
in_checkout() { [[ $(git rev-parse --show-toplevel 2>/dev/null) == "$(pwd -P)" ]]; }

# The time that all files in a package have: that of the commit, so that the same source gives the same bytes.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]] && in_checkout; then SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); fi
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-}

# What Rust calls the machine that Debian calls $1.
triple() {
    case "$1" in
        arm64) echo aarch64-unknown-linux-gnu ;;
        armhf) echo armv7-unknown-linux-gnueabihf ;;
        amd64) echo x86_64-unknown-linux-gnu ;;
    esac
}

# What ./dev cross calls it.
cross_name() {
    case "$1" in
        arm64) echo aarch64 ;;
        armhf) echo armv7 ;;
        amd64) echo amd64 ;;
    esac
}

# The version as dpkg compares it: a pre-release comes before the release.
deb_version() { echo "${version/-/\~}${trial:-}"; }

# --- Tools -------------------------------------------------------------------------------------------

# Versions that are known to work: another one may write other bytes.
tool_version() {
    case "$1" in
        cargo-cyclonedx) echo 0.5.9 ;;
        cargo-deny) echo 0.20.2 ;;
    esac
}

# Puts the tool $1 into the path, built once and kept outside of the project. Not optimised: it runs for seconds, and would be
# built for minutes.
need_tool() {
    local name=$1 number root
    number=$(tool_version "$name")
    root=${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/tools
    export PATH="$root/bin:$PATH"
    [[ $("$root/bin/$name" --version 2>/dev/null || "$root/bin/$name" "${name#cargo-}" --version 2>/dev/null) == *" $number" ]] && return
    say "building $name $number"
    cargo install --quiet --debug --locked --root "$root" "$name@$number" >&2 || fail "cargo could not install $name $number; is crates.io (or a mirror in ~/.cargo/config.toml) reachable?"
}
