# shellcheck shell=bash
# What ./dev and the scripts of cross/ and packaging/ share: words for people, and the setting up of a machine. Sourced, with the
# root of the project as the working folder.

# Debian installs mosquitto where only root's PATH looks.
export PATH="${HOME}/.cargo/bin:${PATH}:/usr/sbin:/sbin"

pom=tests/support/kafka/pom.xml

say() { printf './dev: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# --- Setup -------------------------------------------------------------------------------------------

need_cargo() {
    command -v cargo >/dev/null || fail "cargo is missing: install rustup from https://rustup.rs" \
        "(the toolchain itself then comes from rust-toolchain.toml)"
}

# Names of the Debian packages that are missing for what the arguments list: `build`, `cross`, `parts`, `e2e`, `machine`, `roots`,
# `emulation` or `package`.
missing_packages() {
    local what command file package
    for what in "$@"; do
        case "$what" in
            build)
                while read -r command package; do
                    command -v "$command" >/dev/null || echo "$package"
                done <<'TABLE'
gcc gcc
g++ g++
make make
perl perl
pkg-config pkg-config
TABLE
                pkg-config --exists openssl 2>/dev/null || echo libssl-dev
                pkg-config --exists zlib 2>/dev/null || echo zlib1g-dev
                ;;
            cross)
                while read -r command package; do
                    command -v "$command" >/dev/null || echo "$package"
                done <<'TABLE'
cmake cmake
git git
python3 python3
readelf binutils
TABLE
                python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
                ;;
            parts)
                while read -r command package; do
                    command -v "$command" >/dev/null || echo "$package"
                done <<'TABLE'
mosquitto mosquitto
setpriv util-linux
openssl openssl
ip iproute2
socat socat
chromium chromium
promtool prometheus
shellcheck shellcheck
java default-jre-headless
TABLE
                # Maven is only needed as long as there are no jars.
                [[ -d "$(kafka_libs)" ]] || command -v mvn >/dev/null || echo maven
                ;;
            e2e)
                # It makes a card slow.
                command -v strace >/dev/null || echo strace
                # It counts system calls and allocations.
                command -v perf >/dev/null || echo linux-perf
                ;;
            machine)
                command -v systemd-nspawn >/dev/null || echo systemd-container
                command -v podman >/dev/null || echo podman
                command -v runc >/dev/null || echo runc
                # Only needed as long as there is no root.
                [[ -d "$(machine_root)" ]] || command -v mmdebstrap >/dev/null || echo mmdebstrap
                ;;
            emulation)
                # The emulator, and the C library that programs of ./dev cross find on a board.
                while read -r file package; do
                    [[ -e $file ]] || echo "$package"
                done <<'TABLE'
/usr/bin/qemu-aarch64-static qemu-user-static
/usr/bin/qemu-arm-static qemu-user-static
/usr/lib/binfmt.d/qemu-arm.conf qemu-user-static
/usr/aarch64-linux-gnu/lib/libc.so.6 libc6-arm64-cross
/usr/aarch64-linux-gnu/lib/libgcc_s.so.1 libgcc-s1-arm64-cross
/usr/arm-linux-gnueabihf/lib/libc.so.6 libc6-armhf-cross
/usr/arm-linux-gnueabihf/lib/libgcc_s.so.1 libgcc-s1-armhf-cross
TABLE
                ;;
            roots)
                command -v mmdebstrap >/dev/null || echo mmdebstrap
                command -v unshare >/dev/null || echo util-linux
                command -v arch-test >/dev/null || echo arch-test
                ;;
            package)
                command -v dpkg-deb >/dev/null || echo dpkg
                command -v readelf >/dev/null || echo binutils
                command -v xz >/dev/null || echo xz-utils
                command -v jq >/dev/null || echo jq
                command -v git >/dev/null || echo git
                ;;
        esac
    done
}

