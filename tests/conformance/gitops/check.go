package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Expected is what the three tools are to say of an object, by the phase that its status names.
type Expected struct{ Kstatus, Argo, Flux string }

var (
	waits   = Expected{"InProgress", "Progressing", "InProgress"}
	rests   = Expected{"InProgress", "Suspended", "InProgress"}
	isGone  = Expected{"Current", "Healthy", "Current"}
	isAFail = Expected{"Failed", "Degraded", "Failed"}
	leaves  = Expected{"Terminating", "Progressing", "InProgress"}

	byPhase = map[string]Expected{
		"Pending": waits, "Planning": waits, "Deleting": waits, "Soaking": waits, "Throttled": waits,
		"Planned": rests, "Suspended": rests, "LimitReached": rests,
		"Succeeded": isGone,
		"Failed":    isAFail, "DeadlineExceeded": isAFail, "Expired": isAFail, "InvalidSpec": isAFail,
	}
)

// Expect is the table of phases. Nothing that a status says counts while it is about another generation.
func Expect(object *unstructured.Unstructured) (Expected, error) {
	if object.GetDeletionTimestamp() != nil {
		return leaves, nil
	}
	observed, found, err := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if err != nil {
		return Expected{}, err
	}
	if !found || observed != object.GetGeneration() {
		return waits, nil
	}
	phase, _, err := unstructured.NestedString(object.Object, "status", "phase")
	if err != nil {
		return Expected{}, err
	}
	expected, known := byPhase[phase]
	if !known {
		return Expected{}, fmt.Errorf("phase %q is in no row of the table", phase)
	}
	return expected, nil
}

// Tally is what came of a check.
type Tally struct {
	Versions, Mismatches int
	Phases               map[string]int
}

// Check judges every version in these files and prints each that is judged otherwise than the table says, but those in
// namespaces with one of these prefixes.
//
// A line of a file is an object, or an event of a watch. A last line without an end was cut off with whoever wrote it.
func Check(paths, but []string, healthScript string, expressions *Expressions, out io.Writer) (Tally, error) {
	tally := Tally{Phases: map[string]int{}}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return tally, err
		}
		err = checkLines(file, but, healthScript, expressions, &tally, out)
		if err := errors.Join(err, file.Close()); err != nil {
			return tally, fmt.Errorf("%s: %w", path, err)
		}
	}
	return tally, nil
}

func checkLines(in io.Reader, but []string, healthScript string, expressions *Expressions, tally *Tally, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := checkVersion(line, but, healthScript, expressions, tally, out); err != nil {
			return fmt.Errorf("%w: %.300s", err, line)
		}
	}
}

func checkVersion(line []byte, but []string, healthScript string, expressions *Expressions, tally *Tally, out io.Writer) error {
	var event struct {
		Object json.RawMessage `json:"object"`
	}
	if !bytes.HasPrefix(line, []byte("{")) {
		return nil // what a program that was ended complained of
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return err
	}
	if event.Object != nil {
		line = event.Object
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(bytes.TrimSpace(line)); err != nil {
		return err
	}
	leftOut := func(prefix string) bool { return strings.HasPrefix(object.GetNamespace(), prefix) }
	if object.GetKind() != kind || slices.ContainsFunc(but, leftOut) {
		return nil
	}
	// No tool reads a row.
	unstructured.RemoveNestedField(object.Object, "spec", "instanceIDs")
	for _, rows := range []string{"instances", "batches", "failures"} {
		unstructured.RemoveNestedField(object.Object, "status", rows)
	}
	expected, err := Expect(object)
	if err != nil {
		return err
	}
	verdict := Judge(object, healthScript, expressions)
	phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	tally.Versions++
	tally.Phases[phase]++
	if got := (Expected{verdict.Kstatus, verdict.Argo, verdict.Flux}); got != expected {
		tally.Mismatches++
		status, _ := json.Marshal(object.Object["status"])
		fmt.Fprintf(out, "%s/%s: kstatus, Argo CD and Flux say %v, the table says %v: %s\n",
			object.GetNamespace(), object.GetName(), got, expected, status)
	}
	return nil
}
