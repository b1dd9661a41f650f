//! When the controller looks at the instances on their way: one schedule for all objects of an account.
//!
//! Nobody knows how long a deletion takes. So the controller looks at a few *scouts*, drawn at random, each time the age of
//! the instances has grown by a share; at *all* instances once the scouts promise that this is worth the calls; and at the
//! *finishers*, the last open instances of their objects, more often, since the end of an object waits for them.
//!
//! Instances of an object that comes an hour later must not wait as long as the old ones. So instances whose deletions were
//! accepted at about the same time form an age group ([`age_group`]), which has scouts and due times of its own. Age groups
//! share calls: the instances that are due next fill the room that is left in a call.

mod age_group;
mod sample;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use self::{
    age_group::{AgeGroup, Bounds, Group, SignedMoment, Size},
    sample::Sample,
};
use crate::engine::{
    id::InstanceId,
    settings::{READ_SIZE, Settings},
    time::Mono,
};

/// The open instances of an object are finishers if there are no more than this many.
const FEW: usize = 5;
/// This many scouts tell as much as a whole call of them.
const ENOUGH_SCOUTS: usize = READ_SIZE / 2;

/// An instance on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnItsWay {
    /// The instance.
    pub id: InstanceId,
    /// How long ago its deletion was accepted, as far as is known. Only the time of the next look depends on it.
    pub age: Duration,
    /// A look at it has been asked for and is not answered yet.
    pub asked: bool,
}

/// What an object wants the schedule to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Its instances on their way, in the order of its spec.
    pub on_their_way: Vec<OnItsWay>,
    /// Open instances that the object looks at itself.
    pub others: usize,
}

/// What to look at, by object.
pub type Looks<K> = BTreeMap<K, Vec<InstanceId>>;

/// The schedule of one account; objects are told apart by `K`.
#[derive(Clone, Debug)]
pub struct Schedule<K> {
    objects: BTreeMap<K, Watched>,
    /// The oldest first.
    age_groups: Vec<AgeGroup>,
    bounds: Bounds,
}

#[derive(Clone, Debug)]
struct Watched {
    open: Vec<OpenInstance>,
    others: usize,
}

impl Watched {
    fn few(&self) -> bool {
        self.open.len() + self.others <= FEW
    }
}

#[derive(Clone, Copy, Debug)]
struct OpenInstance {
    id: InstanceId,
    accepted: SignedMoment,
    asked: bool,
}

impl<K: Ord + Clone> Schedule<K> {
    /// A schedule of nothing.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let bounds = Bounds { min: settings.poll_min, max: settings.poll_max };
        Self { objects: BTreeMap::new(), age_groups: Vec::new(), bounds }
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The number of instances and age groups that are kept.
    #[must_use]
    pub fn entries(&self) -> usize {
        let Self { objects, age_groups, bounds: _ } = self;
        let instances: usize = objects.values().map(|watched| watched.open.len()).sum();
        instances + age_groups.iter().map(AgeGroup::entries).sum::<usize>()
    }

    /// Takes what an object has on its way now, in place of what it had.
    pub fn watch(&mut self, key: &K, watch: &Watch, now: Mono) {
        if watch.on_their_way.is_empty() {
            self.forget(key);
            return;
        }
        let answered = self.answered_meanwhile(key, &watch.on_their_way);
        let axis = |one: &OnItsWay| OpenInstance {
            id: one.id,
            accepted: SignedMoment::ago(one.age, now),
            asked: one.asked && answered.binary_search(&one.id).is_err(),
        };
        let open: Vec<OpenInstance> = watch.on_their_way.iter().map(axis).collect();
        for one in &open {
            age_group::place(&mut self.age_groups, one.accepted, now);
        }
        self.objects.insert(key.clone(), Watched { open, others: watch.others });
    }

    /// Instances that an object reports as asked for, although the answer came while the object was being decided. Sorted.
    fn answered_meanwhile(&self, key: &K, said: &[OnItsWay]) -> Vec<InstanceId> {
        let Some(known) = self.objects.get(key).filter(|_| said.iter().any(|one| one.asked)) else {
            return Vec::new();
        };
        let mut answered: Vec<_> = known.open.iter().filter(|one| !one.asked).map(|one| one.id).collect();
        answered.sort_unstable();
        answered
    }

