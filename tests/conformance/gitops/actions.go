package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Actions are resource actions, in the form in which argocd-cm holds them.
type Actions struct {
	Discovery   string `json:"discovery.lua"`
	Definitions []struct {
		Name string `json:"name"`
		Lua  string `json:"action.lua"`
	} `json:"definitions"`
}

// ReadActions reads them from a file, and refuses fields that Argo CD does not know.
func ReadActions(path string) (*Actions, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	actions := &Actions{}
	if err := yaml.UnmarshalStrict(text, actions); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return actions, nil
}

// Discover returns the names of the actions that Argo CD offers for the object, sorted.
func (a *Actions) Discover(object *unstructured.Unstructured) ([]string, error) {
	answer, err := runLua(object, a.Discovery)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	// An empty Lua table is an empty list in JSON.
	if string(answer) == "[]" {
		return []string{}, nil
	}
	type action struct {
		Disabled bool `json:"disabled"`
	}
	offered := map[string]action{}
	if err := json.Unmarshal(answer, &offered); err != nil {
		return nil, fmt.Errorf("discovery answers %s: %w", answer, err)
	}
	maps.DeleteFunc(offered, func(_ string, action action) bool { return action.Disabled })
	return slices.Sorted(maps.Keys(offered)), nil
}

// Run returns the object as an action leaves it. Argo CD sends the difference to the object before as a patch.
func (a *Actions) Run(name string, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for _, action := range a.Definitions {
		if action.Name != name {
			continue
		}
		answer, err := runLua(object, action.Lua)
		if err != nil {
			return nil, fmt.Errorf("action %s: %w", name, err)
		}
		after := &unstructured.Unstructured{}
		if err := after.UnmarshalJSON(answer); err != nil {
			return nil, fmt.Errorf("action %s returns no object: %w", name, err)
		}
		after.Object = restoreMaps(after.Object, object.Object)
		return after, nil
	}
	return nil, fmt.Errorf("there is no action %q", name)
}
