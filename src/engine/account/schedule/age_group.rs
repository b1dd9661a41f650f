//! Instances whose deletions were accepted at about the same time, and when they are looked at.

use std::{collections::BTreeSet, time::Duration};

use crate::engine::{id::InstanceId, settings::READ_SIZE, time::Mono};

/// Age growth between two reads of scouts.
const SCOUTS_STEP: f64 = 0.15;
/// Age growth between two reads of finishers, while they fit in one call.
const FINISHERS_STEP: f64 = 0.03;
/// Age growth between two reads of finishers that need more than one call.
const MANY_FINISHERS_STEP: f64 = 0.10;
/// A read of all instances must tell of each end this many times `--poll-min` earlier, in the mean over all of them.
const WORTH: u32 = 2;
/// Ages that differ by no more than this share are about the same.
const ABOUT: f64 = 0.15;
/// Ages that differ by no more than this are about the same.
const ABOUT_LEAST: Duration = Duration::from_secs(30);
/// The largest difference between two computations of one age, one of them by the wall clock.
const SLACK: Duration = Duration::from_secs(2);

/// The least and the most time between two looks: `--poll-min` and `--poll-max`.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub min: Duration,
    pub max: Duration,
}

/// A moment in microseconds since the start of the clock, which may lie before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedMoment(i64);

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl SignedMoment {
    /// A moment of the clock.
    pub fn at(mono: Mono) -> Self {
        Self(micros(mono.since_start()))
    }

    /// The moment `age` before a moment of the clock.
    pub fn ago(age: Duration, now: Mono) -> Self {
        Self(Self::at(now).0.saturating_sub(micros(age)))
    }

    /// The moment of the clock; its start for those before it.
    pub fn mono(self) -> Mono {
        Mono::at(Duration::from_micros(u64::try_from(self.0).unwrap_or(0)))
    }

    fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }

    /// Time since an earlier moment.
    fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// What is looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// All instances of an age group.
    All,
    /// The instances of objects that are about to end.
    Finishers,
    /// Some instances, drawn at random.
    Scouts,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 3] = [Self::All, Self::Finishers, Self::Scouts];
}

/// How many instances of an age group may be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// All of them.
    pub open: usize,
    /// The instances of objects that are about to end.
    pub finishers: usize,
}

impl Size {
    /// How many of them are in a group.
    pub fn of(self, group: Group) -> usize {
        match group {
            Group::All | Group::Scouts => self.open,
            Group::Finishers => self.finishers,
        }
    }
}

/// Instances whose deletions were accepted at about the same time.
#[derive(Clone, Debug)]
pub struct AgeGroup {
    /// When the first of them was accepted.
    from: SignedMoment,
    /// When the last look at all was made; at first when they were accepted.
    all: SignedMoment,
    scouts: SignedMoment,
    finishers: SignedMoment,
    /// Scouts whose reading is still to come.
    out: BTreeSet<InstanceId>,
    /// Scouts of the last draw since the last look at all.
    drawn: u32,
    /// The scouts of that draw that had ended.
    ended: u32,
}

impl AgeGroup {
    fn new(from: SignedMoment) -> Self {
        Self { from, all: from, scouts: from, finishers: from, out: BTreeSet::new(), drawn: 0, ended: 0 }
    }

    /// Number of entries: the group itself, and the scouts whose reading is still to come.
    pub fn entries(&self) -> usize {
        1 + self.out.len()
    }

    /// Whether its last look was so long ago that its instances would be due, if it had any.
    pub fn is_of_the_past(&self, now: SignedMoment, Bounds { max, .. }: Bounds) -> bool {
        [self.all, self.scouts, self.finishers].into_iter().all(|last| last.plus(max) < now)
    }

