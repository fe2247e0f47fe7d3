#!/usr/bin/env bash
# ./dev package-test: every package and tarball in clean roots of Debian 11, 12 and 13, on a running systemd in the middle of a Kafka
# outage, and the ARM programs under emulation. Needs root. docs/releasing.md says what has to come out of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh
# shellcheck source=parts/facts.sh
source packaging/parts/facts.sh

usage="usage: ./dev package-test [--programs FOLDER] [--before FOLDER] [--suite SUITE]... [--only-roots] [ARCH...]
  ARCH              arm64, armhf, amd64; all three without a name
  --programs FOLDER programs that ./dev cross built earlier (FOLDER/TRIPLE/edgeferry, as in target/cross), instead of building them
  --before FOLDER   programs of an earlier version, in such a folder: upgrades go from a package of them to the one that would be
                    shipped, and back. Without it from that one to itself under a later number
  --suite SUITE     only this release of Debian: bullseye, bookworm, trixie
  --only-roots      neither a system with systemd nor the programs under emulation
  --allow-skipped   end with 0 though something could not be tried here"

architectures=() suites=() programs='' before='' only_roots='' allow_skipped=''
while [[ $# -gt 0 ]]; do
    case "$1" in
        arm64 | armhf | amd64) architectures+=("$1") ;;
        --only-roots) only_roots=yes ;;
        --allow-skipped) allow_skipped=yes ;;
        --programs)
            [[ -d ${2:-} ]] || fail "--programs needs a folder"$'\n'"$usage"
            programs=$(realpath "$2")
            shift
            ;;
        --before)
            [[ -d ${2:-} ]] || fail "--before needs a folder"$'\n'"$usage"
            before=$(realpath "$2")
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

# Those of all architectures, and one that runs here: it says manual and completions.
need_programs() {
    local architecture names=() program
    if [[ -z $programs ]]; then
        for architecture in "${architectures[@]}" "$(dpkg --print-architecture)"; do names+=("$(cross_name "$architecture")"); done
        mapfile -t names < <(printf '%s\n' "${names[@]}" | sort -u)
        cross/build.sh "${names[@]}"
        programs=$target_folder/cross
    fi
    for architecture in "${architectures[@]}"; do
        program=$(program "$architecture")
        [[ -f $program ]] || fail "there is no $program: ./dev cross $(cross_name "$architecture") builds one"
        cross/check.sh "$(cross_name "$architecture")" "$program" || fail "$program must not be shipped"
        [[ -z $before || -f $(former "$architecture") ]] || fail "there is no $(former "$architecture"): --before wants programs of all that is tested"
    done
}

# The program for architecture $1, as a file; and that of an earlier version.
program() { echo "$programs/$(triple "$1")/edgeferry"; }
former() { echo "$before/$(triple "$1")/edgeferry"; }

# The packages that would be shipped, and those that are upgraded from or to: of the earlier program, or of the same once more as a later version.
make_packages() {
    local architecture=$1 other trial=+next speaker=()
    other=$(program "$architecture")
    if [[ -n $before ]]; then other=$(former "$architecture") trial='~before'; fi
    if [[ -f $(program "$(dpkg --print-architecture)") ]]; then speaker=(--speaker "$(program "$(dpkg --print-architecture)")"); fi
    packaging/build.sh --check --out "$packages/$architecture" --binary "$(program "$architecture")" "${speaker[@]}" "$architecture" &&
        packaging/build.sh --trial "$trial" --out "$packages/$architecture-other" --binary "$other" "${speaker[@]}" "$architecture"
}

