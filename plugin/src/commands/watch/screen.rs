//! Where `watch` shows what it knows: bars on a terminal, lines elsewhere.

use std::{collections::BTreeMap, time::Duration};

use console::{Term, measure_text_width, style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::{
    output::{count, print},
    progress::{Entries, Entry, Outcome, in_words},
    table::printable,
};

/// A terminal of at least so many columns gets long bars and names.
const WIDE: u16 = 120;
/// Longest name and bar on a narrow and on a wide terminal.
const NARROW_PARTS: (usize, usize) = (20, 12);
const WIDE_PARTS: (usize, usize) = (44, 36);
/// Drawings in a second.
const DRAWN: u8 = 10;

/// Bars or lines.
pub struct Screen {
    form: Form,
    /// Since when there is no connection.
    lost: Option<Instant>,
}

enum Form {
    Bars(Bars),
    Lines(Lines),
}

struct Bars {
    all: MultiProgress,
    of: BTreeMap<String, ProgressBar>,
    total: ProgressBar,
    lost: Option<ProgressBar>,
    style: ProgressStyle,
    name_width: usize,
}

struct Lines {
    interval: Duration,
    /// What was said of each object, and when.
    said: BTreeMap<String, (Duration, String, String)>,
}

impl Screen {
    /// Bars if stdout is a terminal.
    pub fn open(interval: Duration) -> Self {
        let term = Term::buffered_stdout();
        let form = if term.is_term() {
            Form::Bars(Bars::on(term))
        } else {
            Form::Lines(Lines { interval, said: BTreeMap::new() })
        };
        Self { form, lost: None }
    }

    /// The API server answers.
    pub fn connected(&mut self) {
        let Some(since) = self.lost.take() else { return };
        match &mut self.form {
            Form::Bars(bars) => {
                if let Some(bar) = bars.lost.take() {
                    bar.finish_and_clear();
                    bars.all.remove(&bar);
                }
            }
            Form::Lines(_) => eprintln!("connected again after {}", in_words(since.elapsed())),
        }
    }

    /// The API server does not answer, for this reason. The watch tries again.
    pub fn disconnected(&mut self, why: &str) {
        let first = self.lost.is_none();
        let since = *self.lost.get_or_insert_with(Instant::now);
        match &mut self.form {
            Form::Bars(bars) => {
                let text = format!(
                    "no connection for {}, trying again: {}",
                    in_words(since.elapsed()),
                    printable(why)
                );
                bars.say_lost(&text);
            }
            Form::Lines(_) if first => eprintln!("no connection, trying again: {why}"),
            Form::Lines(_) => {}
        }
    }

    /// Shows the present state.
    pub fn draw(&mut self, entries: &Entries, now: Duration) {
        match &mut self.form {
            Form::Bars(bars) => bars.draw(entries, now),
            Form::Lines(lines) => lines.draw(entries, now, false),
        }
    }

    /// Shows the last state, and leaves it there.
    pub fn close(&mut self, entries: &Entries, now: Duration) {
        match &mut self.form {
            Form::Bars(bars) => {
                bars.draw(entries, now);
                for bar in bars.of.values().chain([&bars.total]) {
                    bar.abandon();
                }
            }
            Form::Lines(lines) => lines.draw(entries, now, true),
        }
    }
}

impl Bars {
    fn on(term: Term) -> Self {
        let (_, columns) = term.size();
        let (name_width, bar) = if columns >= WIDE { WIDE_PARTS } else { NARROW_PARTS };
        let template = format!("{{prefix}} {{bar:{bar}.cyan/dim}} {{pos}}/{{len}} {{wide_msg}}");
        let plain = ProgressStyle::default_bar();
        let style = plain.clone().template(&template).unwrap_or(plain).progress_chars("━╸─");
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term(term, DRAWN));
        let total = all.add(ProgressBar::new(0));
        total.set_style(ProgressStyle::with_template("{wide_msg}").unwrap_or(style.clone()));
        Self { all, of: BTreeMap::new(), total, lost: None, style, name_width }
    }

    fn draw(&mut self, entries: &Entries, now: Duration) {
        let names = shortened(entries.keys().map(String::as_str).collect());
        let width = names.values().map(|name| measure_text_width(name)).max().unwrap_or_default();
        let width = width.min(self.name_width);
        for (place, entry) in entries {
            let bar = self.of.entry(place.clone()).or_insert_with(|| {
                let bar = self.all.insert_before(&self.total, ProgressBar::new(0));
                bar.set_style(self.style.clone());
                bar
            });
            bar.set_length(entry.view.total.into());
            bar.set_position(entry.view.gone.into());
            bar.set_prefix(fitted(names.get(place.as_str()).unwrap_or(&place.as_str()), width));
            bar.set_message(message(entry, now));
        }
        let sum = |of: fn(&Entry) -> u32| entries.values().map(of).sum::<u32>();
        let ended = entries.values().filter(|entry| entry.view.outcome() != Outcome::Open).count();
        self.total.set_message(format!(
            "{ended} of {} ended, {}/{} gone, {} failed, {}",
            count(entries.len(), "object"),
            sum(|entry| entry.view.gone),
            sum(|entry| entry.view.total),
            sum(|entry| entry.view.failed),
            in_words(now)
        ));
    }

    fn say_lost(&mut self, text: &str) {
        let bar = self.lost.get_or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("{wide_msg:.yellow}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_message(text.to_owned());
    }
}

/// The phase, in its colour, and what is behind it.
fn message(entry: &Entry, now: Duration) -> String {
    let view = &entry.view;
    let word = style(view.word());
    let word = match view.outcome() {
        Outcome::Good => word.green(),
        Outcome::Bad => word.red(),
        Outcome::Open if view.why().is_some() => word.yellow(),
        Outcome::Open => word,
    };
    let words = entry.pace.words(view, now);
    let parts = [Some(words).filter(|words| !words.is_empty()), view.why()];
    let said = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if said.is_empty() { word.to_string() } else { format!("{word} {said}") }
}

/// What stands for each `namespace/name`: the name alone, where all are of one namespace.
fn shortened(places: Vec<&str>) -> BTreeMap<&str, &str> {
    let namespace = |place: &str| place.split('/').next().map(str::to_owned);
    let first = places.first().and_then(|place| namespace(place));
    let same = places.iter().all(|place| namespace(place) == first);
    let name = |place| if same { split_name(place) } else { place };
    places.into_iter().map(|place| (place, name(place))).collect()
}

fn split_name(place: &str) -> &str {
    place.split_once('/').map_or(place, |(_, name)| name)
}

/// A name of exactly this width: its end is what tells objects apart.
fn fitted(name: &str, width: usize) -> String {
    let long = name.chars().count().saturating_sub(width);
    if long > 0 {
        return format!("…{}", name.chars().skip(long + 1).collect::<String>());
    }
    format!("{name:width$}")
}

impl Lines {
    /// A line for each object that has changed: at once for another phase or reason, else after the interval.
    fn draw(&mut self, entries: &Entries, now: Duration, last: bool) {
        for (place, entry) in entries {
            let view = &entry.view;
            let words = entry.pace.words(view, now);
            let parts = [Some(words).filter(|words| !words.is_empty()), view.why()];
            let said = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
            let said = if said.is_empty() { said } else { format!(", {said}") };
            let line = format!("{place} {} {}/{} gone{said}", view.word(), view.gone, view.total);
            let key = format!("{} {}", view.word(), view.reason);
            let due = match self.said.get(place) {
                None => true,
                Some((_, key_before, _)) if *key_before != key => true,
                Some((at, _, before)) => *before != line && (last || *at + self.interval <= now),
            };
            if due {
                // That a reader has gone ends the program at the next write of anything else.
                let _ = print(&format!("{line}\n"));
                self.said.insert(place.clone(), (now, key, line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(fitted("ns/retire-rack-12", 10), "…e-rack-12");
        assert_eq!(fitted("ns/a", 6), "ns/a  ");
        assert_eq!(shortened(vec!["n/a", "n/b"]).into_values().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(shortened(vec!["n/a", "m/b"]).into_values().collect::<Vec<_>>(), ["m/b", "n/a"]);
    }
}
