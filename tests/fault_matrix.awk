# Reads the list of faults, then the log of a test run: which fault has a test that passed, and where over real HTTP.
FNR == NR {
  if ($1 ~ /^[A-Z][0-9]+$/) { order[++n] = $1; layers[$1] = $2 }
  next
}
/^ *Running / { suite = $0 }
/^test .* \.\.\. ok$/ {
  parts = split($2, path, "::"); name = path[parts]
  if (name !~ /^[kctirx][0-9][0-9]_/) next
  id = toupper(substr(name, 1, 1)) (substr(name, 2, 2) + 0)
  tests[id]++
  # The end-to-end suite, and the tests of the cloud client on loopback.
  if (suite ~ /tests\/e2e\// || $2 ~ /^cloud::(client|reader)::/) http[id]++
}
END {
  for (i = 1; i <= n; i++) {
    id = order[i]
    kind = id ~ /^X/ ? "further" : "listed"
    all[kind]++
    if (!(id in tests)) { print "fault " id " has no test that passed"; bad = 1; continue }
    if (layers[id] ~ /(^|,)[HE](,|$)/ && !(id in http)) { print "fault " id " has no test over real HTTP that passed"; bad = 1; continue }
    covered[kind]++; of[kind] += tests[id]
  }
  for (id in tests) if (!(id in layers)) { print "a test names fault " id ", which tests/faults.txt does not list"; bad = 1 }
  printf "faults: %d of %d listed ones have a test that passed (%d tests), and %d of %d further ones (%d tests)\n",
    covered["listed"], all["listed"], of["listed"], covered["further"], all["further"], of["further"]
  exit bad
}
