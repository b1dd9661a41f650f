package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	fluxstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	healthFile = "../../../deploy/argocd/health.lua"
	fluxFile   = "../../../deploy/flux/example/kustomizations/retire-rack-12.yaml"
)

// A row of the table of phases, or an object beside it.
type row struct {
	name   string
	status string // as JSON; the generation is 2
	meta   string // further metadata, as JSON fields
	want   [3]string
}

var (
	waiting = [3]string{"InProgress", "Progressing", "InProgress"}
	resting = [3]string{"InProgress", "Suspended", "InProgress"}
	gone    = [3]string{"Current", "Healthy", "Current"}
	failed  = [3]string{"Failed", "Degraded", "Failed"}
)

func (r row) object(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	text := `{"apiVersion": "clouddc.dev/v1alpha1", "kind": "InstanceDeletion",
		"metadata": {"name": "a", "namespace": "fleet", "generation": 2` + r.meta + `}, "spec": {"region": "r"}`
	if r.status != "" {
		text += `, "status": ` + r.status
	}
	return parse(t, text+"}")
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatalf("%s: %s", err, text)
	}
	return object
}

// statusOf is one that the controller writes: conditions as "Type=Status" or "Type=Status:Reason".
func statusOf(t *testing.T, phase string, observed int, conditions ...string) string {
	t.Helper()
	list := []map[string]any{}
	for _, condition := range conditions {
		condition, reason, _ := strings.Cut(condition, ":")
		kind, value, _ := strings.Cut(condition, "=")
		if reason == "" {
			reason = phase
		}
		list = append(list, map[string]any{
			"type": kind, "status": value, "reason": reason, "message": "about " + kind,
			"observedGeneration": observed, "lastTransitionTime": "2026-11-24T00:00:00Z",
		})
	}
	text, err := json.Marshal(map[string]any{"phase": phase, "observedGeneration": observed, "conditions": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func open(t *testing.T, phase, reason string) row {
	return row{phase + " " + reason,
		statusOf(t, phase, 2, "Ready=False:"+reason, "Reconciling=True:"+reason, "Finished=False:NotFinished"), "", waiting}
}

func atRest(t *testing.T, phase, reason string) row {
	return row{phase + " " + reason,
		statusOf(t, phase, 2, "Ready=False:"+reason, "Finished=False:NotFinished"), "", resting}
}

func badEnd(t *testing.T, phase, reason string) row {
	return row{phase + " " + reason,
		statusOf(t, phase, 2, "Ready=False:"+reason, "Stalled=True:"+reason, "Finished=True:"+reason), "", failed}
}

func goodEnd(t *testing.T, reason, finished string) row {
	return row{"Succeeded " + reason,
		statusOf(t, "Succeeded", 2, "Ready=True:"+reason, "Finished=True:"+finished), "", gone}
}

// troubles are the reasons of Ready while something stands in the way.
var troubles = []string{"SecretNotFound", "SecretForbidden", "SecretInvalid", "CredentialsRejected", "Forbidden", "Throttled",
	"ApiServerUnavailable", "CloudUnreachable", "EndpointMisconfigured", "RegionNotAllowed", "TooManyAccounts", "RequestRefused",
	"FactsUnknown", "GuardUnreadable", "GuardRefused"}

func phases(t *testing.T) []row {
	rows := []row{
		open(t, "Pending", "Planning"), open(t, "Pending", "Deleting"), open(t, "Planning", "Planning"),
		open(t, "Deleting", "Deleting"), open(t, "Deleting", "StateUnknown"), open(t, "Deleting", "StatusTooLarge"),
		open(t, "Deleting", "Undecodable"),
		open(t, "Soaking", "Soaking"), open(t, "Throttled", "Throttled"),
		atRest(t, "Planned", "Planned"), atRest(t, "Suspended", "Suspended"), atRest(t, "Suspended", "Held"),
		atRest(t, "LimitReached", "LimitReached"),
		goodEnd(t, "AllTerminated", "Succeeded"), goodEnd(t, "NothingFound", "NothingFound"),
		badEnd(t, "Failed", "Failed"), badEnd(t, "Failed", "NotAsExpected"), badEnd(t, "Failed", "TooManyFailures"),
		badEnd(t, "DeadlineExceeded", "DeadlineExceeded"), badEnd(t, "Expired", "Expired"),
		badEnd(t, "InvalidSpec", "InvalidSpec"),
	}
	for _, reason := range troubles {
		rows = append(rows, open(t, "Planning", reason), open(t, "Deleting", reason), atRest(t, "Suspended", reason))
	}
	return rows
}

// stale are the rows of the table with another generation than the object's: nothing that they say counts.
func stale(t *testing.T) []row {
	var rows []row
	for _, r := range phases(t) {
		for _, observed := range []string{"-1", "1", "3"} {
			changed := strings.Replace(r.status, `"observedGeneration":2,"phase"`, `"observedGeneration":`+observed+`,"phase"`, 1)
			if changed == r.status {
				t.Fatalf("no generation in %s", r.status)
			}
			rows = append(rows, row{r.name + ", observed " + observed, changed, "", waiting})
		}
	}
	return rows
}

func beside(t *testing.T) []row {
	const removal = `, "deletionTimestamp": "2026-11-24T00:00:00Z"`
	succeeded := goodEnd(t, "AllTerminated", "Succeeded").status
	unobserved := func(status string) string {
		return strings.Replace(status, `"observedGeneration":2,"phase"`, `"phase"`, 1)
	}
	return []row{
		{"as created, by the schema's default", `{"observedGeneration": -1}`, "", waiting},
		// kstatus calls most of the next ones current: the schema's default and the first write keep them from being.
		{"no status", "", "", [3]string{"Current", "Progressing", "Unknown"}},
		{"empty status", `{}`, "", [3]string{"Current", "Progressing", "InProgress"}},
		{"no conditions", `{"observedGeneration": 2}`, "", [3]string{"Current", "Progressing", "InProgress"}},
		{"succeeded, generation not observed", unobserved(succeeded), "", [3]string{"Current", "Progressing", "InProgress"}},
		{"failed, generation not observed", unobserved(badEnd(t, "Failed", "Failed").status), "",
			[3]string{"Failed", "Progressing", "InProgress"}},
		{"empty conditions", `{"observedGeneration": 2, "conditions": []}`, "",
			[3]string{"Current", "Progressing", "InProgress"}},
		{"only Finished", statusOf(t, "Succeeded", 2, "Finished=True"), "",
			[3]string{"Current", "Progressing", "InProgress"}},
		{"Ready unknown", statusOf(t, "Deleting", 2, "Ready=Unknown"), "", waiting},
		{"Ready while Reconciling", statusOf(t, "Succeeded", 2, "Ready=True", "Reconciling=True"), "", waiting},
		{"Ready false alone", statusOf(t, "Planned", 2, "Ready=False"), "", resting},
		{"Ready while Stalled", statusOf(t, "Failed", 2, "Ready=True", "Stalled=True"), "", failed},
		{"Stalled false", statusOf(t, "Succeeded", 2, "Ready=True", "Stalled=False", "Reconciling=False"), "", gone},
		{"being removed, open", open(t, "Deleting", "Deleting").status, removal,
			[3]string{"Terminating", "Progressing", "InProgress"}},
		{"being removed, succeeded", succeeded, removal, [3]string{"Terminating", "Progressing", "InProgress"}},
	}
}

func all(t *testing.T) []row {
	return append(append(phases(t), stale(t)...), beside(t)...)
}

// shippedChecks are the health check and the expressions that deploy/ holds.
func shippedChecks(t *testing.T) (string, *Expressions) {
	t.Helper()
	script, err := os.ReadFile(healthFile)
	if err != nil {
		t.Fatal(err)
	}
	expressions, err := ReadExpressions(fluxFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(script), expressions
}

func TestVerdicts(t *testing.T) {
	script, expressions := shippedChecks(t)
	for _, row := range all(t) {
		t.Run(row.name, func(t *testing.T) {
			verdict := Judge(row.object(t), script, expressions)
			if got := [3]string{verdict.Kstatus, verdict.Argo, verdict.Flux}; got != row.want {
				t.Errorf("kstatus, Argo CD, Flux: got %v, want %v; status %s; %+v", got, row.want, row.status, verdict)
			}
		})
	}
}

// The message that Argo CD shows is Ready's, or Stalled's.
func TestArgoMessages(t *testing.T) {
	script, err := os.ReadFile(healthFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range phases(t) {
		want := "about Ready"
		if row.want == failed {
			want = "about Stalled"
		}
		if _, message := ArgoHealth(row.object(t), string(script)); message != want {
			t.Errorf("%s: %q", row.name, message)
		}
	}
}

// Where Flux has no expressions it asks its own copy of kstatus.
func TestFluxHasTheSameKstatus(t *testing.T) {
	for _, row := range all(t) {
		result, err := fluxstatus.Compute(row.object(t))
		if err != nil {
			t.Fatal(err)
		}
		if result.Status.String() != row.want[0] {
			t.Errorf("%s: %s, want %s", row.name, result.Status, row.want[0])
		}
	}
}

// What the documents warn of: on an empty list `filter(…).all(…)` is true, so every new object would have failed.
func TestFilterAllIsTrueOnAnEmptyList(t *testing.T) {
	path := t.TempDir() + "/flux.yaml"
	text := `{spec: {healthCheckExprs: [{apiVersion: clouddc.dev/v1alpha1, kind: InstanceDeletion,
		failed: "status.conditions.filter(c, c.type == 'Stalled').all(c, c.status == 'True')", current: "false"}]}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	expressions, err := ReadExpressions(path)
	if err != nil {
		t.Fatal(err)
	}
	object := row{status: statusOf(t, "Deleting", 2, "Ready=False", "Reconciling=True")}.object(t)
	if got, _ := expressions.Flux(object); got != "Failed" {
		t.Error(got)
	}
}
