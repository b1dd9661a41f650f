#!/usr/bin/env bash
# Runs every test of the workspace but those on a node and those with GitOps tools: the end-to-end tests, which mostly wait,
# beside everything else. With the argument `node` it runs those on a node alone, which need root and packages of Debian, with
# `gitops` those with Flux, Argo CD and Velero alone, which take half an hour to build, and with `e2e` the end-to-end tests alone. Prints last what each suite took, the ten
# slowest tests, which faults have a test that passed (tests/faults.txt), what the model check and the simulations covered, what
# failed, and the counts of tests. NO_SKIPS=1 makes a skipped test a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
case "${1:-}" in
  '') suites=(end_to_end others in_go) ;;
  e2e | node | gitops) suites=("alone_$1") ;;
  *) echo "usage: tests/run.sh [e2e | node | gitops]" >&2; exit 2 ;;
esac
logs=$(mktemp -d)
# Every status version that a test comes to, for the judges below.
RECORDED_VERSIONS=$(mktemp -d)
export RECORDED_VERSIONS
groups=()
clean_up() {
  for group in "${groups[@]}"; do kill -- "-$group" 2>/dev/null; done
  rm -rf "$logs" "$RECORDED_VERSIONS"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Everything is built before anything runs: no test shares the processors with a compiler. All of the workspace in one go: a
# choice of packages has other features of their dependencies, and would be compiled once more.
cargo test --workspace --no-run --message-format=json-render-diagnostics >"$logs/built" || exit 1
if [[ " ${suites[*]} " == *" in_go "* || " ${suites[*]} " == *" alone_e2e "* ]]; then
  # promtool and Prometheus: built from source once, six minutes of processor time, and kept by Go.
  for program in promtool prometheus; do
    (cd tests/conformance/monitoring && GOFLAGS=-tags=remove_all_sd go tool "$program" --version) >/dev/null || exit 1
  done
fi

# Each test program: the folder of its package, its source and itself, between tabs.
artifact='"manifest_path":"([^"]*)/Cargo.toml".*"src_path":"'$PWD'/([^"]*)".*"profile":\{[^}]*"test":true.*"executable":"([^"]+)"'
sed -nE "s|.*$artifact.*|\1\t\2\t\3|p" "$logs/built" | sort -t $'\t' -k 2 >"$logs/programs"
[ -s "$logs/programs" ] || { echo "cargo names no test program" >&2; exit 1; }

# Prints what a group of suites says as it comes, and keeps it. Figures are printed at the end.
keep() { # GROUP
  tee -a "$logs/log-$1" | grep --line-buffered -v -e '^figure: ' -e '^=== ' -e '^ *--- PASS' | sed -u "s/^/$1 | /"
}

# Runs the test programs whose lines are the input, one after the other.
run() { # THREADS
  local folder source program failed=0
  # Stable Rust tells the time of each test behind a switch that a test program reads when it runs. A toolchain that no longer
  # knows the switch runs the tests without times.
  local times=(-Z unstable-options --report-time)
  while IFS=$'\t' read -r folder source program; do
    RUSTC_BOOTSTRAP=1 "$program" "${times[@]}" --list >/dev/null 2>&1 || times=()
    echo "     Running $source ($program)"
    # The tests of the plugin write statuses by hand, which the controller would not: nobody judges them.
    local without=()
    [[ "$folder" != */plugin ]] || without=(-u RECORDED_VERSIONS)
    # The model check and the simulations print their figures; without --show-output a test program keeps them.
    (cd "$folder" && env "${without[@]}" RUSTC_BOOTSTRAP=1 "$program" "${times[@]}" --show-output --test-threads "$1" </dev/null) \
      || failed=1
  done
  return "$failed"
}

end_to_end() {
  # Most of the time they wait: for one another's processes, or for a time that a rule names.
  grep -P '\ttests/e2e/main.rs\t' "$logs/programs" | run $((2 * $(nproc))) 2>&1 | keep e2e
  [ "${PIPESTATUS[*]}" = "0 0 0" ]
}

others() {
  grep -vP '\ttests/(e2e|node|gitops)/main.rs\t' "$logs/programs" | run "$(nproc)" 2>&1 | keep others
  local ended=("${PIPESTATUS[@]}")
  cargo test --workspace --no-fail-fast --doc 2>&1 | keep others
  [ "${ended[*]} ${PIPESTATUS[0]}" = "0 0 0 0" ]
}

alone_e2e() {
  end_to_end
}

alone_node() {
  # One scenario after the other: each changes what the others would see.
  grep -P '\ttests/node/main.rs\t' "$logs/programs" | run 1 2>&1 | keep node
  [ "${PIPESTATUS[*]}" = "0 0 0" ]
}

alone_gitops() {
  grep -P '\ttests/gitops/main.rs\t' "$logs/programs" | run "$(nproc)" 2>&1 | keep gitops
  [ "${PIPESTATUS[*]}" = "0 0 0" ]
}

in_go() {
  in_both_modules 2>&1 | keep go
  return "${PIPESTATUS[0]}"
}

in_both_modules() {
  local failed=0
  # What kstatus, Argo CD and Flux make of a status, and the program that judges the recorded ones by their rules.
  (cd tests/conformance/gitops && go vet ./... && go test -count=1 -v ./... && go build -o "$RECORDED_VERSIONS/judges" .) \
    || failed=1
  # The rules and the dashboard, by promtool and Prometheus' own parser.
  (cd tests/conformance/monitoring && go vet ./... && go test -count=1 -v ./...) || failed=1
  # The metrics of each object, by the code of kube-state-metrics.
  (cd tests/conformance/kube-state-metrics && go vet ./... && go test -count=1 -v ./...) || failed=1
  return "$failed"
}

# Each in a process group of its own, which ends with this script, however it ends.
set -m
for suite in "${suites[@]}"; do
  "$suite" & groups+=($!)
done
status=0
for group in "${groups[@]}"; do
  wait "$group" || status=1
done

if [ -x "$RECORDED_VERSIONS/judges" ]; then
  # Three tests write statuses by hand: theirs are left out.
  "$RECORDED_VERSIONS/judges" check -but memory-,broken-,loose- -health deploy/argocd/health.lua \
    -flux deploy/flux/example/kustomizations/retire-rack-12.yaml "$RECORDED_VERSIONS"/*.json | keep judges
  [ "${PIPESTATUS[0]}" = 0 ] || status=1
fi

cat "$logs"/log-* >"$logs/all"
awk -f tests/summary.awk "$logs/all"
[[ "${suites[0]}" = alone_* ]] || sed -E 's/^(test .*) <[0-9.]+s>$/\1/' "$logs/all" | awk -f tests/fault_matrix.awk tests/faults.txt - || status=1
sed -n 's/^figure: //p' "$logs/all" | awk '!seen[$0]++'
printf 'in %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
awk -v counts=1 -v no_skips="${NO_SKIPS:-}" -f tests/summary.awk "$logs/all" || status=1
exit "$status"
