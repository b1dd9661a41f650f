//! What ends new calls for good: the moments `activeDeadlineSeconds` and `notAfter`, and too many failures.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::spec::DeletionSpec;
use crate::{
    api::{InstanceDeletionStatus, PassedStatus},
    engine::{
        settings::CLOUD_BEHIND,
        time::{Mono, Now},
    },
};

/// What ends new calls for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cutoff {
    /// `activeDeadlineSeconds` after `status.startTime`: the object ends, whatever the cloud still
    /// does.
    Deadline,
    /// `notAfter`: ids on their way are followed to their end.
    NotAfter,
    /// No moment: more ids have failed than `spec.rollout.maxFailed` allows. Ids on their way are followed to their end.
    MaxFailed,
}

/// What the clocks say about a moment that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which one.
    pub cutoff: Cutoff,
    /// Since when each reading of the wall clock says so, and the cloud's time does not contradict
    /// it; none if the last one said otherwise.
    pub said: Option<Mono>,
    /// Two readings of the wall clock say so, one of them [`AGREES`] after the other. Only then may
    /// ids end for it: a clock that jumped forward once ends nothing.
    pub confirmed: bool,
}

/// How long the wall clock must say that a moment has passed before anything ends for it. A clock that a
/// time server or a person set wrong is often corrected within seconds.
pub(in crate::engine::object) const AGREES: Duration = Duration::from_secs(10);

/// The deadlines of one object on this process's monotonic clock.
///
/// Each live read counts them from the wall clock, and the earliest count stays: a wall clock that
/// jumps back opens nothing again. A moment that has passed stays passed until its own field of the
/// spec changes. Once that is confirmed, the status says so to processes with other clocks.
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
    /// It was confirmed once, by this process or another one.
    recorded: bool,
}

impl Deadlines {
    /// Takes note of a live read. `cloud_time` is the time that the cloud told lately. Returns
    /// whether a deadline was just seen to have passed, or is said to again.
    pub fn observe(
        &mut self,
        spec: &DeletionSpec,
        status: &InstanceDeletionStatus,
        now: &Now,
        cloud_time: Option<Timestamp>,
    ) -> bool {
        let clocks = (now, cloud_time);
        let start_time = status.start_time.as_ref();
        let ends = |life: &Duration| start_time.and_then(|start| start.0.checked_add(*life).ok());
        let deadline = Moment::observe(&mut self.deadline, spec.active_deadline, ends, clocks);
        let not_after = Moment::observe(&mut self.not_after, spec.not_after, |at| Some(*at), clocks);
        let recorded = status.passed.clone().unwrap_or_default();
        let life = recorded.active_deadline_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let deadline_recorded = self.deadline.as_mut().is_some_and(|m| m.learn(life == Some(m.value)));
        // The status keeps whole seconds.
        let same =
            |value: Timestamp| recorded.not_after.is_some_and(|at| at.0.as_second() == value.as_second());
        let not_after_recorded = self.not_after.as_mut().is_some_and(|m| m.learn(same(m.value)));
        deadline || not_after || deadline_recorded || not_after_recorded
    }

    /// What the status says to other processes.
    #[must_use]
    pub fn record(&self) -> Option<PassedStatus> {
        let whole = |at: Timestamp| Time(Timestamp::from_second(at.as_second()).unwrap_or(at));
        let not_after = self.not_after.as_ref().filter(|m| m.recorded).map(|m| whole(m.value));
        let deadline = self.deadline.as_ref().filter(|m| m.recorded);
        let active_deadline_seconds = deadline.and_then(|m| u32::try_from(m.value.as_secs()).ok());
        Some(PassedStatus { not_after, active_deadline_seconds }).filter(|p| *p != PassedStatus::default())
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

/// The time from one moment to another; zero if that is earlier.
fn left_from(time: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(time)).unwrap_or_default()
}

impl<V: PartialEq> Moment<V> {
    fn new(value: V) -> Self {
        let (passed, confirmed, recorded) = (false, false, false);
        Self { value, at: None, latest: None, passed, said: None, confirmed, recorded }
    }

