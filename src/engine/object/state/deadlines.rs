//! The two moments after which no new call is made: `activeDeadlineSeconds` and `notAfter`.

use std::time::Duration;

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

/// What the clocks say about a moment that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which one.
    pub cutoff: Cutoff,
    /// Since when each reading of the wall clock says so; none if the last one said otherwise.
    pub said: Option<Mono>,
    /// Two readings of the wall clock say so, one of them [`AGREES`] after the other. Only then may
    /// ids end for it: a clock that jumped forward once ends nothing.
    pub confirmed: bool,
}

/// How long the wall clock must say that a moment has passed before ids end for it. A clock that a
/// time server or a person set wrong is often corrected within seconds.
const AGREES: Duration = Duration::from_secs(10);

/// The deadlines of one object on this process's monotonic clock.
///
/// Each live read counts them from the wall clock, and the earliest count stays: a wall clock that
/// jumps back opens nothing again. A moment that has passed stays passed until its own field of the
/// spec changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deadlines {
    deadline: Option<Moment<Duration>>,
    not_after: Option<Moment<Timestamp>>,
}

/// One of the moments, for one value of its field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Moment<V> {
    value: V,
    /// The earliest count.
    at: Option<Mono>,
    /// The count of the last reading.
    latest: Option<Mono>,
    passed: bool,
    /// As in [`Passed`].
    said: Option<Mono>,
    confirmed: bool,
}

impl Deadlines {
    /// Takes note of a live read. Returns whether a deadline was just seen to have passed, or is
    /// said to again.
    pub fn observe(&mut self, spec: &DeletionSpec, start_time: Option<&Time>, now: &Now) -> bool {
        let ends = |life: &Duration| start_time.and_then(|start| start.0.checked_add(*life).ok());
        let deadline = Moment::observe(&mut self.deadline, spec.active_deadline, ends, now);
        let not_after = Moment::observe(&mut self.not_after, spec.not_after, |at| Some(*at), now);
        deadline || not_after
    }

    /// The deadline that has passed. If both have, the one that the wall clock still says to have
    /// passed, and `activeDeadlineSeconds` first.
    #[must_use]
    pub fn passed(&self) -> Option<Passed> {
        let deadline = self.deadline.as_ref().and_then(|moment| moment.passed(Cutoff::Deadline));
        let not_after = self.not_after.as_ref().and_then(|moment| moment.passed(Cutoff::NotAfter));
        let said = |passed: &Option<Passed>| passed.is_some_and(|passed| passed.said.is_some());
        if said(&deadline) || !said(&not_after) { deadline.or(not_after) } else { not_after }
    }

    /// When the next deadline passes, or the next reading of the wall clock can tell more about one
    /// that has.
    #[must_use]
    pub fn next(&self, now: Mono) -> Option<Mono> {
        let deadline = self.deadline.as_ref().and_then(Moment::next);
        let not_after = self.not_after.as_ref().and_then(Moment::next);
        [deadline, not_after].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub(in crate::engine::object) fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        let deadline = self.deadline.as_mut().map(|m| [&mut m.at, &mut m.latest, &mut m.said]);
        let not_after = self.not_after.as_mut().map(|m| [&mut m.at, &mut m.latest, &mut m.said]);
        deadline.into_iter().chain(not_after).flatten().flatten().for_each(visit);
    }
}

impl<V: PartialEq> Moment<V> {
    /// Takes note of the value in a live read. `ends` tells the wall clock's time that it stands
    /// for; none if it does not run yet.
    fn observe(
        this: &mut Option<Self>,
        value: Option<V>,
        ends: impl FnOnce(&V) -> Option<Timestamp>,
        now: &Now,
    ) -> bool {
        if this.as_ref().map(|moment| &moment.value) != value.as_ref() {
            let moment =
                |value| Self { value, at: None, latest: None, passed: false, said: None, confirmed: false };
            *this = value.map(moment);
        }
        let Some(moment) = this else { return false };
        let before = (moment.passed, moment.said.is_some());
        let ends = ends(&moment.value);
        let left = |at: Timestamp| Duration::try_from(at.duration_since(now.wall)).unwrap_or_default();
        moment.latest = ends.map(|at| now.mono + left(at));
        moment.at = moment.at.into_iter().chain(moment.latest).min();
        moment.passed |= moment.at.is_some_and(|at| at <= now.mono);
        let says_so = ends.is_some_and(|at| at <= now.wall);
        moment.said = says_so.then(|| moment.said.unwrap_or(now.mono));
        moment.confirmed = moment.said.is_some_and(|said| now.mono - said >= AGREES);
        !before.0 && moment.passed || !before.1 && moment.said.is_some()
    }

