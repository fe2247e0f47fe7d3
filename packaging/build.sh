#!/usr/bin/env bash
# ./dev package: packages of the program that ./dev cross built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh

fail "not built yet"