    /// Takes note of the value in a live read. `ends` tells the wall clock's time that it stands
    /// for; none if it does not run yet.
    fn observe(
        this: &mut Option<Self>,
        value: Option<V>,
        ends: impl FnOnce(&V) -> Option<Timestamp>,
        (now, cloud_time): (&Now, Option<Timestamp>),
    ) -> bool {
        if this.as_ref().map(|moment| &moment.value) != value.as_ref() {
            *this = value.map(Self::new);
        }
        let Some(moment) = this else { return false };
        let before = (moment.passed, moment.said.is_some());
        let ends = ends(&moment.value);
        moment.latest = ends.map(|at| now.mono + left_from(now.wall, at));
        moment.at = moment.at.into_iter().chain(moment.latest).min();
        moment.passed |= moment.at.is_some_and(|at| at <= now.mono);
        let agrees = |at: Timestamp| cloud_time.is_none_or(|time| left_from(time, at) <= CLOUD_BEHIND);
        let says_so = ends.is_some_and(|at| at <= now.wall && agrees(at));
        moment.said = says_so.then(|| moment.said.unwrap_or(now.mono));
        moment.confirmed = moment.said.is_some_and(|said| now.mono - said >= AGREES);
        moment.recorded |= moment.confirmed;
        !before.0 && moment.passed || !before.1 && moment.said.is_some()
    }

    /// Takes note whether the status says that the moment has passed. Returns whether that is new.
    fn learn(&mut self, recorded: bool) -> bool {
        let new = recorded && !self.passed;
        self.passed |= recorded;
        self.recorded |= recorded;
        new
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

    fn started(start: Option<&Time>) -> InstanceDeletionStatus {
        InstanceDeletionStatus { start_time: start.cloned(), ..InstanceDeletionStatus::default() }
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
        assert!(!deadlines.observe(&spec, &started(Some(&start)), &now(10, 1000), None));
        assert_eq!(deadlines.next(Mono::at(Duration::from_secs(10))), Some(Mono::at(Duration::from_mins(1))));
        assert!(!deadlines.observe(&spec, &started(Some(&start)), &now(59, 1049), None));
        assert!(deadlines.observe(&spec, &started(Some(&start)), &now(60, 1050), None));
        let said = Some(Mono::at(Duration::from_mins(1)));
        assert_eq!(deadlines.passed(), Some(Passed { cutoff: Cutoff::NotAfter, said, confirmed: false }));
        assert!(!deadlines.observe(&spec, &started(Some(&start)), &now(61, 1051), None), "seen before");
        let next = |seconds| deadlines.next(Mono::at(Duration::from_secs(seconds)));
        let deadline = Some(Mono::at(Duration::from_secs(110)));
        assert_eq!(
            [60, 70, 109, 110].map(next),
            [Some(Mono::at(Duration::from_secs(70))), deadline, deadline, None]
        );
        assert!(deadlines.observe(&spec, &started(Some(&start)), &now(110, 1100), None));
        assert_eq!(passed(&deadlines), Some(Cutoff::Deadline));
    }

    #[test]
    fn x07_a_wall_clock_that_jumps_back_opens_nothing_again() {
        let mut spec = spec_of(1);
        spec.not_after = Some(Timestamp::from_second(1050).unwrap());
        let mut deadlines = Deadlines::default();
        deadlines.observe(&spec, &started(None), &now(10, 1000), None);
        assert!(!deadlines.observe(&spec, &started(None), &now(59, 500), None));
        assert!(
            deadlines.observe(&spec, &started(None), &now(60, 501), None),
            "50 s after it was seen to be 50 s ahead"
        );
        assert!(!deadlines.observe(&spec, &started(None), &now(61, 0), None));
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
        assert!(deadlines.observe(&spec, &started(Some(&start)), &now(10, 1000), None));
        // The wall clock is set back, other fields are edited, and a restore takes the start back.
        spec.meta.generation += 1;
        spec.backoff_limit += 1;
        for start in [Some(&start), None] {
            assert!(!deadlines.observe(&spec, &started(start), &now(11, 100), None));
            assert_eq!(passed(&deadlines), Some(Cutoff::Deadline));
        }
        spec.meta.generation += 1;
        spec.active_deadline = life(90);
        assert!(!deadlines.observe(&spec, &started(Some(&start)), &now(12, 101), None));
        assert_eq!(passed(&deadlines), Some(Cutoff::NotAfter), "only the edited one counts anew");
        spec.not_after = at(2000);
        assert!(!deadlines.observe(&spec, &started(Some(&start)), &now(13, 102), None));
        assert_eq!(passed(&deadlines), None);
        spec.not_after = None;
        deadlines.observe(&spec, &started(Some(&start)), &now(14, 103), None);
        assert_eq!(deadlines.next(Mono::START), Some(Mono::at(Duration::from_secs(14 + 887))));
    }

    #[test]
    fn x07_only_two_readings_that_agree_confirm_that_a_moment_has_passed() {
        type Readings = &'static [(u64, i64)];
        let mut spec = spec_of(1);
        spec.not_after = Some(Timestamp::from_second(1050).unwrap());
        // Readings as (monotonic, wall), and the last one's verdict: said, confirmed.
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
                deadlines.observe(&spec, &started(None), &now(*mono, *wall), None);
            }
            let passed = deadlines.passed().unwrap();
            assert_eq!((passed.said.is_some(), passed.confirmed), expected, "{readings:?}");
        }
        // The cloud told its time lately.
        for (cloud, expected) in [(1019, (false, false)), (1020, (true, true)), (9000, (true, true))] {
            let mut deadlines = Deadlines::default();
            for seconds in [10, 20] {
                let cloud = Timestamp::from_second(cloud).unwrap();
                deadlines.observe(&spec, &started(None), &now(seconds, 9000), Some(cloud));
            }
            let passed = deadlines.passed().unwrap();
            assert_eq!((passed.said.is_some(), passed.confirmed), expected, "{cloud}");
        }
        let mut deadlines = Deadlines::default();
        assert!(deadlines.observe(&spec, &started(None), &now(10, 9000), None));
        assert_eq!(deadlines.next(Mono::START), Some(Mono::at(Duration::from_secs(20))), "the next reading");
        assert!(!deadlines.observe(&spec, &started(None), &now(20, 1010), None));
        assert_eq!(deadlines.next(Mono::START), Some(Mono::at(Duration::from_mins(1))), "by this reading");
        assert!(deadlines.observe(&spec, &started(None), &now(60, 1050), None), "looks before do not count");
    }