    fn passed(&self, cutoff: Cutoff) -> Option<Passed> {
        let Self { said, confirmed, .. } = *self;
        self.passed.then_some(Passed { cutoff, said, confirmed })
    }

    fn next(&self) -> Option<Mono> {
        match (self.passed, self.said) {
            (false, _) => self.at,
            (true, None) => self.latest,
            (true, Some(said)) => Some(said + AGREES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::object::state::spec::tests::spec_of;

    fn now(mono: u64, wall: i64) -> Now {
        Now { mono: Mono::at(Duration::from_secs(mono)), wall: Timestamp::from_second(wall).unwrap() }
    }

    fn passed(deadlines: &Deadlines) -> Option<Cutoff> {
        deadlines.passed().map(|passed| passed.cutoff)
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
        let said = Some(Mono::at(Duration::from_mins(1)));
        assert_eq!(deadlines.passed(), Some(Passed { cutoff: Cutoff::NotAfter, said, confirmed: false }));
        assert!(!deadlines.observe(&spec, Some(&start), &now(61, 1051)), "seen before");
        let next = |seconds| deadlines.next(Mono::at(Duration::from_secs(seconds)));
        let deadline = Some(Mono::at(Duration::from_secs(110)));
        assert_eq!(
            [60, 70, 109, 110].map(next),
            [Some(Mono::at(Duration::from_secs(70))), deadline, deadline, None]
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
    fn x07_a_moment_stays_passed_until_its_own_value_changes() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let life = |seconds| Some(Duration::from_secs(seconds));
        let start = Time(Timestamp::from_second(900).unwrap());
        let mut spec = spec_of(1);
        (spec.not_after, spec.active_deadline) = (at(900), life(50));
        let mut deadlines = Deadlines::default();
        assert!(deadlines.observe(&spec, Some(&start), &now(10, 1000)));
        // The wall clock is set back, other fields are edited, and a restore takes the start back.
        spec.meta.generation += 1;
        spec.backoff_limit += 1;
        for start in [Some(&start), None] {
            assert!(!deadlines.observe(&spec, start, &now(11, 100)));
            assert_eq!(passed(&deadlines), Some(Cutoff::Deadline));
        }
        spec.meta.generation += 1;
        spec.active_deadline = life(90);
        assert!(!deadlines.observe(&spec, Some(&start), &now(12, 101)));
        assert_eq!(passed(&deadlines), Some(Cutoff::NotAfter), "only the edited one counts anew");
        spec.not_after = at(2000);
        assert!(!deadlines.observe(&spec, Some(&start), &now(13, 102)));
        assert_eq!(passed(&deadlines), None);
        spec.not_after = None;
        deadlines.observe(&spec, Some(&start), &now(14, 103));
        assert_eq!(deadlines.next(Mono::START), Some(Mono::at(Duration::from_secs(14 + 887))));
    }

    #[test]
    fn x07_only_two_readings_that_agree_confirm_that_a_moment_has_passed() {
        let mut spec = spec_of(1);
        spec.not_after = Some(Timestamp::from_second(1050).unwrap());
        // Readings as (monotonic, wall), and the last one's verdict: said, confirmed.
        type Readings = &'static [(u64, i64)];
        let table: [(Readings, (bool, bool)); 7] = [
            (&[(10, 1050)], (true, false)),
            (&[(10, 1050), (19, 1059)], (true, false)),
            (&[(10, 1050), (20, 1060)], (true, true)),
            (&[(10, 9000), (20, 1010)], (false, false)),
            (&[(10, 9000), (20, 1010), (60, 1050)], (true, false)),
            (&[(10, 9000), (20, 1010), (60, 1050), (70, 1060)], (true, true)),
            (&[(10, 1050), (20, 1060), (21, 1000)], (false, false)),
        ];
        for (readings, expected) in table {
            let mut deadlines = Deadlines::default();
            for (mono, wall) in readings {
                deadlines.observe(&spec, None, &now(*mono, *wall));
            }
            let passed = deadlines.passed().unwrap();
            assert_eq!((passed.said.is_some(), passed.confirmed), expected, "{readings:?}");
        }
        let mut deadlines = Deadlines::default();
        assert!(deadlines.observe(&spec, None, &now(10, 9000)));
        assert_eq!(deadlines.next(Mono::START), Some(Mono::at(Duration::from_secs(20))), "the next reading");
        assert!(!deadlines.observe(&spec, None, &now(20, 1010)));
        assert_eq!(deadlines.next(Mono::START), Some(Mono::at(Duration::from_mins(1))), "by this reading");
        assert!(deadlines.observe(&spec, None, &now(60, 1050)), "looks before do not count");
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
