//! How far one deletion is, in few words: what `watch` shows. Pure: the caller brings the time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use instance_deletion_controller::api::Phase;

use crate::table::printable;

/// The rate is that of the last five minutes: a cloud that has become slow shows within them.
const WINDOW: Duration = Duration::from_mins(5);
/// Shortest time over which a rate is told.
const SHORTEST: Duration = Duration::from_secs(2);

/// What a version of an object shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Where the deletion stands; `None` before the controller has looked.
    pub phase: Option<Phase>,
    /// Whether the status describes an earlier spec.
    pub stale: bool,
    /// Instances listed.
    pub total: u32,
    /// Terminated or absent.
    pub gone: u32,
    /// Given up.
    pub failed: u32,
    /// Named in a call, without an end yet.
    pub on_their_way: u32,
    /// Calls of these.
    pub calls: u32,
    /// Being powered off.
    pub powering_off: u32,
    /// Off, and not named in a delete call yet.
    pub powered_off: u32,
    /// Reason of `Ready`.
    pub reason: String,
    /// Message of `Ready`.
    pub message: String,
    /// When the controller goes on by itself, in seconds from when the version was seen.
    pub goes_on_in: Option<u64>,
    /// The object was deleted.
    pub deleted: bool,
}

/// How an object ends the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Open,
    /// It ended well, or rests because everything that was asked for is done.
    Good,
    /// It ended badly.
    Bad,
}

impl View {
    /// How it ends the watch.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.phase {
            _ if self.deleted => Outcome::Bad,
            _ if self.stale => Outcome::Open,
            Some(Phase::Succeeded | Phase::Planned | Phase::LimitReached) => Outcome::Good,
            Some(phase) if phase.is_end() => Outcome::Bad,
            _ => Outcome::Open,
        }
    }

    /// The word for where it stands.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.phase {
            _ if self.deleted => "Deleted",
            Some(phase) => phase.as_str(),
            None => "Pending",
        }
    }

    /// What stands in the way, or how it ended, if the phase alone does not say it.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        let plain = ["", "Deleting", "Planning", "Soaking", "AllTerminated"].contains(&self.reason.as_str());
        (!plain && !self.deleted).then(|| format!("{}: {}", self.reason, printable(&self.message)))
    }
}

/// How fast an object goes.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Times since the start of the watch, and how many were gone.
    samples: VecDeque<(Duration, u32)>,
}

impl Pace {
    /// Notes how many are gone.
    pub fn saw(&mut self, at: Duration, gone: u32) {
        self.samples.push_back((at, gone));
        self.forget(at);
    }

    fn forget(&mut self, now: Duration) {
        // The newest one before the window is its beginning.
        while self.samples.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.samples.pop_front();
        }
    }

    /// Instances per second; `None` while it is not known.
    #[must_use]
    pub fn rate(&self, now: Duration) -> Option<f64> {
        let ((from, before), (_, after)) = (self.samples.front()?, self.samples.back()?);
        let time = now.checked_sub(*from).filter(|time| *time >= SHORTEST)?;
        let gone = after.checked_sub(*before).filter(|gone| *gone > 0)?;
        Some(f64::from(gone) / time.as_secs_f64())
    }

    /// Rate, time left, calls and failures, shortest first for narrow terminals.
    #[must_use]
    pub fn words(&self, view: &View, now: Duration) -> String {
        let mut parts = Vec::new();
        if view.failed > 0 {
            parts.push(format!("{} failed", view.failed));
        }
        if view.outcome() == Outcome::Open {
            if let Some(rate) = self.rate(now) {
                parts.push(per_time(rate));
                let open = view.total.saturating_sub(view.gone + view.failed);
                let left = Duration::try_from_secs_f64(f64::from(open) / rate);
                // A soak takes its time, whatever the rate.
                if let Some(left) = left.ok().filter(|_| view.powering_off + view.powered_off == 0) {
                    parts.push(format!("{} left", in_words(left)));
                }
            }
            let off = [(view.powering_off, "being powered off"), (view.powered_off, "off")];
            parts.extend(off.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
            if view.on_their_way > 0 {
                let calls = if view.calls == 1 { "call" } else { "calls" };
                parts.push(format!("{} in {} {calls}", view.on_their_way, view.calls));
            }
            if let Some(seconds) = view.goes_on_in {
                let what = if view.phase == Some(Phase::Soaking) { "first soak over" } else { "goes on" };
                let since =
                    self.samples.back().map(|(seen, _)| now.saturating_sub(*seen)).unwrap_or_default();
                let left = Duration::from_secs(seconds).saturating_sub(since);
                parts.push(format!("{what} in {}", in_words(left)));
            }
        }
        parts.join(", ")
    }
}

