//! What is printed: a table for each scenario, and which musts hold.

use crate::{
    figure::{Figure, Sample, mean},
    run::Measured,
    scenario::{Bound, Scenario},
};

/// What all seeds of a scenario came to.
#[derive(Debug)]
pub struct Outcome {
    /// The conditions.
    pub scenario: Scenario,
    /// A run for each seed.
    pub runs: Vec<Measured>,
}

/// A must, and the mean that it is about; none if nothing was measured.
#[derive(Debug)]
pub struct Verdict {
    /// What.
    pub figure: Figure,
    /// How much.
    pub bound: Bound,
    /// The mean over all seeds.
    pub mean: Option<f64>,
    /// Whether it holds. What was not measured does not.
    pub holds: bool,
}

impl Outcome {
    /// On each must.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let verdict = |(figure, bound): &(Figure, Bound)| {
            let mean = mean(&self.values(|run| &run.controller, *figure));
            let holds = mean.is_some_and(|mean| bound.holds(mean, self.least(*figure)));
            Verdict { figure: *figure, bound: *bound, mean, holds }
        };
        self.scenario.musts.iter().map(verdict).collect()
    }

    /// As a section of Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("## {}\n\n{}.\n\n", self.scenario.name, self.scenario.about);
        text += "| | least possible | controller | lowest to highest | baseline | must | holds |\n";
        text += "|---|---|---|---|---|---|---|\n";
        let verdicts = self.verdicts();
        for figure in Figure::ALL {
            let values = self.values(|run| &run.controller, figure);
            let baseline = mean(&self.values(|run| &run.baseline, figure));
            if values.is_empty() && baseline.is_none() {
                continue;
            }
            let verdict = verdicts.iter().find(|verdict| verdict.figure == figure);
            let cells = [
                figure.label().to_owned(),
                shown(figure, self.least(figure)),
                shown(figure, mean(&values)),
                range(figure, &values),
                shown(figure, baseline),
                verdict.map_or_else(String::new, |verdict| written(verdict.bound)),
                verdict.map_or("", |verdict| if verdict.holds { "yes" } else { "**no**" }).to_owned(),
            ];
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    fn values(&self, of: impl Fn(&Measured) -> &Sample, figure: Figure) -> Vec<f64> {
        self.runs.iter().filter_map(|run| of(run).get(&figure).copied()).collect()
    }

    fn least(&self, figure: Figure) -> Option<f64> {
        mean(&self.values(|run| &run.least, figure))
    }
}

/// One line on all musts, with those that don't hold.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> String {
    let all: Vec<(&'static str, Verdict)> =
        outcomes.iter().flat_map(|o| o.verdicts().into_iter().map(|v| (o.scenario.name, v))).collect();
    let broken = all.iter().filter(|(_, verdict)| !verdict.holds);
    let broken: Vec<String> = broken
        .map(|(name, Verdict { figure, bound: must, mean, .. })| {
            let (mean, must) = (shown(*figure, *mean), written(*must));
            format!("{name}: {} {mean}, must be {must}", figure.label())
        })
        .collect();
    let held = format!("{} of {} musts hold", all.len() - broken.len(), all.len());
    if broken.is_empty() { format!("{held}.") } else { format!("{held}; not: {}.", broken.join("; ")) }
}

/// Whether all musts hold.
#[must_use]
pub fn all_hold(outcomes: &[Outcome]) -> bool {
    outcomes.iter().flat_map(Outcome::verdicts).all(|verdict| verdict.holds)
}

fn shown(figure: Figure, value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| number(figure, value))
}

fn range(figure: Figure, values: &[f64]) -> String {
    let lowest = values.iter().copied().reduce(f64::min);
    let highest = values.iter().copied().reduce(f64::max);
    match (lowest, highest) {
        (Some(lowest), Some(highest)) => format!("{} to {}", number(figure, lowest), number(figure, highest)),
        _ => "–".to_owned(),
    }
}

fn written(bound: Bound) -> String {
    // As it is written, whatever the decimals of what is measured.
    match bound {
        Bound::Least => "= least".to_owned(),
        Bound::AtMost(most) => format!("≤ {most}"),
        Bound::AtLeast(least) => format!("≥ {least}"),
    }
}

/// Thousands apart, as in prose.
fn number(figure: Figure, value: f64) -> String {
    let text = format!("{value:.*}", figure.decimals());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.len();
    let spaced = whole.chars().enumerate().flat_map(|(at, digit)| {
        let comma = at > 0 && (digits - at) % 3 == 0;
        comma.then_some(',').into_iter().chain([digit])
    });
    spaced.chain(rest.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(reads: &[f64]) -> Outcome {
        let scenario = Scenario::all().remove(0);
        let run = |reads: &f64| Measured {
            least: scenario.least(),
            controller: Sample::from([
                (Figure::DeleteCalls, 200.0),
                (Figure::Reads, *reads),
                (Figure::LastEnd, 1.02),
            ]),
            baseline: Sample::from([(Figure::DeleteCalls, 200.0), (Figure::Reads, 1234.56)]),
        };
        Outcome { runs: reads.iter().map(run).collect(), scenario }
    }

    #[test]
    fn means_decide_and_ranges_are_shown() {
        let good = outcome(&[2.0, 3.0]);
        assert!(all_hold(&[outcome(&[2.0, 3.0])]), "a mean of 2.5");
        let row =
            "| reads after that, as a multiple of ⌈N/100⌉ | 1.0 | 2.5 | 2.0 to 3.0 | 1,234.6 | ≤ 2.5 | yes |";
        assert!(good.table().contains(row), "{}", good.table());
        let row = "| delete calls | 200 | 200 | 200 to 200 | 200 | = least | yes |";
        assert!(good.table().contains(row), "{}", good.table());
        assert!(!good.table().contains("wall clock"), "nothing was measured");
        assert_eq!(summary(&[good]), "3 of 3 musts hold.");
    }

    #[test]
    fn what_is_above_its_bound_is_named() {
        let bad = outcome(&[2.6]);
        assert!(bad.table().contains("| ≤ 2.5 | **no** |"));
        assert!(!all_hold(&[outcome(&[2.4]), outcome(&[2.6])]));
        let said = summary(&[bad]);
        assert!(said.starts_with("2 of 3 musts hold; not: objects: reads after that"), "{said}");
        assert!(said.ends_with("2.6, must be ≤ 2.5."), "{said}");
    }

    #[test]
    fn a_must_of_which_nothing_was_measured_does_not_hold() {
        assert!(!all_hold(&[outcome(&[])]));
    }

    #[test]
    fn numbers_are_written_for_people() {
        let written = |value| number(Figure::Processor, value);
        assert_eq!(
            [0.04, 999.96, 1_234.5, 1_234_567.0].map(written),
            ["0.0", "1,000.0", "1,234.5", "1,234,567.0"]
        );
        assert_eq!(number(Figure::DeleteCalls, 200.0), "200");
    }
}
