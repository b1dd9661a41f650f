//! What reads have shown of each instance.

use super::ledger::count;
use crate::engine::{id::InstanceId, state::Seen, time::Mono};

/// What reads have shown of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// The newest read, and when it was sent.
    pub last: Option<(Seen, Mono)>,
    /// When the first of an unbroken series of not-found reads was sent, which goes on until now.
    pub not_found_since: Option<Mono>,
    /// Since when no read brought a state that allows sending or ending.
    pub unusable_since: Option<Mono>,
    /// A look was asked for, and has not been answered.
    pub asked: Option<Mono>,
    /// The record was read that says it is on its way, although no call is known to have named it.
    pub recorded: bool,
}

/// Those of an object, in the order of its spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sightings {
    ids: Vec<InstanceId>,
    /// Positions in `ids`, by id.
    by_id: Vec<u32>,
    all: Vec<Sighting>,
}

impl Sightings {
    /// Nothing seen yet of these ids.
    #[must_use]
    pub fn new(ids: &[InstanceId]) -> Self {
        let mut by_id: Vec<u32> = (0..count(ids.len())).collect();
        by_id.sort_unstable_by_key(|&position| ids.get(position as usize));
        Self { ids: ids.to_vec(), by_id, all: vec![Sighting::default(); ids.len()] }
    }

    /// Whether they are those of these ids.
    #[must_use]
    pub fn are_of(&self, ids: &[InstanceId]) -> bool {
        self.ids == ids
    }

    /// What reads have shown of the row at this position.
    #[must_use]
    pub fn at(&self, position: usize) -> &Sighting {
        const NOTHING: &Sighting = &Sighting {
            last: None,
            not_found_since: None,
            unusable_since: None,
            asked: None,
            recorded: false,
        };
        self.all.get(position).unwrap_or(NOTHING)
    }

    /// The same, to change it.
    pub fn at_mut(&mut self, position: usize) -> Option<&mut Sighting> {
        self.all.get_mut(position)
    }

    fn position(&self, id: InstanceId) -> Option<usize> {
        let found = self.by_id.binary_search_by_key(&Some(&id), |&p| self.ids.get(p as usize)).ok()?;
        self.by_id.get(found).map(|position| *position as usize)
    }

    fn of(&mut self, id: InstanceId) -> Option<&mut Sighting> {
        let position = self.position(id)?;
        self.all.get_mut(position)
    }

    /// Whether a read that shows this may lead to another decision about an id on its way: that it is still on its way, as
    /// it was, does not.
    #[must_use]
    pub fn is_news(&self, id: InstanceId, seen: &Seen) -> bool {
        let last = self.position(id).and_then(|position| self.at(position).last.as_ref());
        *seen != Seen::ShuttingDown || last.is_some_and(|(last, _)| *last != Seen::ShuttingDown)
    }

    /// Notes that a look at these ids was asked for.
    pub fn asked(&mut self, ids: &[InstanceId], now: Mono) {
        for id in ids {
            if let Some(sighting) = self.of(*id) {
                sighting.asked = Some(now);
            }
        }
    }

    /// Notes what a read that was sent at `sent` showed of one instance. An older read than the newest changes nothing.
    pub fn saw(&mut self, id: InstanceId, seen: Seen, sent: Mono) {
        let Some(sighting) = self.of(id) else { return };
        if sighting.last.as_ref().is_some_and(|(_, newest)| *newest > sent) {
            return;
        }
        sighting.not_found_since = match seen {
            Seen::NotFound => sighting.not_found_since.or(Some(sent)),
            _ => None,
        };
        sighting.unusable_since = match seen {
            Seen::Other(_) | Seen::Unreadable => sighting.unusable_since.or(Some(sent)),
            _ => None,
        };
        sighting.last = Some((seen, sent));
    }

    /// Notes that the look at these ids has brought all it will bring. Returns those that it did not read.
    pub fn answered(&mut self, ids: &[InstanceId]) -> Vec<InstanceId> {
        let mut unread = Vec::new();
        for id in ids {
            let Some(sighting) = self.of(*id) else { continue };
            let asked = sighting.asked.take();
            let read =
                sighting.last.as_ref().is_some_and(|(_, sent)| asked.is_none_or(|asked| *sent >= asked));
            if !read {
                unread.push(*id);
            }
        }
        unread
    }

    /// Visits every moment that is kept here.
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        for sighting in &mut self.all {
            let Sighting { last, not_found_since, unusable_since, asked, recorded: _ } = sighting;
            let last = last.as_mut().map(|(_, sent)| sent);
            let since = [not_found_since.as_mut(), unusable_since.as_mut(), asked.as_mut()];
            last.into_iter().chain(since.into_iter().flatten()).for_each(&mut *visit);
        }
    }
}
