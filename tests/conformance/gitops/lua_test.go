package main

import (
	"strings"
	"testing"
	"time"
)

// What Argo CD does not give to a script is not there; what it gives is.
func TestLuaSandbox(t *testing.T) {
	for script, want := range map[string]string{
		`return {status = "Healthy"}`:                              "Healthy",
		`io.open("/etc/passwd")`:                                   "Unknown",
		`os.exit(0)`:                                               "Unknown",
		`return {status = string.upper("healthy")}`:                "Unknown",
		`local l = {"Healthy"}; return {status = table.remove(l)}`: "Healthy",
		`return {status = "Well"}`:                                 "Unknown",
		`return "Healthy"`:                                         "Unknown",
		`return {}`:                                                "Unknown",
		`retrun`:                                                   "Unknown",
	} {
		if got, message := ArgoHealth(row{}.object(t), script); got != want {
			t.Errorf("%s: %s %s", script, got, message)
		}
	}
}

func TestLuaHasASecond(t *testing.T) {
	start := time.Now()
	got, message := ArgoHealth(row{}.object(t), `while true do end`)
	if got != "Unknown" || !strings.Contains(message, "deadline") {
		t.Error(got, message)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Error(took)
	}
}