    /// Forgets an object.
    pub fn forget(&mut self, key: &K) {
        self.objects.remove(key);
    }

    /// Forgets everything. Returns the objects that were watched, with their open instances.
    pub fn clear(&mut self) -> Looks<K> {
        self.age_groups.clear();
        let ids = |watched: Watched| watched.open.iter().map(|one| one.id).collect();
        std::mem::take(&mut self.objects).into_iter().map(|(key, watched)| (key, ids(watched))).collect()
    }

    /// Enters the answer to a look at `asked`; `ended` are those that have come to their end.
    pub fn answered(&mut self, key: &K, asked: &[InstanceId], ended: &[InstanceId]) {
        let Some(watched) = self.objects.get_mut(key) else { return };
        let sorted = |ids: &[InstanceId]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        let (asked, ended) = (sorted(asked), sorted(ended));
        for one in watched.open.iter_mut().filter(|one| asked.binary_search(&one.id).is_ok()) {
            one.asked = false;
            if let Some(age_group) =
                age_group::of(&self.age_groups, one.accepted).and_then(|at| self.age_groups.get_mut(at))
            {
                age_group.heard(one.id, ended.binary_search(&one.id).is_ok());
            }
        }
        watched.open.retain(|one| ended.binary_search(&one.id).is_err());
        if watched.open.is_empty() {
            self.forget(key);
        }
    }

    /// Drops the age groups that no instance is in any more, and whose last look says nothing about the next one. They are few,
    /// but would become more for as long as instances come.
    fn drop_empty_groups(&mut self, now: SignedMoment) {
        let mut used = vec![false; self.age_groups.len()];
        for one in self.objects.values().flat_map(|watched| &watched.open) {
            if let Some(used) = age_group::of(&self.age_groups, one.accepted).and_then(|at| used.get_mut(at))
            {
                *used = true;
            }
        }
        let (mut used, bounds) = (used.into_iter(), self.bounds);
        self.age_groups
            .retain(|age_group| used.next().unwrap_or(true) || !age_group.is_of_the_past(now, bounds));
    }

    /// When the next look is due; `None` if nothing is on its way, or all of it is being looked at.
    #[must_use]
    pub fn next(&self) -> Option<Mono> {
        let mut sizes = vec![Size::default(); self.age_groups.len()];
        for watched in self.objects.values() {
            let few = watched.few();
            for one in watched.open.iter().filter(|one| !one.asked) {
                if let Some(size) =
                    age_group::of(&self.age_groups, one.accepted).and_then(|at| sizes.get_mut(at))
                {
                    size.open += 1;
                    size.finishers += usize::from(few);
                }
            }
        }
        let due = |(age_group, size): (&AgeGroup, &Size)| {
            Group::ALL.into_iter().filter_map(|group| age_group.due(group, *size, self.bounds)).min()
        };
        self.age_groups.iter().zip(&sizes).filter_map(due).min().map(SignedMoment::mono)
    }

    /// What to look at now. It counts as asked for until [`Self::answered`].
    #[must_use]
    pub fn take(&mut self, now: Mono, random: u64) -> Looks<K> {
        age_group::merge(&mut self.age_groups, now);
        self.drop_empty_groups(SignedMoment::at(now));
        let bounds = self.bounds;
        let mut selection = Selection::open(&mut self.objects, &self.age_groups, Sample::new(random));
        let now = SignedMoment::at(now);
        let mut in_turn = Vec::new();
        for (at, age_group) in self.age_groups.iter().enumerate() {
            // Of the groups that are due by now, scouts come last: they fill a call.
            let due =
                |group| age_group.due(group, selection.size(at), bounds).map(|due| (due.max(now), group, at));
            in_turn.extend(Group::ALL.into_iter().filter_map(due));
        }
        in_turn.sort_unstable();
        for (due, group, at) in in_turn {
            let Some(age_group) = self.age_groups.get_mut(at) else { continue };
            // A group that is due takes the calls that it needs; one that is not due yet takes only the room left in them.
            let left = selection.room();
            let room = if due == now { usize::MAX } else { left };
            if room == 0 {
                break;
            }
            let size = selection.size(at);
            let enough = left >= ENOUGH_SCOUTS;
            let scouts = if enough || due > now { left } else { READ_SIZE };
            match group {
                Group::Finishers if size.finishers <= room => {
                    selection.take_finishers(at);
                    age_group.finishers_asked(now);
                }
                Group::All if size.open <= room => {
                    selection.take_all(at);
                    age_group.all_asked(now);
                }
                Group::Scouts if size.open <= scouts => {
                    selection.take_all(at);
                    age_group.all_asked(now);
                }
                Group::Scouts => {
                    age_group.scouts_asked(selection.draw(at, scouts), enough || due == now, now);
                }
                Group::All | Group::Finishers => {}
            }
        }
        selection.looks
    }
}

