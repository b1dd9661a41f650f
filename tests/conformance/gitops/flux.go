package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Expressions are the health check expressions of a Flux Kustomization, in Flux's own evaluator.
type Expressions struct {
	evaluator *cel.StatusEvaluator
}

// ReadExpressions reads those that a Kustomization holds for InstanceDeletions.
func ReadExpressions(path string) (*Expressions, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		gk := schema.FromAPIVersionAndKind(check.APIVersion, check.Kind).GroupKind()
		if gk.Group != group || gk.Kind != kind {
			continue
		}
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return &Expressions{evaluator}, nil
	}
	return nil, fmt.Errorf("%s has no healthCheckExprs for %s of %s", path, kind, group)
}

// Flux is what Flux makes of the object. It takes an expression that cannot be evaluated for Unknown, and goes on waiting.
func (e *Expressions) Flux(object *unstructured.Unstructured) (string, string) {
	result, err := e.evaluator.Evaluate(context.Background(), object)
	if err != nil {
		return "Unknown", err.Error()
	}
	return result.Status.String(), result.Message
}
