package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// promtool is the one of this module. Nothing here needs service discovery, which is most of what it would be built of.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	command := exec.Command("go", append([]string{"tool", "promtool"}, args...)...)
	command.Env = append(os.Environ(), "GOFLAGS=-tags=remove_all_sd")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %v: %v\n%s", args, err, out)
	}
	t.Logf("%s", out)
}

func TestRulesAreWellFormed(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
}

func TestAlertsFireWhenTheyShouldAndNotElse(t *testing.T) {
	promtool(t, "test", "rules", "alerts.test.yaml")
}

// Each alert has a test in which it fires and one in which it does not.
func TestEachAlertIsTested(t *testing.T) {
	text, err := os.ReadFile("alerts.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Alerts []struct {
				Alertname string `yaml:"alertname"`
				ExpAlerts []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]int{}, map[string]int{}
	for _, test := range file.Tests {
		for _, alert := range test.Alerts {
			if len(alert.ExpAlerts) > 0 {
				fires[alert.Alertname]++
			} else {
				silent[alert.Alertname]++
			}
		}
	}
	for _, rule := range alerts(t) {
		if fires[rule.name] == 0 || silent[rule.name] == 0 {
			t.Errorf("%s fires in %d tests and not in %d", rule.name, fires[rule.name], silent[rule.name])
		}
	}
}

type alert struct {
	name        string
	labels      map[string]string
	annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	rules, err := readRules(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			all = append(all, alert{rule.Alert, rule.Labels, rule.Annotations})
		}
	}
	if len(all) == 0 {
		t.Fatal("no alert")
	}
	return all
}

// Each alert says what it means, and leads to a heading of the document that says what to do.
func TestEachAlertLeadsToWhatToDo(t *testing.T) {
	document, err := os.ReadFile(runbookFile)
	if err != nil {
		t.Fatal(err)
	}
	headings := strings.Split(string(document), "\n")
	for _, alert := range alerts(t) {
		for _, annotation := range []string{"summary", "description"} {
			if alert.annotations[annotation] == "" {
				t.Errorf("%s has no %s", alert.name, annotation)
			}
		}
		if severity := alert.labels["severity"]; severity != "critical" && severity != "warning" && severity != "info" {
			t.Errorf("%s has the severity %q", alert.name, severity)
		}
		if !slices.Contains(headings, "## "+alert.name) {
			t.Errorf("%s has no heading of %s", alert.name, runbookFile)
		}
		if want := home + "/" + runbook + "#" + strings.ToLower(alert.name); alert.annotations["runbook_url"] != want {
			t.Errorf("%s leads to %q", alert.name, alert.annotations["runbook_url"])
		}
	}
}

// The rules for the Prometheus operator are the same, indented (make generate).
func TestOperatorHasTheSameRules(t *testing.T) {
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	object, err := os.ReadFile(operatorFile)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	var wrapped struct{ Spec any }
	for text, into := range map[*[]byte]any{&rules: &plain, &object: &wrapped} {
		if err := yaml.Unmarshal(*text, into); err != nil {
			t.Fatal(err)
		}
	}
	one, _ := yaml.Marshal(plain)
	other, _ := yaml.Marshal(wrapped.Spec)
	if string(one) != string(other) {
		t.Error("prometheusrule.yaml has drifted: run make generate")
	}
}

func TestDashboardIsWellFormed(t *testing.T) {
	d, err := readDashboard(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	expressions, err := dashboardExpressions(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(expressions) == 0 {
		t.Fatal("no expression")
	}
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, panel := range d.Panels {
		if before, taken := ids[panel.ID]; taken {
			t.Errorf("%s and %s have the id %d", panel.Title, before, panel.ID)
		}
		ids[panel.ID] = panel.Title
		if panel.Type != "row" && (panel.Description == "" || len(panel.Targets) == 0) {
			t.Errorf("%s has no description, or shows nothing", panel.Title)
		}
		if panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("%s is beyond the edge", panel.Title)
		}
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				if before, taken := cells[[2]int{x, y}]; taken {
					t.Fatalf("%s lies upon %s", panel.Title, before)
				}
				cells[[2]int{x, y}] = panel.Title
			}
		}
	}
}

const tiny = `# TYPE a counter
# HELP a A.
a_total{kind="x"} 1
# TYPE b_seconds histogram
b_seconds_bucket{le="+Inf"} 1
b_seconds_count 1
b_seconds_sum 1.0
# EOF
`

func TestWhatIsNotInTheScrapeIsFound(t *testing.T) {
	scrape, err := parseScrape([]byte(tiny))
	if err != nil {
		t.Fatal(err)
	}
	if names := scrape.familyNames(); !slices.Equal(names, []string{"a", "b_seconds"}) {
		t.Fatal(names)
	}
	for text, missing := range map[string]string{
		`rate(a_total{kind="x", job="j"}[5m])`:                                        "",
		`histogram_quantile(0.9, sum by (le) (rate(b_seconds_bucket[5m]))) > a_total`: "",
		`a`:                             "no metric a",
		`sum(a_total) / sum(c_total)`:   "no metric c_total",
		`a_total{kind=~"x|y"}`:          `no series with kind="y"`,
		`a_total{sort="x"}`:             `no series with sort="x"`,
		`absent(b_seconds_sum{le="1"})`: `no series with le="1"`,
	} {
		e, err := parse("here", text)
		if err != nil {
			t.Fatal(err)
		}
		err = scrape.has(e)
		if (err == nil) != (missing == "") || err != nil && !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"rate(a_total)", "1 + 1"} {
		if _, err := parse("here", text); err == nil {
			t.Errorf("%s is taken for an expression of a metric", text)
		}
	}
	for _, text := range []string{strings.TrimSuffix(tiny, "# EOF\n"), "a_total{kind=x} 1\n# EOF\n"} {
		if _, err := parseScrape([]byte(text)); err == nil {
			t.Errorf("%q is taken for OpenMetrics", text)
		}
	}
}

func TestAScrapeThatLacksAMetricIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scrape")
	if err := os.WriteFile(file, []byte(tiny), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(file); err == nil || !strings.Contains(err.Error(), "the controller has no metric instance_deletion_") {
		t.Fatal(err)
	}
}
