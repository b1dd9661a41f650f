package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// ofTarget are the labels that Prometheus gives a series, and not the controller.
var ofTarget = []string{labels.MetricName, "job", "namespace", "pod", "instance"}

var promQL = parser.NewParser(parser.Options{})

// expression is what an expression selects, and where it stands.
type expression struct {
	where     string
	selectors []selector
}

type selector struct {
	name     string
	matchers []*labels.Matcher
}

func parse(where, text string) (expression, error) {
	tree, err := promQL.ParseExpr(text)
	if err != nil {
		return expression{}, fmt.Errorf("%s: %w", where, err)
	}
	e := expression{where: where}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if vector, ok := node.(*parser.VectorSelector); ok {
			e.selectors = append(e.selectors, selector{vector.Name, vector.LabelMatchers})
		}
		return nil
	})
	if len(e.selectors) == 0 {
		return e, fmt.Errorf("%s: it selects nothing", where)
	}
	return e, nil
}

// values are those that a matcher names: a regular expression here is a list of words.
func values(m *labels.Matcher) []string {
	if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
		return strings.Split(m.Value, "|")
	}
	return []string{m.Value}
}

func readRules(file string) (*rulefmt.RuleGroups, error) {
	rules, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, promQL, slog.Default())
	return rules, errors.Join(errs...)
}

func ruleExpressions(file string) ([]expression, error) {
	rules, err := readRules(file)
	if err != nil {
		return nil, err
	}
	var all []expression
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			e, err := parse(rule.Alert, rule.Expr)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
	return all, nil
}

type dashboard struct {
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Type  string          `json:"type"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

func readDashboard(file string) (dashboard, error) {
	var d dashboard
	text, err := os.ReadFile(file)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(text, &d)
}

// inGrafana replaces what Grafana fills in before it asks.
var inGrafana = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$job", "x")

func dashboardExpressions(file string) ([]expression, error) {
	d, err := readDashboard(file)
	if err != nil {
		return nil, err
	}
	var all []expression
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			e, err := parse("panel "+panel.Title, inGrafana.Replace(target.Expr))
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
	return all, nil
}

var metricRow = regexp.MustCompile("(?m)^\\| `((?:instance_deletion|process)_[a-z_]+)")

// documentedMetrics are those with a row in the document's tables, sorted, by the names of their families.
func documentedMetrics(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, match := range metricRow.FindAllStringSubmatch(string(text), -1) {
		name := strings.TrimSuffix(match[1], "_total")
		names = append(names, strings.TrimSuffix(name, "_info"))
	}
	slices.Sort(names)
	return names, nil
}
