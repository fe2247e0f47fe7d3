#!/usr/bin/env bash
# ./dev package-test: every package in clean roots, and the ARM programs under emulation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh

fail "not built yet"
