#!/usr/bin/env bash
# Runs every test of the workspace and prints their counts last.
set -u
cd "$(dirname "$0")/.." || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --workspace --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
awk '
  /^ *Running |^ *Doc-tests / { suite = $0; sub(/^ *(Running )?/, "", suite); sub(/ \(.*/, "", suite) }
  /^test result: / {
    passed += $4; failed += $6; ignored += $8
    if ($4 + $6 + $8) printf "%5d passed %3d failed  %s\n", $4, $6, suite
  }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }
' "$log"
exit "$status"
