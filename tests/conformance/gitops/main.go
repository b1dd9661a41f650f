// Judges says what kstatus, Argo CD and Flux make of InstanceDeletions, with these tools' own rules.
//
//	judges judge    -health FILE -flux FILE      a verdict for each object
//	judges discover -actions FILE                the Argo CD actions offered for each object
//	judges act      -actions FILE -name ACTION   each object after the action
//	judges check    -health FILE -flux FILE [-but PREFIX,...] VERSIONS...   counts verdicts that differ from the table of phases
//
// It reads whole objects as JSON from standard input, one after the other, and prints one line of JSON for each.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const usage = `usage:
  judges judge    -health FILE -flux FILE      < OBJECTS   a verdict for each object
  judges discover -actions FILE                < OBJECTS   the Argo CD actions offered for each object
  judges act      -actions FILE -name ACTION   < OBJECTS   each object after the action
  judges check    -health FILE -flux FILE [-but PREFIX,...] VERSIONS...
                                                           how many verdicts differ from the table of phases

VERSIONS  files with an object, or an event of a watch, on each line
OBJECTS   whole InstanceDeletions as JSON, one after the other
-but      prefixes of namespaces that are left out
-health   Argo CD's health check, a Lua script
-flux     a Flux Kustomization whose healthCheckExprs judge InstanceDeletions
-actions  Argo CD's actions, as argocd-cm holds them
`

// Verdict is what the three tools say about one object.
type Verdict struct {
	Kstatus        string `json:"kstatus"`
	KstatusMessage string `json:"kstatusMessage,omitempty"`
	Argo           string `json:"argo"`
	ArgoMessage    string `json:"argoMessage,omitempty"`
	Flux           string `json:"flux"`
	FluxMessage    string `json:"fluxMessage,omitempty"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "judges:", err)
		os.Exit(2)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("no command\n" + usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	health := flags.String("health", "", "")
	flux := flags.String("flux", "", "")
	actions := flags.String("actions", "", "")
	name := flags.String("name", "", "")
	but := flags.String("but", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w\n%s", err, usage)
	}
	if flags.NArg() > 0 && args[0] != "check" {
		return fmt.Errorf("unexpected argument %q\n%s", flags.Arg(0), usage)
	}

	var answer func(*unstructured.Unstructured) (any, error)
	switch args[0] {
	case "check":
		leftOut := slices.DeleteFunc(strings.Split(*but, ","), func(prefix string) bool { return prefix == "" })
		return check(*health, *flux, leftOut, flags.Args(), out)
	case "judge":
		script, err := os.ReadFile(*health)
		if err != nil {
			return fmt.Errorf("-health: %w", err)
		}
		expressions, err := ReadExpressions(*flux)
		if err != nil {
			return fmt.Errorf("-flux: %w", err)
		}
		answer = func(object *unstructured.Unstructured) (any, error) {
			return Judge(object, string(script), expressions), nil
		}
	case "discover", "act":
		shipped, err := ReadActions(*actions)
		if err != nil {
			return fmt.Errorf("-actions: %w", err)
		}
		answer = func(object *unstructured.Unstructured) (any, error) {
			if args[0] == "act" {
				return shipped.Run(*name, object)
			}
			names, err := shipped.Discover(object)
			return map[string][]string{"actions": names}, err
		}
	default:
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	return each(in, out, answer)
}

// check prints what came of all versions. It is an error if there are none, or if one is judged otherwise than the table says.
func check(health, flux string, but, paths []string, out io.Writer) error {
	script, err := os.ReadFile(health)
	if err != nil {
		return fmt.Errorf("-health: %w", err)
	}
	expressions, err := ReadExpressions(flux)
	if err != nil {
		return fmt.Errorf("-flux: %w", err)
	}
	tally, err := Check(paths, but, string(script), expressions, out)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "figure: kstatus, Argo CD's Lua and Flux's CEL: %d versions judged, mismatches %d; by phase %v\n",
		tally.Versions, tally.Mismatches, tally.Phases)
	if tally.Versions == 0 || tally.Mismatches > 0 {
		return errors.New("no versions, or mismatches")
	}
	return nil
}

// each reads objects until the end of the input and prints the answer to each.
func each(in io.Reader, out io.Writer, answer func(*unstructured.Unstructured) (any, error)) error {
	input, output := json.NewDecoder(in), json.NewEncoder(out)
	output.SetEscapeHTML(false)
	for number := 1; ; number++ {
		var raw json.RawMessage
		if err := input.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("object %d is not JSON: %w", number, err)
		}
		// The API machinery's own reader: whole numbers become int64, as the tools expect.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return fmt.Errorf("object %d is not a Kubernetes object: %w", number, err)
		}
		if gvk := object.GroupVersionKind(); gvk.Group != group || gvk.Kind != kind {
			return fmt.Errorf("object %d is a %s, not a %s of %s", number, gvk, kind, group)
		}
		line, err := answer(object)
		if err != nil {
			return fmt.Errorf("object %d (%s/%s): %w", number, object.GetNamespace(), object.GetName(), err)
		}
		if err := output.Encode(line); err != nil {
			return err
		}
	}
}

const (
	group = "clouddc.dev"
	kind  = "InstanceDeletion"
)

// Judge asks the three tools.
func Judge(object *unstructured.Unstructured, healthScript string, expressions *Expressions) Verdict {
	var verdict Verdict
	verdict.Kstatus, verdict.KstatusMessage = Kstatus(object)
	verdict.Argo, verdict.ArgoMessage = ArgoHealth(object, healthScript)
	verdict.Flux, verdict.FluxMessage = expressions.Flux(object)
	return verdict
}
