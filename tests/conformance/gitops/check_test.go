package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The table that versions are checked by is the one that the verdicts were tried on.
func TestTheTableOfPhases(t *testing.T) {
	for _, row := range append(phases(t), stale(t)...) {
		expected, err := Expect(row.object(t))
		if err != nil {
			t.Errorf("%s: %s", row.name, err)
		}
		if got := [3]string{expected.Kstatus, expected.Argo, expected.Flux}; got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
	if _, err := Expect((row{status: statusOf(t, "Exploding", 2, "Ready=False")}).object(t)); err == nil {
		t.Error("a phase that no row has passes")
	}
}

func TestCheckCountsVersionsAndMismatches(t *testing.T) {
	line := func(r row) string {
		text, err := r.object(t).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	good := line(open(t, "Deleting", "Deleting"))
	// A status that says Succeeded and is none: its condition is missing.
	bad := line(row{status: statusOf(t, "Succeeded", 2, "Ready=False")})
	path := filepath.Join(t.TempDir(), "versions")
	lines := []string{good, `{"type":"MODIFIED","object":` + bad + `}`, good}
	text := strings.Join(lines, "\n") + "\n" + good[:50]
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	script, expressions := shippedChecks(t)
	var out strings.Builder
	tally, err := Check([]string{path}, []string{"flee"}, script, expressions, &out)
	if err != nil || tally.Versions != 0 {
		t.Errorf("%+v, %v: none is of another namespace", tally, err)
	}
	tally, err = Check([]string{path}, nil, script, expressions, &out)
	if err != nil || tally.Versions != 3 || tally.Mismatches != 1 || tally.Phases["Deleting"] != 2 {
		t.Errorf("%+v, %v", tally, err)
	}
	if !strings.Contains(out.String(), "the table says {Current Healthy Current}") {
		t.Error(out.String())
	}
}
