// monitoring compares a scrape of the controller with what names its metrics: the alerting rules, the dashboard and the
// documents. Expressions and scrapes are read by Prometheus' own parsers.
//
//	go run . SCRAPE      a scrape in OpenMetrics
//	go tool promtool     the promtool of this module
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const (
	root    = "../../.."
	runbook = "docs/how-to/respond-to-alerts.md"
	// home is the one of the chart's Chart.yaml, whose tests compare the two.
	home = "https://clouddc.dev/instance-deletion-controller"
)

var (
	rulesFile     = filepath.Join(root, "deploy/monitoring/alerts.yaml")
	operatorFile  = filepath.Join(root, "deploy/monitoring/prometheusrule.yaml")
	dashboardFile = filepath.Join(root, "deploy/monitoring/dashboard.json")
	documentFile  = filepath.Join(root, "docs/reference/metrics.md")
	runbookFile   = filepath.Join(root, runbook)
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: monitoring SCRAPE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run fails if an expression names a metric, or a value of a label, that the scrape does not have, or if the documents do not
// name just the metrics that it has.
func run(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	scrape, err := parseScrape(text)
	if err != nil {
		return fmt.Errorf("%s is not OpenMetrics: %w", file, err)
	}
	rules, err := ruleExpressions(rulesFile)
	if err != nil {
		return err
	}
	panels, err := dashboardExpressions(dashboardFile)
	if err != nil {
		return err
	}
	for _, expression := range slices.Concat(rules, panels) {
		if err := scrape.has(expression); err != nil {
			return err
		}
	}
	if err := eachHindranceAlerts(scrape, rules); err != nil {
		return err
	}
	documented, err := documentedMetrics(documentFile)
	if err != nil {
		return err
	}
	if families := scrape.familyNames(); !slices.Equal(documented, families) {
		return fmt.Errorf("%s names %v, the scrape has %v", documentFile, documented, families)
	}
	fmt.Printf("%d metrics in %d series; %d expressions of rules and %d of the dashboard name no other\n",
		len(documented), scrape.count, len(rules), len(panels))
	return nil
}