/// A rate as people say it.
fn per_time(rate: f64) -> String {
    if rate >= 1.0 {
        format!("{rate:.0}/s")
    } else if rate * 60.0 >= 1.0 {
        format!("{:.0}/min", rate * 60.0)
    } else {
        format!("{:.0}/h", rate * 3_600.0)
    }
}

/// A duration in its largest unit or two.
#[must_use]
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 => format!("{}m{}s", seconds / 60, seconds % 60),
        600..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A deletion as `watch` knows it.
#[derive(Debug, Default)]
pub struct Entry {
    /// Its newest version.
    pub view: View,
    /// How fast it goes on.
    pub pace: Pace,
}

/// The objects, by namespace and name.
pub type Entries = BTreeMap<String, Entry>;

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn deleting(gone: u32) -> View {
        View {
            phase: Some(Phase::Deleting),
            total: 1_000,
            gone,
            failed: 2,
            on_their_way: 100,
            calls: 2,
            reason: "Deleting".to_owned(),
            ..View::default()
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_minutes_and_gives_the_time_left() {
        let mut pace = Pace::default();
        pace.saw(S(0), 0);
        assert_eq!(pace.words(&deleting(0), S(1)), "2 failed, 100 in 2 calls");
        pace.saw(S(60), 30);
        assert_eq!(pace.words(&deleting(30), S(60)), "2 failed, 30/min, 32m left, 100 in 2 calls");
        for second in 61..=600 {
            pace.saw(S(second), 30 + u32::try_from(second - 60).unwrap());
        }
        assert_eq!(pace.rate(S(600)), Some(1.0), "the slow first minute is forgotten");
        assert!(pace.samples.len() < 310, "{}", pace.samples.len());
        assert_eq!(per_time(0.001), "4/h");
    }

    #[test]
    fn a_soak_says_how_many_are_off_and_when_the_first_may_go_and_no_rate_is_a_time_left() {
        let soaking = View {
            phase: Some(Phase::Soaking),
            total: 10,
            powering_off: 2,
            powered_off: 8,
            reason: "Soaking".to_owned(),
            goes_on_in: Some(180_000),
            ..View::default()
        };
        let pace = Pace::default();
        let words = pace.words(&soaking, S(0));
        assert_eq!(words, "2 being powered off, 8 off, first soak over in 2d2h");
        assert_eq!((soaking.why(), soaking.outcome()), (None, Outcome::Open));
        let mut pace = Pace::default();
        pace.saw(S(0), 0);
        let later = pace.words(&soaking, S(7_200));
        assert_eq!(
            later, "2 being powered off, 8 off, first soak over in 2d0h",
            "time goes on between versions"
        );
        pace.saw(S(7_260), 2);
        let partly = View { phase: Some(Phase::Deleting), gone: 2, goes_on_in: None, ..soaking };
        assert_eq!(pace.words(&partly, S(7_260)), "1/h, 2 being powered off, 8 off");
    }

    #[test]
    fn what_ends_the_watch() {
        let of =
            |phase, stale, deleted| View { phase: Some(phase), stale, deleted, ..View::default() }.outcome();
        assert_eq!(of(Phase::Succeeded, false, false), Outcome::Good);
        assert_eq!(of(Phase::LimitReached, false, false), Outcome::Good);
        assert_eq!(of(Phase::Planned, true, false), Outcome::Open, "it was started a moment ago");
        assert_eq!(of(Phase::Suspended, false, false), Outcome::Open);
        assert_eq!(of(Phase::Failed, false, false), Outcome::Bad);
        assert_eq!(of(Phase::Deleting, false, true), Outcome::Bad);
        assert_eq!(View::default().outcome(), Outcome::Open);
    }

    #[test]
    fn durations_in_words() {
        let table =
            [(0, "0s"), (61, "1m1s"), (660, "11m"), (7_260, "2h1m"), (86_399, "23h59m"), (187_200, "2d4h")];
        for (seconds, words) in table {
            assert_eq!(in_words(S(seconds)), words);
        }
    }
}