# A tool of cargo in this version, built when it is needed first.
need_cargo_tool() {
    local name=cargo-$1 version=$2 root
    root=${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/$name-$version
    export PATH="$root/bin:$PATH"
    [[ -x $root/bin/$name ]] || cargo install --quiet --locked --root "$root" --version "$version" "$name"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

# Installs packages without letting their services start: the tests start their own Mosquitto, and a
# developer's machine should not get a new listener by running tests.
# One at a time, so that no run takes away what another one stands on; and what a killed run left behind is known by its words.
install_packages() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry policy=/usr/sbin/policy-rc.d words='# ./dev, while it installs packages'
    (
        # shellcheck disable=SC2317,SC2329 # the trap calls it
        unforbid() { if grep -qsxF "$words" "$policy"; then as_root rm -f "$policy"; fi; }
        mkdir -p "$cache"
        exec 8>>"$cache/setup.lock"
        flock 8
        trap unforbid EXIT
        trap 'exit 1' HUP INT TERM
        if [[ ! -e $policy ]]; then
            printf '#!/bin/sh\n%s\nexit 101\n' "$words" | as_root tee "$policy" >/dev/null
            as_root chmod 755 "$policy"
        fi
        { as_root apt-get update -qq &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >&2
    )
}

need_packages() {
    local missing
    missing=$(missing_packages "$@" | sort -u | tr '\n' ' ')
    missing=${missing% }
    [[ -z $missing ]] && return
    command -v apt-get >/dev/null || fail "missing: $missing (names of the Debian packages)." \
        "This is not a Debian system: install them with its own package manager, then run ./dev again"
    as_root true 2>/dev/null || fail "missing: $missing. Without root rights ./dev cannot install them; run:" \
        "sudo apt-get install $missing"
    say "installing $missing"
    # shellcheck disable=SC2086 # one word per package
    install_packages $missing || fail "apt-get could not install: $missing"
    # A package of that name can have other files in another release.
    missing=$(missing_packages "$@" | sort -u | tr '\n' ' ')
    [[ -z $missing ]] || fail "after installing it, this is still missing: what ${missing% } has in Debian 12. Which package has it here?"
}

# A folder that is given up is deleted without crossing into another file system. Parts of it may be root's.
give_up() { rm -rf --one-file-system "$1" 2>/dev/null || as_root rm -rf --one-file-system "$1"; }

# Renames $1 to the folder $2. Another run may have been faster: its copy is as good. What root made only root can put elsewhere.
put_in_place() { mv -T "$1" "$2" 2>/dev/null || [[ -d $2 ]] || as_root mv -T "$1" "$2"; }

# Makes the folder $1 by the command behind it, which is told a place beside it as its last word: what was interrupted never looks complete.
make_at() {
    local place=$1 parent tmp status=0
    parent=$(dirname "$place")
    mkdir -p "$parent"
    tmp=$(mktemp -d "$parent/.making.XXXXXX")
    chmod 755 "$tmp"
    "${@:2}" "$tmp/new" >&2 || status=$?
    if [[ $status -eq 0 ]]; then put_in_place "$tmp/new" "$place" || status=$?; fi
    give_up "$tmp" || say "$tmp could not be deleted"
    return "$status"
}

kafka_version() { sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' "$pom"; }

kafka_libs() { echo "${EDGEFERRY_KAFKA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/kafka-$(kafka_version)/libs}"; }

fetch_kafka() { mvn -q -B -f "$pom" dependency:copy-dependencies -DoutputDirectory="$1"; }

need_kafka() {
    local libs
    libs=$(kafka_libs)
    if [[ ! -d $libs ]]; then
        say "fetching Apache Kafka $(kafka_version) with maven (about 43 MB)"
        make_at "$libs" fetch_kafka ||
            fail "maven could not fetch Kafka; is Maven Central (or a mirror in ~/.m2/settings.xml) reachable?"
    fi
    export EDGEFERRY_KAFKA_LIBS=$libs
}

# The release of Debian or Ubuntu that this machine runs: what is built here runs on the C library of that one.
suite() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# For release $1; for that of this machine without a name. Another number when the list of packages in it changes.
machine_root() { echo "${EDGEFERRY_MACHINE_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/machine-3-${1:-$(suite)}}"; }

# Makes a system as a folder, without its manuals. mmdebstrap mounts parts of this machine into it: in a namespace of its own, so that they are
# gone when it ends, however it ends, and nobody deletes through them.
make_system() {
    as_root unshare --mount --propagation private mmdebstrap --quiet --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' "$@"
}

# With what somebody who follows the documents has on a Raspberry Pi OS.
make_machine() {
    local from=()
    [[ $1 == "$(suite)" ]] || from=("$(mirror)")
    make_system --variant=apt --include=systemd,systemd-sysv,dbus,ca-certificates,mosquitto,mosquitto-clients,e2fsprogs,fdisk,curl "$1" "$2" "${from[@]}"
}

# A system of release $1 with systemd for the tests of the units: they copy it and boot it in a container. Only root can do that; the tests
# say so themselves when they are skipped.
need_machine() {
    local root suite=$1
    if [[ $EUID -ne 0 || -z $(suite) ]]; then
        say "the tests of the units on a real systemd need root and Debian or Ubuntu: they will be skipped"
        return
    fi
    need_packages machine
    root=$(machine_root "$suite")
    if [[ ! -d $root ]]; then
        say "making a system with systemd in $root (about 170 MB)"
        make_at "$root" make_machine "$suite" ||
            say "mmdebstrap could not make it; the tests of the units on a real systemd will be skipped"
    fi
    export EDGEFERRY_MACHINE_ROOT=$root
}

# Where a clean system of release $1 for architecture $2 is kept. Another number when the list of packages in it changes.
clean_root() { echo "${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/root-1-$1-$2"; }

# Where this machine has its Debian from.
mirror() {
    # shellcheck disable=SC2016 # apt-get expands it
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $(suite)" 'Component: main' | head -n 1
}

# Release $1 for architecture $2: with systemd, and with the CAs that the package asks for, so that installing it needs no network. The release as
# it came out, without updates: an archive that is being updated can refuse at any moment. With `bare` as $3 it has dpkg and a shell only.
make_root() {
    # shellcheck disable=SC2054 # the commas are part of the option
    local content=(--variant=apt --include=systemd,systemd-sysv,dbus,ca-certificates)
    [[ $3 != bare ]] || content=(--variant=essential)
    make_system --architectures="$2" "${content[@]}" "$1" "$4" "$(mirror)"
}

# Makes it, unless it is there.
need_root() {
    local suite=$1 architecture=$2 root
    root=$(clean_root "$suite" "$architecture")
    [[ -d $root ]] && return
    need_packages roots
    say "making a clean system, $suite for $architecture, in $root (about 200 MB)"
    make_at "$root" make_root "$suite" "$architecture" "${3:-whole}"
}

# Lets this machine run programs for ARM, also in a chroot: the kernel opens the emulator once, when it is told of it (flag F).
# Fails with words where the kernel does not allow that. It stays so until the machine is started again, in a container for the whole machine: other
# runs may be in the middle of it.
need_emulation() {
    local registry=/proc/sys/fs/binfmt_misc name
    need_packages emulation
    [[ -e $registry/register ]] || mount -t binfmt_misc binfmt_misc "$registry" 2>/dev/null || {
        say "the kernel of this machine has no binfmt_misc: programs for ARM cannot run here"
        return 1
    }
    for name in qemu-arm qemu-aarch64; do
        [[ -e $registry/$name ]] && continue
        # Another run may have been faster.
        cat "/usr/lib/binfmt.d/$name.conf" 2>/dev/null >"$registry/register" || [[ -e $registry/$name ]] || {
            say "the kernel does not take $name in $registry: programs for ARM cannot run here"
            return 1
        }
        say "this kernel now runs programs for ${name#qemu-} by itself, until its next start; to end that: echo -1 >$registry/$name"
    done
}

setup_build() {
    need_packages build
    need_cargo
}

setup_all() {
    need_packages build parts
    need_cargo
    need_kafka
}

# All that any test wants, before the first one runs.
setup_tests() {
    setup_all
    need_packages package
    need_machine "$(suite)"
}

release_binary() { echo "$(realpath "${CARGO_TARGET_DIR:-target}")/release/edgeferry"; }
