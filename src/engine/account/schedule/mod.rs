//! When the instances on their way are looked at (design §3, *Reading states*): one schedule for all objects of an account.
//!
//! Nobody tells how long a deletion takes. So a few *scouts*, drawn at random, are looked at each time the age of the
//! instances has grown by a share; *all* are looked at once what the scouts have shown promises that it is worth the calls;
//! and the *finishers*, the last ones of their objects, are looked at more often, since the end of an object waits for them.
//!
//! Ages differ: an object that comes an hour later must not wait at the pace of the old ones. Instances whose deletions
//! were accepted at about the same time are a [`age_group`], and each cohort has scouts and moments of its own. Calls are
//! shared: the room that is left in a call is filled by whoever is next in line.

mod age_group;
mod sample;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use self::{
    age_group::{AgeGroup, Group, SignedMoment, Size},
    sample::Sample,
};
use crate::engine::{
    id::InstanceId,
    settings::{READ_SIZE, Settings},
    time::Mono,
};

/// The last open instances of an object are finishers if there are no more than these.
const FEW: usize = 5;
/// So many scouts tell what a whole call of them would.
const ENOUGH_SCOUTS: usize = READ_SIZE / 2;

/// An instance on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnItsWay {
    /// The instance.
    pub id: InstanceId,
    /// How long ago its deletion was accepted, as far as is known. Only the times of looks depend on it.
    pub age: Duration,
    /// A look at it has been asked for and is not answered yet.
    pub asked: bool,
}

/// What an object has the schedule look at.
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
    /// The eldest first.
    age_groups: Vec<AgeGroup>,
    bounds: Bounds,
}

/// The least and the most time between two looks: `--poll-min` and `--poll-max`.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: Duration,
    max: Duration,
}

#[derive(Clone, Debug)]
struct Watched {
    open: Vec<Open>,
    others: usize,
}

impl Watched {
    fn few(&self) -> bool {
        self.open.len() + self.others <= FEW
    }
}

#[derive(Clone, Copy, Debug)]
struct Open {
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

    /// Takes what an object has on its way now, in place of what it had.
    pub fn watch(&mut self, key: &K, watch: &Watch, now: Mono) {
        if watch.on_their_way.is_empty() {
            self.objects.remove(key);
            return;
        }
        let answered = self.answered_meanwhile(key, &watch.on_their_way);
        let axis = |one: &OnItsWay| Open {
            id: one.id,
            accepted: SignedMoment::ago(one.age, now),
            asked: one.asked && answered.binary_search(&one.id).is_err(),
        };
        let open: Vec<Open> = watch.on_their_way.iter().map(axis).collect();
        for one in &open {
            age_group::place(&mut self.age_groups, one.accepted, now);
        }
        self.objects.insert(key.clone(), Watched { open, others: watch.others });
    }

    /// Those that an object says are asked for, although the answer came while it was being decided. Sorted.
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

    /// Takes note of the answer to a look at `asked`, of which `ended` are over.
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
            self.objects.remove(key);
        }
    }

    /// When something is due to be looked at; none if nothing is on its way, or all of it is being looked at.
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

    /// What is to be looked at now. It counts as asked for until it is [`Self::answered`].
    #[must_use]
    pub fn take(&mut self, now: Mono, random: u64) -> Looks<K> {
        age_group::merge(&mut self.age_groups, now);
        let bounds = self.bounds;
        let mut selection = Selection::open(&mut self.objects, &self.age_groups, Sample::new(random));
        let now = SignedMoment::at(now);
        let mut in_turn = Vec::new();
        for (at, age_group) in self.age_groups.iter().enumerate() {
            // Of what is due by now, scouts come last: they fill a call.
            let due =
                |group| age_group.due(group, selection.size(at), bounds).map(|due| (due.max(now), group, at));
            in_turn.extend(Group::ALL.into_iter().filter_map(due));
        }
        in_turn.sort_unstable();
        for (due, group, at) in in_turn {
            let Some(age_group) = self.age_groups.get_mut(at) else { continue };
            // What is due takes the calls that it needs; what is not due yet only what is left in them.
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
                    age_group.scouts_asked(selection.draw(at, scouts), enough || due == now, now)
                }
                Group::All | Group::Finishers => {}
            }
        }
        selection.looks
    }
}

/// Where an instance is: the place of its object in [`Selection::objects`], and its own in there. An account may have a hundred
/// thousand instances, and all of them may be free.
type Place = (u32, u32);

/// The instances that may be looked at, and those that are taken.
struct Selection<'a, K> {
    objects: Vec<(&'a K, &'a mut Watched)>,
    /// For each cohort: those that are not asked for.
    free: Vec<Vec<Place>>,
    looks: Looks<K>,
    taken: usize,
    draw: Sample,
}

impl<'a, K: Ord + Clone> Selection<'a, K> {
    fn open(objects: &'a mut BTreeMap<K, Watched>, age_groups: &[AgeGroup], draw: Sample) -> Self {
        let objects: Vec<_> = objects.iter_mut().collect();
        let mut free = vec![Vec::new(); age_groups.len()];
        for (object, (_, watched)) in (0..).zip(&objects) {
            for (place, one) in (0..).zip(&watched.open).filter(|(_, one)| !one.asked) {
                if let Some(free) = age_group::of(age_groups, one.accepted).and_then(|at| free.get_mut(at)) {
                    free.push((object, place));
                }
            }
        }
        Self { objects, free, looks: BTreeMap::new(), taken: 0, draw }
    }

    /// Instances of a cohort that may be looked at.
    fn size(&self, at: usize) -> Size {
        let free = self.free.get(at).map(Vec::as_slice).unwrap_or_default();
        let finishers = free.iter().filter(|(object, _)| self.few(*object)).count();
        Size { open: free.len(), finishers }
    }

    fn few(&self, object: u32) -> bool {
        self.objects.get(object as usize).is_some_and(|(_, watched)| watched.few())
    }

    /// Room that is left in the last call.
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

    /// Takes so many of a cohort, drawn at random.
    fn draw(&mut self, at: usize, most: usize) -> Vec<InstanceId> {
        let Some(free) = self.free.get_mut(at) else { return Vec::new() };
        let drawn = self.draw.some_of(free, most);
        let id = |(object, place): &Place| {
            let (_, watched) = self.objects.get(*object as usize)?;
            watched.open.get(*place as usize).map(|one| one.id)
        };
        let ids = drawn.iter().filter_map(id).collect();
        for place in drawn {
            self.take(place);
        }
        ids
    }

    fn take(&mut self, (object, place): Place) {
        let Some((key, watched)) = self.objects.get_mut(object as usize) else { return };
        let Some(one) = watched.open.get_mut(place as usize) else { return };
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
