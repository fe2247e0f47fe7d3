#!/usr/bin/env bash
# The ARM programs of ./dev cross under QEMU, between a real Mosquitto and a real Kafka. Part of ./dev package-test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh

usage() {
    cat <<'TEXT'
usage: packaging/emulation.sh [--kills N] [--fixture] [ARCH...]

  ARCH        aarch64 (arm64), armv7 (armhf); both without one, and then also stores that go from one to the other
  --kills N   SIGKILLs of each test that kills (8)
  --fixture   instead, make the stores in tests/fixtures anew that the ARM programs write; never for a released format

The programs are those that ./dev cross left in target/cross, or in the folder that EDGEFERRY_ARM_DIR names: ARCH-*/edgeferry.
TEXT
}

# The program for processor $1.
program() {
    local folder found
    folder=$(realpath -m "${EDGEFERRY_ARM_DIR:-${CARGO_TARGET_DIR:-target}/cross}")
    found=("$folder/$1"-*/edgeferry)
    [[ ${#found[@]} -eq 1 && -f ${found[0]} ]] || fail "there must be one program $folder/$1-*/edgeferry: ./dev cross $1"
    echo "${found[0]}"
}

kills=8 fixture='' machines=()
while [[ $# -gt 0 ]]; do
    case "$1" in
        --kills)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "--kills needs a number"
            kills=$2
            shift
            ;;
        --fixture) fixture=yes ;;
        aarch64 | arm64) machines+=(aarch64) ;;
        armv7 | armhf) machines+=(armv7) ;;
        *)
            usage >&2
            fail "there is no '$1'"
            ;;
    esac
    shift
done

setup_all
need_packages emulation
export EDGEFERRY_KILLS=$kills
arguments=(--ignored --nocapture --test-threads=2)
filters=()
[[ ${#machines[@]} -gt 0 ]] || machines=(aarch64 armv7)
for machine in "${machines[@]}"; do
    binary=$(program "$machine")
    say "$machine: $binary"
    case "$machine" in
        aarch64) export EDGEFERRY_AARCH64=$binary ;;
        armv7) export EDGEFERRY_ARMV7=$binary ;;
    esac
done
if [[ -n $fixture ]]; then
    for machine in "${machines[@]}"; do
        cargo test --test arm -- "${arguments[@]}" --exact "golden::make_the_fixture_of_$machine"
    done
    exec cargo test --test fixture
fi
# With one processor alone: what needs no other one.
case "${machines[*]}" in
    aarch64) filters=(run::aarch64:: stores::from_aarch64_to_x86_64 stores::from_x86_64_to_aarch64) ;;
    armv7) filters=(run::armv7:: large:: stores::from_armv7_to_x86_64 stores::from_x86_64_to_armv7) ;;
esac
# A filter that nothing answers to any more would be a success.
for filter in "${filters[@]}"; do
    [[ $(cargo test --quiet --test arm -- --ignored --list "$filter") == *': test'* ]] || fail "there is no test '$filter'"
done
exec cargo test --test arm -- "${arguments[@]}" --skip golden:: "${filters[@]}"
