#!/usr/bin/env bash
# ./dev cross: the program for other machines, built on this one. docs/decisions/0029 says why in this way.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
source scripts/setup.sh

fail "not built yet"
