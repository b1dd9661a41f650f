package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ArgoHealth is what Argo CD's gitops-engine makes of the object with this health check: a check that fails is Unknown,
// and an object that is being removed is Progressing unless the check answers with a message for that.
func ArgoHealth(object *unstructured.Unstructured, script string) (string, string) {
	const unknown = "Unknown"
	answer, err := runLua(object, script)
	if err != nil {
		return unknown, err.Error()
	}
	var health struct {
		Status          string `json:"status"`
		Message         string `json:"message"`
		DeletionMessage string `json:"deletionMessage"`
	}
	if err := json.Unmarshal(answer, &health); err != nil {
		return unknown, fmt.Sprintf("the script answers %s: %s", answer, err)
	}
	if !slices.Contains([]string{"Progressing", "Suspended", "Healthy", "Degraded", "Missing", unknown}, health.Status) {
		return unknown, "Lua returned an invalid health status"
	}
	if object.GetDeletionTimestamp() == nil {
		return health.Status, health.Message
	}
	if health.DeletionMessage != "" {
		return health.Status, health.DeletionMessage
	}
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		return "Progressing", "Pending deletion; blocked by finalizers: " + strings.Join(finalizers, ", ")
	}
	return "Progressing", "Pending deletion"
}
