#!/usr/bin/env bash
# Runs every test of the workspace. Prints last which faults have a test that passed (tests/faults.txt), what the model
# check and the simulations covered, and the counts of tests.
set -u
cd "$(dirname "$0")/.." || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The model check and the simulations print their figures; cargo would keep them to itself.
cargo test --workspace --no-fail-fast -- --show-output 2>&1 | tee "$log" | grep --line-buffered -v '^figure: '
status=${PIPESTATUS[0]}
awk -f tests/fault_matrix.awk tests/faults.txt "$log" || status=1
sed -n 's/^figure: //p' "$log" | awk '!seen[$0]++'
awk '
  /^ *Running |^ *Doc-tests / { suite = $0; sub(/^ *(Running )?/, "", suite); sub(/ \(.*/, "", suite) }
  /^test result: / {
    passed += $4; failed += $6; ignored += $8
    if ($4 + $6 + $8) printf "%5d passed %3d failed  %s\n", $4, $6, suite
  }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }
' "$log"
exit "$status"
