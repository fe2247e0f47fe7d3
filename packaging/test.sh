#!/usr/bin/env bash
# ./dev package-test: every package and tarball in clean roots of Debian 11, 12 and 13, on a running systemd in the middle of a Kafka
# outage, and the ARM programs under emulation. Needs root. docs/releasing.md says what has to come out of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh
# shellcheck source=parts/facts.sh
source packaging/parts/facts.sh

usage="usage: ./dev package-test [--binary FILE] [--suite SUITE]... [--only-roots] [ARCH...]
  ARCH           arm64, armhf, amd64; all three without a name
  --binary FILE  this program instead of what ./dev cross builds; with one ARCH, and with --only-roots unless that is amd64
  --suite SUITE  only this release of Debian: bullseye, bookworm, trixie
  --only-roots   neither a system with systemd nor the programs under emulation
  --allow-skipped
                 end with 0 though something could not be tried here"

architectures=() suites=() given='' only_roots='' allow_skipped=''
while [[ $# -gt 0 ]]; do
    case "$1" in
        arm64 | armhf | amd64) architectures+=("$1") ;;
        --only-roots) only_roots=yes ;;
        --allow-skipped) allow_skipped=yes ;;
        --binary)
            given=${2:-}
            [[ -f $given ]] || fail "--binary needs a file"$'\n'"$usage"
            shift
            ;;
        --suite)
            [[ ${2:-} =~ ^(bullseye|bookworm|trixie)$ ]] || fail "--suite needs bullseye, bookworm or trixie"$'\n'"$usage"
            suites+=("$2")
            shift
            ;;
        *) fail "what is '$1'?"$'\n'"$usage" ;;
    esac
    shift
