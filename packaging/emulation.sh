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
  --fixture   make the store in tests/fixtures anew that the armv7 program writes; never for a released format

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
if [[ -n $fixture ]]; then
    EDGEFERRY_ARMV7=$(program armv7) || exit 1
    export EDGEFERRY_ARMV7
    cargo test --test arm -- "${arguments[@]}" --exact golden::make_the_fixture
    exec cargo test --test fixture
fi
filters=()
for machine in "${machines[@]:-aarch64 armv7}"; do
    # shellcheck disable=SC2086 # the words of the default
    for one in $machine; do
        binary=$(program "$one")
        say "$one: $binary"
        case "$one" in
            aarch64) export EDGEFERRY_AARCH64=$binary ;;
            armv7) export EDGEFERRY_ARMV7=$binary ;;
        esac
    done
done
# With one processor alone: what needs no other one.
case "${machines[*]}" in
    aarch64) filters=(run::aarch64:: stores::from_aarch64_to_x86_64 stores::from_x86_64_to_aarch64) ;;
    armv7) filters=(run::armv7:: large:: stores::from_armv7_to_x86_64 stores::from_x86_64_to_armv7) ;;
esac
exec cargo test --test arm -- "${arguments[@]}" --skip golden:: "${filters[@]}"