    /// When a group is due; `None` if there is nothing in it to look at.
    pub fn due(&self, group: Group, size: Size, Bounds { min, max }: Bounds) -> Option<SignedMoment> {
        if size.of(group) == 0 {
            return None;
        }
        let grown =
            |last: SignedMoment, step: f64| last.plus(last.since(self.from).mul_f64(step).clamp(min, max));
        match group {
            Group::All => {
                // Ends are spread over the time since the last look at all: in the mean each is told half of it earlier.
                let share = (self.ended > 0).then(|| f64::from(self.ended) / f64::from(self.drawn))?;
                Some(self.all.plus((min * WORTH).mul_f64(2.0 / share)))
            }
            Group::Scouts => Some(grown(self.scouts, SCOUTS_STEP)),
            Group::Finishers if size.finishers <= READ_SIZE => Some(grown(self.finishers, FINISHERS_STEP)),
            Group::Finishers => Some(grown(self.finishers, MANY_FINISHERS_STEP)),
        }
    }

    /// Enters that a look at all instances was asked for.
    pub fn all_asked(&mut self, now: SignedMoment) {
        (self.all, self.scouts, self.finishers) = (now, now, now);
        self.out.clear();
        (self.drawn, self.ended) = (0, 0);
    }

    /// Enters that a look at the finishers was asked for.
    pub fn finishers_asked(&mut self, now: SignedMoment) {
        self.finishers = now;
    }

