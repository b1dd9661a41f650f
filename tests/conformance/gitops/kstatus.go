package main

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// Kstatus is what the library says, which Flux asks where it has no expressions.
func Kstatus(object *unstructured.Unstructured) (string, string) {
	result, err := status.Compute(object)
	if err != nil {
		return status.UnknownStatus.String(), err.Error()
	}
	return result.Status.String(), result.Message
}
