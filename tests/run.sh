#!/usr/bin/env bash
# Runs every test of the workspace. Prints last which faults have a test that passed (tests/faults.txt), what the model
# check and the simulations covered, and the counts of tests.
set -u
cd "$(dirname "$0")/.." || exit 1
# promtool, for tests of both languages: built from source once, four minutes of processor time, and kept by Go.
(cd tests/conformance/monitoring && GOFLAGS=-tags=remove_all_sd go tool promtool --version) >/dev/null || exit 1
log=$(mktemp)
# Every status version that a test comes to, for the judges below.
RECORDED_VERSIONS=$(mktemp -d)
export RECORDED_VERSIONS
trap 'rm -rf "$log" "$log.go" "$RECORDED_VERSIONS"' EXIT
# The model check and the simulations print their figures; cargo would keep them to itself.
cargo test --workspace --no-fail-fast -- --show-output 2>&1 | tee "$log" | grep --line-buffered -v '^figure: '
status=${PIPESTATUS[0]}
# What kstatus, Argo CD and Flux make of them, by their own rules. Three tests write statuses by hand: theirs are left out.
(cd tests/conformance/gitops && go vet ./... && go test -count=1 -v ./... && go build -o "$RECORDED_VERSIONS/judges" .) >"$log.go" 2>&1 || status=1
# The rules and the dashboard, by promtool and Prometheus' own parser.
(cd tests/conformance/monitoring && go vet ./... && go test -count=1 -v ./...) >>"$log.go" 2>&1 || status=1
grep -v -e '^=== ' -e '^ *--- PASS' "$log.go"
"$RECORDED_VERSIONS/judges" check -but memory-,broken-,loose- -health deploy/argocd/health.lua \
  -flux deploy/flux/example/kustomizations/retire-rack-12.yaml "$RECORDED_VERSIONS"/*.json | tee -a "$log" | grep -v '^figure: '
[ "${PIPESTATUS[0]}" = 0 ] || status=1
awk '/^ *--- (PASS|FAIL)/ { n[$2]++ } END { print "     Running tests/conformance/gitops and tests/conformance/monitoring (go)"; printf "test result: go. %d passed; %d failed; 0 ignored\n", n["PASS:"], n["FAIL:"] }' \
  "$log.go" >>"$log"
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
