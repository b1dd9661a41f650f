// Package kubestatemetrics runs deploy/monitoring/kube-state-metrics.yaml over an InstanceDeletion, with the code of
// kube-state-metrics itself.
package kubestatemetrics

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/kube-state-metrics/v2/pkg/customresourcestate"
	"k8s.io/kube-state-metrics/v2/pkg/metric"
	generator "k8s.io/kube-state-metrics/v2/pkg/metric_generator"
	"sigs.k8s.io/yaml"
)

const (
	root       = "../../.."
	configFile = "deploy/monitoring/kube-state-metrics.yaml"
	crdFile    = "crds/clouddc.dev_instancedeletions.yaml"
	monitor    = "docs/how-to/monitor.md"
)

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parse(t *testing.T, file string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(read(t, file), into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// resource is the only one of the configuration.
func resource(t *testing.T) customresourcestate.Resource {
	t.Helper()
	// Its kind belongs to the file, and is no field of the type.
	var config struct {
		Kind string                          `json:"kind"`
		Spec customresourcestate.MetricsSpec `json:"spec"`
	}
	parse(t, filepath.Join(root, configFile), &config)
	if config.Kind != "CustomResourceStateMetrics" || len(config.Spec.Resources) != 1 {
		t.Fatalf("%+v", config)
	}
	return config.Spec.Resources[0]
}

func families(t *testing.T) []generator.FamilyGenerator {
	t.Helper()
	r := resource(t)
	for i := range r.Metrics {
		// As kube-state-metrics does when it reads the file.
		each := &r.Metrics[i].Each
		each.Type = metric.Type(strings.ToLower(string(each.Type)))
	}
	factory, err := customresourcestate.NewCustomResourceMetrics(r)
	if err != nil {
		t.Fatal(err)
	}
	return factory.MetricFamilyGenerators()
}

// series are the metrics of an object, as a scrape has them.
func series(t *testing.T, file string) []string {
	t.Helper()
	object := &unstructured.Unstructured{}
	parse(t, file, &object.Object)
	var lines []string
	for _, family := range families(t) {
		text := strings.TrimSpace(string(family.Generate(object).ByteSlice()))
		for line := range strings.SplitSeq(text, "\n") {
			if line != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// schema is what the CRD says of a path of an object.
func schema(t *testing.T, path ...string) map[string]any {
	t.Helper()
	crd := &unstructured.Unstructured{}
	parse(t, filepath.Join(root, crdFile), &crd.Object)
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil || len(versions) != 1 {
		t.Fatal(versions, err)
	}
	here, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
	for _, field := range path {
		if strings.HasPrefix(field, "[") {
			here, _, _ = unstructured.NestedMap(here, "items")
			continue
		}
		properties, _, _ := unstructured.NestedMap(here, "properties")
		next, known := properties[field].(map[string]any)
		if !known {
			t.Fatalf("the CRD has no %v", path)
		}
		here = next
	}
	return here
}

func TestEachPathIsOneOfTheCRD(t *testing.T) {
	for _, m := range resource(t).Metrics {
		switch each := m.Each; {
		case each.StateSet != nil:
			schema(t, each.StateSet.Path...)
		case each.Info != nil:
			schema(t, each.Info.Path...)
			for _, path := range each.Info.LabelsFromPath {
				schema(t, slices.Concat(each.Info.Path, path)...)
			}
		case each.Gauge != nil && each.Gauge.Path[0] != "metadata":
			schema(t, each.Gauge.Path...)
		}
	}
}

func TestThePhasesAreThoseOfTheCRD(t *testing.T) {
	enum, _, _ := unstructured.NestedStringSlice(schema(t, "status", "phase"), "enum")
	for _, m := range resource(t).Metrics {
		if m.Each.StateSet != nil {
			if !slices.Equal(m.Each.StateSet.List, enum) {
				t.Errorf("%v, the CRD has %v", m.Each.StateSet.List, enum)
			}
			return
		}
	}
	t.Error("no phases")
}

func TestAnObjectHasItsMetrics(t *testing.T) {
	const labels = `customresource_group="clouddc.dev",customresource_kind="InstanceDeletion",customresource_version="v1alpha1",` +
		`name="retire-rack-12",namespace="fleet"`
	lines := series(t, "finished.yaml")
	for _, want := range []string{
		`kube_instancedeletion_status_phase{` + labels + `,phase="Failed"} 1`,
		`kube_instancedeletion_status_phase{` + labels + `,phase="Succeeded"} 0`,
		`kube_instancedeletion_status_ready_info{` + labels + `,reason="Failed",status="False"} 1`,
		`kube_instancedeletion_status_instances{` + labels + `,state="failed"} 1`,
		`kube_instancedeletion_status_instances{` + labels + `,state="terminated"} 2`,
		`kube_instancedeletion_status_instances{` + labels + `,state="total"} 3`,
		`kube_instancedeletion_created{` + labels + `} 1.796061e+09`,
		`kube_instancedeletion_status_start_time{` + labels + `} 1.796061001e+09`,
		`kube_instancedeletion_status_completion_time{` + labels + `} 1.796061067e+09`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is missing in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

func TestAnObjectThatSoaksSaysHowManyAreOffAndUntilWhen(t *testing.T) {
	lines := strings.Join(series(t, "soaking.yaml"), "\n")
	for _, want := range []string{`phase="Soaking"} 1`, `state="poweredOff"} 2`, `state="poweringOff"} 1`,
		`kube_instancedeletion_status_next_action_time{`} {
		if !strings.Contains(lines, want) {
			t.Errorf("%s is missing in\n%s", want, lines)
		}
	}
}

// A scrape between the creation and the first status fails nothing.
func TestAnObjectWithoutAStatusHasItsAge(t *testing.T) {
	lines := series(t, "new.yaml")
	age := func(line string) bool { return strings.HasPrefix(line, "kube_instancedeletion_created{") }
	ended := func(line string) bool { return strings.HasPrefix(line, "kube_instancedeletion_status_completion") }
	if !slices.ContainsFunc(lines, age) || slices.ContainsFunc(lines, ended) {
		t.Error(strings.Join(lines, "\n"))
	}
}

func TestEachMetricIsDocumented(t *testing.T) {
	document := string(read(t, filepath.Join(root, monitor)))
	r := resource(t)
	for _, m := range r.Metrics {
		if name := *r.MetricNamePrefix + "_" + m.Name; !strings.Contains(document, "`"+name+"`") {
			t.Errorf("%s does not name %s", monitor, name)
		}
	}
}
