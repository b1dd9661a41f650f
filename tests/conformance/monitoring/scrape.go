package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// scrape is what a scrape holds: the series by the name of their samples, and the names of their families.
type scrape struct {
	series   map[string][]labels.Labels
	families map[string]bool
	count    int
}

func parseScrape(text []byte) (*scrape, error) {
	parser, err := textparse.New(text, "application/openmetrics-text; version=1.0.0", nil, textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	s := &scrape{series: map[string][]labels.Labels{}, families: map[string]bool{}}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		switch entry {
		case textparse.EntryType:
			name, _ := parser.Type()
			s.families[string(name)] = true
		case textparse.EntrySeries:
			var series labels.Labels
			parser.Labels(&series)
			name := series.Get(labels.MetricName)
			s.series[name] = append(s.series[name], series)
			s.count++
		}
	}
}

// has fails if the expression selects a metric that is not there, or by a label or a value that it does not have.
func (s *scrape) has(e expression) error {
	for _, selector := range e.selectors {
		series, known := s.series[selector.name]
		if !known {
			return fmt.Errorf("%s: the controller has no metric %s", e.where, selector.name)
		}
		for _, matcher := range selector.matchers {
			if slices.Contains(ofTarget, matcher.Name) {
				continue
			}
			for _, value := range values(matcher) {
				has := func(l labels.Labels) bool { return l.Get(matcher.Name) == value }
				if !slices.ContainsFunc(series, has) {
					return fmt.Errorf("%s: %s has no series with %s=%q", e.where, selector.name, matcher.Name, value)
				}
			}
		}
	}
	return nil
}

func (s *scrape) familyNames() []string {
	names := make([]string, 0, len(s.families))
	for name := range s.families {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// eachHindranceAlerts fails if objects may wait for something that no rule names.
func eachHindranceAlerts(s *scrape, rules []expression) error {
	const name, label = "instance_deletion_objects_hindered", "reason"
	named := map[string]bool{}
	for _, rule := range rules {
		for _, selector := range rule.selectors {
			for _, matcher := range selector.matchers {
				if selector.name == name && matcher.Name == label {
					for _, value := range values(matcher) {
						named[value] = true
					}
				}
			}
		}
	}
	for _, series := range s.series[name] {
		if reason := series.Get(label); !named[reason] {
			return fmt.Errorf("no rule names the reason %s", reason)
		}
	}
	return nil
}
