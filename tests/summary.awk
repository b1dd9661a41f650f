# Reads the log of a test run: prints what each suite took, the ten slowest tests, and what was skipped and why. With
# counts=1, what failed and the counts: a reader of the last lines alone knows which test to look at. A test that finds that it
# can't run here prints "skipped: " and the reason, and passes.
/^ *Running / { suite = $2 }
/^ *Doc-tests / { suite = $2 " documentation" }
# The first lines of what a failed test printed stand under its name once its suite has ended.
/^failures:$/ { in_failures = 1; printed_by = "" }
/^successes:$/ || /^test result: / { in_failures = 0; printed_by = "" }
in_failures && /^---- .* stdout ----$/ { printed_by = $2 }
in_failures && printed_by && NF && lines[printed_by]++ < 25 { printed[printed_by] = printed[printed_by] "  " substr($0, 1, 500) "\n" }
/^test .* \.\.\. FAILED/ { failures[++failed_tests] = $2 }
/^ *--- FAIL: / { failures[++failed_tests] = $3 }
/^test .* \.\.\. (ok|FAILED) <[0-9.]+s>$/ {
  seconds = $NF; gsub(/[<>s]/, "", seconds)
  slow[++tests] = sprintf("%8.1f s  %s", seconds, $2)
}
# Go's, subtests too.
/^ *--- (PASS|FAIL|SKIP): / {
  if ($2 == "PASS:") in_go["passed"]++; else if ($2 == "FAIL:") in_go["failed"]++; else in_go["skipped"]++
  seconds = $4; gsub(/[()s]/, "", seconds)
  slow[++tests] = sprintf("%8.1f s  %s", seconds, $3)
}
/^skipped: / { reasons[++told] = $0; skipped++ }
# The reason why a whole suite does not run. Its tests are counted as ignored.
/^not run: / { reasons[++told] = $0 }
/^ok .*[0-9.]+s$/ { of_go += $3 }
/^test result: / {
  passed += $4; failed += $6; ignored += $8
  seconds = $NF; sub(/s$/, "", seconds)
  if ($4 + $6 + $8) suites = suites sprintf("%8.1f s %5d passed %3d failed  %s\n", seconds, $4, $6, suite)
}
END {
  passed += in_go["passed"]; failed += in_go["failed"]; ignored += in_go["skipped"]
  suites = suites sprintf("%8.1f s %5d passed %3d failed  tests/conformance (Go)\n", of_go, in_go["passed"], in_go["failed"])
  if (counts) {
    for (i = 1; i <= failed_tests; i++) printf "failed: %s\n%s", failures[i], printed[failures[i]]
    printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, ignored + skipped
    exit no_skips && ignored + skipped > 0
  }
  printf "%s", suites
  if (tests) print "the slowest tests:"
  for (i = 1; i <= tests; i++) print slow[i] | "sort -k1,1nr | head -10"
  close("sort -k1,1nr | head -10")
  for (i = 1; i <= told; i++) print reasons[i]
}
