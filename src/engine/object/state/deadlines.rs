//! The two moments after which no new call is made: `activeDeadlineSeconds` and `notAfter`.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::spec::DeletionSpec;
use crate::engine::time::{Mono, Now};

/// A moment after which no new call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cutoff {
    /// `activeDeadlineSeconds` after `status.startTime`: the object ends, whatever the cloud still
    /// does.
    Deadline,
    /// `notAfter`: ids on their way are followed to their end.
    NotAfter,
}

/// The deadlines of one object on this process's monotonic clock.
///
/// Each live read counts them from the wall clock, and the earliest count stays: a wall clock that
/// jumps back opens nothing again. A spec edit counts them anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deadlines {
    generation: i64,
    deadline: Option<Mono>,
    not_after: Option<Mono>,
    passed: Option<(Cutoff, Mono)>,
}

impl Deadlines {
    /// Takes note of a live read. Returns whether a deadline was just seen to have passed.
    pub fn observe(&mut self, spec: &DeletionSpec, start_time: Option<&Time>, now: &Now) -> bool {
        if self.generation != spec.meta.generation {
            *self = Self { generation: spec.meta.generation, ..Self::default() };
        }
        let moment = |at: Timestamp| now.mono + at.duration_since(now.wall).try_into().unwrap_or_default();
        let earlier = |known: Option<Mono>, seen: Option<Mono>| known.into_iter().chain(seen).min();
        let ends =
            start_time.zip(spec.active_deadline).and_then(|(start, life)| start.0.checked_add(life).ok());
        self.deadline = earlier(self.deadline, ends.map(moment));
        self.not_after = earlier(self.not_after, spec.not_after.map(moment));
        let over = |at: Option<Mono>| at.is_some_and(|at| at <= now.mono);
        let cutoff = if over(self.deadline) {
            Cutoff::Deadline
        } else if over(self.not_after) {
            Cutoff::NotAfter
        } else {
            self.passed = None;
            return false;
        };
        if self.passed.is_some_and(|(known, _)| known == cutoff) {
            return false;
        }
        self.passed = Some((cutoff, now.mono));
        true
    }

    /// The deadline that has passed, and when this process first saw that.
    #[must_use]
    pub fn passed(&self) -> Option<(Cutoff, Mono)> {
        self.passed
    }

    /// When the next deadline passes.
    #[must_use]
    pub fn next(&self, now: Mono) -> Option<Mono> {
        [self.deadline, self.not_after].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub(in crate::engine::object) fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        let passed = self.passed.as_mut().map(|(_, since)| since);
        [self.deadline.as_mut(), self.not_after.as_mut(), passed].into_iter().flatten().for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::object::state::spec::tests::spec_of;

    fn now(mono: u64, wall: i64) -> Now {
        Now { mono: Mono::at(Duration::from_secs(mono)), wall: Timestamp::from_second(wall).unwrap() }
    }

    fn passed(deadlines: &Deadlines) -> Option<Cutoff> {
        deadlines.passed().map(|(cutoff, _)| cutoff)
    }

    #[test]
    fn each_deadline_passes_at_its_moment_and_active_deadline_seconds_comes_first() {
        let mut spec = spec_of(1);
        spec.active_deadline = Some(Duration::from_secs(100));
        spec.not_after = Some(Timestamp::from_second(1050).unwrap());
        let start = Time(Timestamp::from_second(1000).unwrap());
        let mut deadlines = Deadlines::default();
        assert!(!deadlines.observe(&spec, Some(&start), &now(10, 1000)));
        assert_eq!(deadlines.next(Mono::at(Duration::from_secs(10))), Some(Mono::at(Duration::from_mins(1))));
        assert!(!deadlines.observe(&spec, Some(&start), &now(59, 1049)));
        assert!(deadlines.observe(&spec, Some(&start), &now(60, 1050)));
        assert_eq!(deadlines.passed(), Some((Cutoff::NotAfter, Mono::at(Duration::from_mins(1)))));
        assert!(!deadlines.observe(&spec, Some(&start), &now(61, 1051)), "seen before");
        let next = |seconds| deadlines.next(Mono::at(Duration::from_secs(seconds)));
        let deadline = Some(Mono::at(Duration::from_secs(110)));
        assert_eq!(
            [59, 60, 109, 110].map(next),
            [Some(Mono::at(Duration::from_mins(1))), deadline, deadline, None]
        );
        assert!(deadlines.observe(&spec, Some(&start), &now(110, 1100)));
        assert_eq!(passed(&deadlines), Some(Cutoff::Deadline));
    }

    #[test]
    fn x07_a_wall_clock_that_jumps_back_opens_nothing_again() {
        let mut spec = spec_of(1);
        spec.not_after = Some(Timestamp::from_second(1050).unwrap());
        let mut deadlines = Deadlines::default();
        deadlines.observe(&spec, None, &now(10, 1000));
        assert!(!deadlines.observe(&spec, None, &now(59, 500)));
        assert!(deadlines.observe(&spec, None, &now(60, 501)), "50 s after it was seen to be 50 s ahead");
        assert!(!deadlines.observe(&spec, None, &now(61, 0)));
        assert_eq!(passed(&deadlines), Some(Cutoff::NotAfter));
    }

    #[test]
    fn a_spec_edit_counts_anew() {
        let mut spec = spec_of(1);
        spec.not_after = Some(Timestamp::from_second(900).unwrap());
        let mut deadlines = Deadlines::default();
        assert!(deadlines.observe(&spec, None, &now(10, 1000)));
        spec.meta.generation += 1;
        spec.not_after = Some(Timestamp::from_second(2000).unwrap());
        assert!(!deadlines.observe(&spec, None, &now(11, 1001)));
        assert_eq!(passed(&deadlines), None);
    }

    #[test]
    fn no_deadline_runs_before_the_start() {
        let mut spec = spec_of(1);
        spec.active_deadline = Some(Duration::from_secs(1));
        let mut deadlines = Deadlines::default();
        assert!(!deadlines.observe(&spec, None, &now(10, 1000)));
        assert_eq!(deadlines.next(Mono::START), None);
    }
}
