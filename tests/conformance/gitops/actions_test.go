package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

const actionsFile = "../../../deploy/argocd/actions.yaml"

func shipped(t *testing.T) *Actions {
	t.Helper()
	actions, err := ReadActions(actionsFile)
	if err != nil {
		t.Fatal(err)
	}
	return actions
}

func TestDiscovery(t *testing.T) {
	const finished = `, "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Finished", "status": "True"}]}`
	const unfinished = `, "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Finished", "status": "False"}]}`
	for _, c := range []struct {
		name, rest string
		want       []string
	}{
		{"new", `"spec": {}`, []string{"suspend"}},
		{"not suspended", `"spec": {"suspend": false}`, []string{"suspend"}},
		{"suspended", `"spec": {"suspend": true}`, []string{"resume"}},
		{"empty status", `"spec": {}, "status": {}`, []string{"suspend"}},
		{"unfinished", `"spec": {}` + unfinished, []string{"suspend"}},
		{"suspended, unfinished", `"spec": {"suspend": true}` + unfinished, []string{"resume"}},
		{"finished", `"spec": {}` + finished, []string{}},
		{"suspended, finished", `"spec": {"suspend": true}` + finished, []string{"resume"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := shipped(t).Discover(parse(t, `{"apiVersion": "clouddc.dev/v1alpha1", "kind": "InstanceDeletion",
				"metadata": {"name": "a"}, `+c.rest+`}`))
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// An action changes spec.suspend and nothing else: empty maps and lists, numbers and all.
func TestActionsChangeOneField(t *testing.T) {
	const before = `{"apiVersion": "clouddc.dev/v1alpha1", "kind": "InstanceDeletion",
		"metadata": {"name": "a", "generation": 2, "annotations": {}, "managedFields": [{"fieldsV1": {"f:spec": {".": {}}}}]},
		"spec": {"instanceIDs": ["0198170e-4ca7-7ee4-89a7-fa631843920b"], "activeDeadlineSeconds": 2147483647SUSPEND},
		"status": {"observedGeneration": -1, "batches": [], "conditions": []}}`
	object := func(suspend string) map[string]any {
		return parse(t, strings.Replace(before, "SUSPEND", suspend, 1)).Object
	}
	for _, c := range []struct{ action, before, after string }{
		{"suspend", "", `, "suspend": true`},
		{"suspend", `, "suspend": false`, `, "suspend": true`},
		{"suspend", `, "suspend": true`, `, "suspend": true`},
		{"resume", `, "suspend": true`, `, "suspend": false`},
	} {
		after, err := shipped(t).Run(c.action, parse(t, strings.Replace(before, "SUSPEND", c.before, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if want := object(c.after); !reflect.DeepEqual(after.Object, want) {
			t.Errorf("%s: got %v, want %v", c.action, after.Object, want)
		}
	}
}

// Every action that is offered is defined, and the other way round.
func TestOfferedActionsAreDefined(t *testing.T) {
	var names []string
	for _, action := range shipped(t).Definitions {
		names = append(names, action.Name)
	}
	if !slices.Equal(names, []string{"suspend", "resume"}) {
		t.Error(names)
	}
	if _, err := shipped(t).Run("delete", row{}.object(t)); err == nil {
		t.Error("an action that is not there ran")
	}
}