    /// Enters that a look at scouts was asked for: of a new draw, or further ones that fill a call.
    pub fn scouts_asked(&mut self, ids: Vec<InstanceId>, new: bool, now: SignedMoment) {
        if new {
            self.scouts = now;
            self.out.clear();
            (self.drawn, self.ended) = (0, 0);
        }
        self.drawn = self.drawn.saturating_add(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        self.out.extend(ids);
    }

    /// Enters the answer to a look at one instance.
    pub fn heard(&mut self, id: InstanceId, ended: bool) {
        if self.out.remove(&id) && ended {
            self.ended = self.ended.saturating_add(1);
        }
    }

    /// Whether an instance that was accepted at this time belongs to it, by its own bounds.
    fn spans(&self, accepted: SignedMoment, now: SignedMoment) -> bool {
        let about = now.since(self.from).mul_f64(ABOUT).max(ABOUT_LEAST);
        accepted.since(self.from) <= about
    }
}

/// The position of the age group of an instance that was accepted at this time.
pub fn of(age_groups: &[AgeGroup], accepted: SignedMoment) -> Option<usize> {
    age_groups.partition_point(|age_group| age_group.from <= accepted.plus(SLACK)).checked_sub(1)
}

/// Makes sure that there is an age group for an instance that was accepted at this time.
pub fn place(age_groups: &mut Vec<AgeGroup>, accepted: SignedMoment, now: Mono) {
    let now = SignedMoment::at(now);
    let at = of(age_groups, accepted);
    let known = at.and_then(|at| age_groups.get(at)).is_some_and(|age_group| age_group.spans(accepted, now));
    if !known {
        age_groups.insert(at.map_or(0, |at| at + 1), AgeGroup::new(accepted));
    }
}

/// Merges neighbours whose ages have become about the same.
pub fn merge(age_groups: &mut Vec<AgeGroup>, now: Mono) {
    let now = SignedMoment::at(now);
    age_groups.dedup_by(|younger, older| {
        let same = older.spans(younger.from, now);
        if same {
            older.all = older.all.min(younger.all);
            older.scouts = older.scouts.min(younger.scouts);
            older.finishers = older.finishers.min(younger.finishers);
            older.out.append(&mut younger.out);
            older.drawn = older.drawn.saturating_add(younger.drawn);
            older.ended = older.ended.saturating_add(younger.ended);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: Duration::from_secs(5), max: Duration::from_mins(2) };

    fn at(seconds: u64) -> SignedMoment {
        SignedMoment::at(Mono::at(Duration::from_secs(seconds)))
    }

    fn ids(n: u32) -> Vec<InstanceId> {
        (0..n).map(|n| InstanceId::from_u128(n.into())).collect()
    }

    #[test]
    fn all_are_due_when_each_end_is_told_twice_poll_min_earlier_in_the_mean() {
        let size = Size { open: 1_000, finishers: 0 };
        // Of 100 scouts so many have ended; all were looked at last at 300 s.
        for (ended, due) in [(0, None), (1, Some(2_300)), (10, Some(500)), (50, Some(340)), (100, Some(320))]
        {
            let mut age_group = AgeGroup::new(at(0));
            age_group.all_asked(at(300));
            age_group.scouts_asked(ids(100), true, at(310));
            for (number, id) in ids(100).into_iter().enumerate() {
                age_group.heard(id, number < ended);
            }
            assert_eq!(age_group.due(Group::All, size, BOUNDS), due.map(at), "{ended}");
            assert_eq!(age_group.due(Group::All, Size::default(), BOUNDS), None, "nothing is left");
        }
    }

    #[test]
    fn the_share_is_that_of_the_last_scouts_and_of_those_that_filled_a_call() {
        let size = Size { open: 1_000, finishers: 0 };
        let mut age_group = AgeGroup::new(at(0));
        age_group.scouts_asked(ids(50), true, at(100));
        age_group.heard(ids(1)[0], true);
        age_group.heard(ids(1)[0], true);
        age_group.heard(InstanceId::from_u128(999), true);
        assert_eq!(
            age_group.due(Group::All, size, BOUNDS),
            Some(at(1_000)),
            "1 of 50, told once, and no scout"
        );
        age_group.scouts_asked(ids(100)[50..].to_vec(), false, at(110));
        assert_eq!(age_group.due(Group::All, size, BOUNDS), Some(at(2_000)), "1 of 100");
        assert_eq!(age_group.due(Group::Scouts, size, BOUNDS), Some(at(115)), "fillers put nothing off");
        age_group.scouts_asked(ids(50), true, at(120));
        assert_eq!(age_group.due(Group::All, size, BOUNDS), None, "of new scouts nothing is known yet");
        age_group.heard(ids(1)[0], true);
        assert_eq!(age_group.due(Group::All, size, BOUNDS), Some(at(1_000)));
        age_group.all_asked(at(130));
        assert_eq!(age_group.due(Group::All, size, BOUNDS), None, "what they told is used");
    }

    #[test]
    fn neighbours_that_become_one_keep_what_is_due_first() {
        let size = Size { open: 1_000, finishers: 1 };
        let mut age_groups = Vec::new();
        let now = Mono::at(Duration::from_secs(50));
        for accepted in [at(50), at(0), at(20), at(30), at(100)] {
            place(&mut age_groups, accepted, now);
        }
        let from: Vec<SignedMoment> = age_groups.iter().map(|age_group| age_group.from).collect();
        assert_eq!(from, [at(0), at(50), at(100)], "30 s later is about the same time");
        age_groups[0].all_asked(at(300));
        age_groups[1].all_asked(at(310));
        age_groups[1].scouts_asked(ids(10), true, at(320));
        age_groups[1].heard(ids(1)[0], true);
        merge(&mut age_groups, Mono::at(Duration::from_secs(400)));
        assert_eq!(age_groups.len(), 2);
        let due = Group::ALL.map(|group| age_groups[0].due(group, size, BOUNDS));
        assert_eq!(due, [Some(at(500)), Some(at(309)), Some(at(345))]);
    }

    #[test]
    fn each_belongs_to_the_last_age_group_that_had_begun() {
        let mut age_groups = Vec::new();
        for accepted in [at(100), at(200)] {
            place(&mut age_groups, accepted, Mono::at(Duration::from_secs(200)));
        }
        let table = [(97, None), (98, Some(0)), (197, Some(0)), (198, Some(1)), (900, Some(1))];
        for (accepted, age_group) in table {
            assert_eq!(of(&age_groups, at(accepted)), age_group, "{accepted}");
        }
    }

    #[test]
    fn a_moment_may_lie_before_the_start_of_the_clock() {
        let hour = Duration::from_hours(1);
        let accepted = SignedMoment::ago(hour, Mono::at(Duration::from_secs(1)));
        assert_eq!(SignedMoment::at(Mono::at(Duration::from_secs(1))).since(accepted), hour);
        assert_eq!((accepted.mono(), at(7).mono()), (Mono::START, Mono::at(Duration::from_secs(7))));
        assert_eq!(at(1).since(at(2)), Duration::ZERO);
    }
}