# What is shipped; the older and the newer of what is upgraded.
deb() { echo "$packages/$1"/edgeferry_*.deb; }
tarball() { echo "$packages/$1"/edgeferry-*.tar.gz; }
older() { if [[ -n $before ]]; then echo "$1-other"; else echo "$1"; fi; }
newer() { if [[ -n $before ]]; then echo "$1"; else echo "$1-other"; fi; }

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
            packaging/tests/inside.sh "$root" cycle.sh "$(deb "$(older "$architecture")")" "$(deb "$(newer "$architecture")")"
        try "$architecture" "$suite" "tarball: the same without dpkg" \
            packaging/tests/inside.sh "$root" tarball.sh "$(tarball "$(older "$architecture")")" "$(tarball "$(newer "$architecture")")"
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
            EDGEFERRY_PACKAGE_OLD=$(deb "$(older "$architecture")") EDGEFERRY_PACKAGE_NEW=$(deb "$(newer "$architecture")") \
            try "$architecture" "$suite" "upgrade in a Kafka outage, on systemd" \
            named_tests 1 --test parts -- --ignored --exact --nocapture \
            systemd::package::upgrade_and_downgrade_in_a_kafka_outage_lose_nothing_and_a_purge_takes_only_what_was_delivered
    done
    # What the documents say, word for word, with the package that is shipped; in the releases that Raspberry Pi OS is made of.
    for suite in bookworm trixie; do
        [[ " ${suites[*]} " == *" $suite "* ]] || continue
        # The one of this machine's own release is not meant.
        unset EDGEFERRY_MACHINE_ROOT
        need_machine "$suite"
        if [[ ! -d $(machine_root "$suite") ]]; then
            skip "$architecture" "$suite" "the documents' commands" "mmdebstrap could not make a system"
            continue
        fi
        EDGEFERRY_MACHINE_ROOT=$(machine_root "$suite") EDGEFERRY_DEB=$(deb "$architecture") EDGEFERRY_SYSTEMD_TESTS=required \
            EDGEFERRY_PACKAGE_OLD=$(deb "$(older "$architecture")") EDGEFERRY_PACKAGE_NEW=$(deb "$(newer "$architecture")") \
            try "$architecture" "$suite" "the documents' commands" \
            named_tests 6 --test parts -- --include-ignored --exact \
            systemd::readme::five_commands_and_six_edited_lines_lead_from_the_package_to_the_first_record_in_kafka \
            systemd::pages::every_command_of_the_pages_for_operators_works_in_the_order_of_the_pages \
            systemd::pages::the_page_of_the_units_sets_up_a_gateway_without_a_package \
            systemd::pages::every_page_for_operators_that_the_entry_names_is_followed \
            systemd::pages::commands_that_a_page_leaves_to_a_test_are_taken_from_the_page_by_a_test_of_that_name \
            systemd::package::every_command_of_the_page_about_installing_works_in_its_order
    done
}

# Where all of this happened.
say_where() {
    local own
    own=$(program "$(dpkg --print-architecture)")
    [[ ! -x $own ]] || printf 'programs of commit %s, ' "$("$own" --version --verbose --json | jq --raw-output .commit)"
    printf 'tests of %s; on %s %s (%s, %s processors)' "${EDGEFERRY_COMMIT:-$(git describe --always --dirty --abbrev=12 2>/dev/null)}" "$(suite)" "$(dpkg --print-architecture)" "$(uname -sr)" "$(nproc)"
    [[ ! -e /usr/bin/qemu-arm-static ]] || printf '; ARM by %s' "$(qemu-arm-static --version | head -n 1)"
    printf '; %s minutes\n' "$((SECONDS / 60))"
}

need_packages package roots
need_programs
for architecture in "${architectures[@]}"; do
    try "$architecture" - "packed twice, the same bytes" make_packages "$architecture"
    [[ $architecture != amd64 ]] || EDGEFERRY_SBOM_TEST=required try "$architecture" - "the list of parts (SBOM) and what is linked" \
        named_tests 1 --test package -- --exact the_list_of_parts_has_every_crate_and_every_c_library_that_is_linked_in
    # Without packages there is nothing to install.
    if [[ $failed -gt 0 && ! -d $packages/$architecture-other ]]; then continue; fi
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
    EDGEFERRY_ARM_DIR=$programs try arm - "the programs under emulation" packaging/emulation.sh "${emulated[@]}"
fi
say_where
printf '%s\n' "${results[@]}"
[[ $failed -eq 0 ]] || fail "$failed of ${#results[@]} failed"
[[ $skipped -eq 0 || -n $allow_skipped ]] || fail "$skipped of ${#results[@]} could not be tried here: nothing failed, but it is no proof (--allow-skipped)"