/// Where an instance is: the position of its object in [`Selection::objects`], and its own position in that object.
type Position = (usize, usize);

/// The instances that may be looked at, and those that are taken.
struct Selection<'a, K> {
    objects: Vec<(&'a K, &'a mut Watched)>,
    /// For each age group: the instances that are not asked for.
    free: Vec<Vec<Position>>,
    looks: Looks<K>,
    taken: usize,
    draw: Sample,
}

impl<'a, K: Ord + Clone> Selection<'a, K> {
    fn open(objects: &'a mut BTreeMap<K, Watched>, age_groups: &[AgeGroup], draw: Sample) -> Self {
        let objects: Vec<_> = objects.iter_mut().collect();
        let mut free = vec![Vec::new(); age_groups.len()];
        for (object, (_, watched)) in objects.iter().enumerate() {
            for (place, one) in watched.open.iter().enumerate().filter(|(_, one)| !one.asked) {
                if let Some(free) = age_group::of(age_groups, one.accepted).and_then(|at| free.get_mut(at)) {
                    free.push((object, place));
                }
            }
        }
        Self { objects, free, looks: BTreeMap::new(), taken: 0, draw }
    }

    /// How many instances of an age group may be looked at.
    fn size(&self, at: usize) -> Size {
        let free = self.free.get(at).map(Vec::as_slice).unwrap_or_default();
        let finishers = free.iter().filter(|(object, _)| self.few(*object)).count();
        Size { open: free.len(), finishers }
    }

    fn few(&self, object: usize) -> bool {
        self.objects.get(object).is_some_and(|(_, watched)| watched.few())
    }

    /// The room that is left in the last call.
    fn room(&self) -> usize {
        self.taken.next_multiple_of(READ_SIZE) - self.taken
    }

    fn take_all(&mut self, at: usize) {
        let all = self.free.get_mut(at).map(std::mem::take).unwrap_or_default();
        for place in all {
            self.take(place);
        }
    }

    fn take_finishers(&mut self, at: usize) {
        let all = self.free.get_mut(at).map(std::mem::take).unwrap_or_default();
        let (finishers, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(object, _)| self.few(*object));
        if let Some(free) = self.free.get_mut(at) {
            *free = others;
        }
        for place in finishers {
            self.take(place);
        }
    }

    /// Takes up to `most` instances of an age group, drawn at random.
    fn draw(&mut self, at: usize, most: usize) -> Vec<InstanceId> {
        let Some(free) = self.free.get_mut(at) else { return Vec::new() };
        let drawn = self.draw.some_of(free, most);
        let id = |(object, place): &Position| {
            let (_, watched) = self.objects.get(*object)?;
            watched.open.get(*place).map(|one| one.id)
        };
        let ids = drawn.iter().filter_map(id).collect();
        for place in drawn {
            self.take(place);
        }
        ids
    }

    fn take(&mut self, (object, place): Position) {
        let Some((key, watched)) = self.objects.get_mut(object) else { return };
        let Some(one) = watched.open.get_mut(place) else { return };
        one.asked = true;
        self.taken += 1;
        match self.looks.get_mut(*key) {
            Some(ids) => ids.push(one.id),
            None => {
                self.looks.insert((*key).clone(), vec![one.id]);
            }
        }
    }
}
