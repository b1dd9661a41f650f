package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var judge = []string{"judge", "-health", healthFile, "-flux", fluxFile}

func TestOneLineForEachObject(t *testing.T) {
	object := `{"apiVersion":"clouddc.dev/v1alpha1","kind":"InstanceDeletion","metadata":{"name":"a","generation":1},
		"spec":{},"status":{"observedGeneration":-1}}`
	for _, c := range []struct {
		args []string
		want string
	}{
		{judge, `{"kstatus":"InProgress","kstatusMessage":"InstanceDeletion generation is 1, but latest observed generation ` +
			`is -1","argo":"Progressing","argoMessage":"waiting for the controller to see this generation","flux":"InProgress"}`},
		{[]string{"discover", "-actions", actionsFile}, `{"actions":["suspend"]}`},
		{[]string{"act", "-actions", actionsFile, "-name", "suspend"}, `{"apiVersion":"clouddc.dev/v1alpha1",` +
			`"kind":"InstanceDeletion","metadata":{"generation":1,"name":"a"},"spec":{"suspend":true},` +
			`"status":{"observedGeneration":-1}}`},
	} {
		var out strings.Builder
		if err := run(c.args, strings.NewReader(object+"\n"+object), &out); err != nil {
			t.Fatal(c.args, err)
		}
		if got := out.String(); got != c.want+"\n"+c.want+"\n" {
			t.Errorf("%v: %s", c.args, got)
		}
	}
}

func TestBadInputIsRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const object = `{"apiVersion":"clouddc.dev/v1alpha1","kind":"InstanceDeletion","metadata":{"name":"a"},"spec":{}}`
	for _, c := range []struct {
		args        []string
		input, want string
	}{
		{nil, "", "no command"},
		{[]string{"guess"}, "", "unknown command"},
		{[]string{"judge", "-loud"}, "", "not defined"},
		{append(judge, "more"), "", "unexpected argument"},
		{[]string{"judge", "-flux", fluxFile}, object, "-health"},
		{[]string{"judge", "-health", healthFile, "-flux", empty}, object, "no healthCheckExprs"},
		{[]string{"act", "-actions", healthFile}, object, "-actions"},
		{[]string{"act", "-actions", actionsFile, "-name", "delete"}, object, `no action "delete"`},
		{judge, "words", "not JSON"},
		{judge, `{"kind": "In`, "not JSON"},
		{judge, `[]`, "not a Kubernetes object"},
		{judge, object + `{"apiVersion":"v1","kind":"Secret"}`, "object 2 is a /v1, Kind=Secret"},
	} {
		err := run(c.args, strings.NewReader(c.input), &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %s: %v, want %q", c.args, c.input, err, c.want)
		}
	}
}