done
[[ ${#architectures[@]} -gt 0 ]] || architectures=(arm64 armhf amd64)
[[ -z $given || ${#architectures[@]} -eq 1 ]] || fail "--binary is the program of one ARCH: name it"$'\n'"$usage"
[[ -z $given || -n $only_roots || ${architectures[0]} == amd64 ]] ||
    fail "the emulation runs what ./dev cross built, not another file: --binary for ARM goes with --only-roots"
[[ ${#suites[@]} -gt 0 ]] || suites=(bullseye bookworm trixie)
[[ $EUID -eq 0 ]] || fail "installing in clean roots needs root: run it as root"

# --- What is tested ----------------------------------------------------------------------------------

# One line for each thing that was tried, and the words of a script that went wrong.
results=()
failed=0
skipped=0
note() { results+=("$(printf '%-9s %-9s %-46s %s' "$1" "$2" "$3" "$4")") && say "${results[-1]}"; }

try() {
    local architecture=$1 suite=$2 what=$3 began=$SECONDS
    shift 3
    if "$@" >&2; then
        note "$architecture" "$suite" "$what" "ok ($((SECONDS - began)) s)"
    else
        note "$architecture" "$suite" "$what" "FAILED"
        failed=$((failed + 1))
    fi
}

skip() {
    note "$1" "$2" "$3" "SKIPPED: $4"
    skipped=$((skipped + 1))
}

# Runs tests of ./dev test by name; $1 is how many at least. A name that is no more would be a success otherwise.
named_tests() {
    local least=$1 log passed status=0
    shift
    log=$(mktemp "$packages/log.XXXXXX")
    cargo test "$@" 2>&1 | tee "$log" >&2 || status=$?
    passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    [[ $status -eq 0 ]] || return "$status"
    [[ $passed -ge $least ]] || { say "$passed tests ran, not $least: is there one of that name?" && return 1; }
}

packages=$(mktemp -d "${TMPDIR:-/var/tmp}/edgeferry-package-test.XXXXXX")
trap 'rm -rf "$packages"' EXIT

# The packages that would be shipped, and the same program once more as a later version.
make_packages() {
    local architecture=$1 binary=${given:-$target_folder/cross/$(triple "$1")/edgeferry}
    [[ -n $given ]] || cross/build.sh "$(cross_name "$architecture")"
    packaging/build.sh --check --out "$packages/$architecture" --binary "$binary" "$architecture"
    packaging/build.sh --trial +next --out "$packages/$architecture-next" --binary "$binary" "$architecture"
}

deb() { echo "$packages/$1"/edgeferry_*.deb; }
tarball() { echo "$packages/$1"/edgeferry-*.tar.gz; }

# Whether this machine runs programs of architecture $1.
runs() { [[ $1 == "$(dpkg --print-architecture)" ]] || need_emulation; }

in_roots() {
    local architecture=$1 suite root
    for suite in "${suites[@]}"; do
        if ! need_root "$suite" "$architecture"; then
            skip "$architecture" "$suite" "clean root" "mmdebstrap could not make it"
            continue
        fi
        root=$(clean_root "$suite" "$architecture")
        try "$architecture" "$suite" "package: install, upgrade, remove, purge" \
            packaging/tests/inside.sh "$root" cycle.sh "$(deb "$architecture")" "$(deb "$architecture-next")"
        try "$architecture" "$suite" "tarball: the same without dpkg" \
            packaging/tests/inside.sh "$root" tarball.sh "$(tarball "$architecture")" "$(tarball "$architecture-next")"
    done
}

# A Raspberry Pi Zero would die of an illegal instruction. Debian's armhf would too, so its root is armel, which Debian 13 has no more
# as a whole.
on_armv6() {
    if ! need_root bookworm armel bare; then
        skip armhf bookworm "refused on ARMv6" "mmdebstrap could not make a root for armel"
        return
    fi
    QEMU_CPU=arm1176 try armhf bookworm "refused on ARMv6" \
        packaging/tests/inside.sh "$(clean_root bookworm armel)" armv6.sh "$(deb armhf)" "$(tarball armhf)"
}

# With the service running, in the middle of a Kafka outage. Only programs for this machine can be booted.
on_systemd() {
    local architecture=$1 suite
    setup_tests
    for suite in "${suites[@]}"; do
        if [[ ! -d $(clean_root "$suite" "$architecture") ]]; then
            skip "$architecture" "$suite" "upgrade in a Kafka outage, on systemd" "there is no clean root"
            continue
        fi
        EDGEFERRY_MACHINE_ROOT=$(clean_root "$suite" "$architecture") EDGEFERRY_SYSTEMD_TESTS=required \
            EDGEFERRY_PACKAGE_OLD=$(deb "$architecture") EDGEFERRY_PACKAGE_NEW=$(deb "$architecture-next") \
            try "$architecture" "$suite" "upgrade in a Kafka outage, on systemd" \
            named_tests 1 --test parts -- --ignored --exact --nocapture \
            systemd::package::upgrade_and_downgrade_in_a_kafka_outage_lose_nothing_and_a_purge_takes_only_what_was_delivered
    done
    # What the documents say, word for word, with the package that is shipped.
    EDGEFERRY_DEB=$(deb "$architecture") EDGEFERRY_SYSTEMD_TESTS=required try "$architecture" "$(suite)" "the documents' commands" \
        named_tests 2 --test parts -- systemd::readme systemd::pages
}

need_packages package roots
for architecture in "${architectures[@]}"; do
    make_packages "$architecture"
    note "$architecture" - "the same bytes twice" ok
    if ! runs "$architecture"; then
        skip "$architecture" - "clean roots" "this kernel runs no programs for $architecture"
        continue
    fi
    in_roots "$architecture"
    [[ $architecture != armhf ]] || on_armv6
    if [[ -z $only_roots && $architecture == "$(dpkg --print-architecture)" ]]; then on_systemd "$architecture"; fi
done
mapfile -t emulated < <(printf '%s\n' "${architectures[@]}" | grep -v '^amd64$')
if [[ -z $only_roots && ${#emulated[@]} -gt 0 ]]; then
    # Without names it also carries stores from one to the other.
    [[ ${#emulated[@]} -eq 1 ]] || emulated=()
    try arm - "the programs under emulation" packaging/emulation.sh "${emulated[@]}"
fi
printf '%s\n' "${results[@]}"
[[ $failed -eq 0 ]] || fail "$failed of ${#results[@]} failed"
[[ $skipped -eq 0 || -n $allow_skipped ]] || fail "$skipped of ${#results[@]} could not be tried here: nothing failed, but it is no proof (--allow-skipped)"
