#!/bin/sh
# Runs the tests in an environment of their own, .venv-test, made on the first run; after that no network is needed.
#
#   scripts/test.sh [--slow] [PYTEST OPTIONS]
#
# --slow takes the long ones too. ALFWorld's games are taken from $ALFWORLD_DATA, else ~/.cache/alfworld; without
# them the tests that need them are skipped and say so.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/environment.sh"

test_environment "$root/.venv-test"
cd "$root"
exec .venv-test/bin/python -m pytest -n 2 --dist worksteal "$@"