    #[test]
    fn no_deadline_runs_before_the_start() {
        let mut spec = spec_of(1);
        spec.active_deadline = Some(Duration::from_secs(1));
        let mut deadlines = Deadlines::default();
        assert!(!deadlines.observe(&spec, &started(None), &now(10, 1000), None));
        assert_eq!(deadlines.next(Mono::START), None);
    }

    #[test]
    fn x07_what_one_process_confirmed_holds_for_another_with_a_clock_that_is_behind() {
        let mut spec = spec_of(1);
        spec.not_after = Some("1970-01-01T00:15:00.5Z".parse().unwrap());
        spec.active_deadline = Some(Duration::from_secs(50));
        let start = Time(Timestamp::from_second(900).unwrap());
        let mut status = started(Some(&start));
        let mut deadlines = Deadlines::default();
        deadlines.observe(&spec, &status, &now(10, 1000), None);
        assert_eq!(deadlines.record(), None, "one reading");
        deadlines.observe(&spec, &status, &now(20, 1010), None);
        status.passed = deadlines.record();
        let whole = Time(Timestamp::from_second(900).unwrap());
        let both = PassedStatus { not_after: Some(whole.clone()), active_deadline_seconds: Some(50) };
        assert_eq!(status.passed, Some(both));

        let mut successor = Deadlines::default();
        assert!(successor.observe(&spec, &status, &now(1, 100), None), "looks before do not count");
        assert!(!successor.observe(&spec, &status, &now(2, 101), None));
        let expected = Passed { cutoff: Cutoff::Deadline, said: None, confirmed: false };
        assert_eq!(successor.passed(), Some(expected), "it sends nothing, and ends nothing");
        assert_eq!(successor.record(), status.passed, "it keeps the record");
        spec.active_deadline = Some(Duration::from_secs(51));
        successor.observe(&spec, &status, &now(3, 102), None);
        assert_eq!(passed(&successor), Some(Cutoff::NotAfter));
        let left = PassedStatus { not_after: Some(whole), active_deadline_seconds: None };
        assert_eq!(successor.record(), Some(left));
        spec.not_after = None;
        successor.observe(&spec, &status, &now(4, 103), None);
        assert_eq!((passed(&successor), successor.record()), (None, None));
    }
}
