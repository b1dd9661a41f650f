//! What reads have shown of each instance.

use std::collections::BTreeMap;

use crate::engine::{id::InstanceId, state::Seen, time::Mono};

/// What reads have shown of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Observation {
    /// The newest read, and when it was sent.
    pub last: Option<(Seen, Mono)>,
    /// When the first of an unbroken series of reads was sent that goes on until now: of not-found reads, or of reads of which
    /// none brought a state that allows sending or ending. The newest read tells which.
    since: Option<Mono>,
    /// A look was asked for, and has not been answered.
    pub asked: Option<Mono>,
    /// The record was read that says it is on its way, although no call is known to have named it.
    recorded: bool,
}

impl Observation {
    /// When the first of an unbroken series of not-found reads was sent, which goes on until now.
    #[must_use]
    pub fn not_found_since(&self) -> Option<Mono> {
        self.since.filter(|_| matches!(self.last, Some((Seen::NotFound, _))))
    }

    /// The same, corrected by what others know of that series. Without one it does nothing.
    pub fn correct_not_found(&mut self, since: Option<Mono>) {
        if self.not_found_since().is_some() {
            self.since = since;
        }
    }

    /// Since when no read brought a state that allows sending or ending.
    #[must_use]
    pub fn unusable_since(&self) -> Option<Mono> {
        self.since.filter(|_| matches!(self.last, Some((Seen::Other(_) | Seen::Unreadable, _))))
    }
}

/// Those of an object, in the order of its spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observations {
    ids: Vec<InstanceId>,
    /// Positions in `ids`, by id.
    by_id: BTreeMap<InstanceId, usize>,
    all: Vec<Observation>,
}

impl Observations {
    /// Nothing seen yet of these ids.
    #[must_use]
    pub fn new(ids: &[InstanceId]) -> Self {
        let by_id = ids.iter().enumerate().map(|(position, id)| (*id, position)).collect();
        Self { ids: ids.to_vec(), by_id, all: vec![Observation::default(); ids.len()] }
    }

    /// Whether they are those of these ids.
    #[must_use]
    pub fn are_of(&self, ids: &[InstanceId]) -> bool {
        self.ids == ids
    }

    /// What reads have shown of the row at this position.
    #[must_use]
    pub fn at(&self, position: usize) -> &Observation {
        const NOTHING: &Observation = &Observation { last: None, since: None, asked: None, recorded: false };
        self.all.get(position).unwrap_or(NOTHING)
    }

    /// The same, to change it.
    pub fn at_mut(&mut self, position: usize) -> Option<&mut Observation> {
        self.all.get_mut(position)
    }

    /// Notes that the record of the row at this position says that it is on its way. Whether that is new.
    pub fn is_first_record(&mut self, position: usize) -> bool {
        self.all
            .get_mut(position)
            .is_some_and(|observation| !std::mem::replace(&mut observation.recorded, true))
    }

    fn of(&mut self, id: InstanceId) -> Option<&mut Observation> {
        self.all.get_mut(*self.by_id.get(&id)?)
    }

    /// Whether a read that shows this may lead to another decision about an id on its way: that it is still on its way, as
    /// it was, does not.
    #[must_use]
    pub fn is_news(&self, id: InstanceId, seen: &Seen) -> bool {
        let last = self.by_id.get(&id).and_then(|position| self.at(*position).last.as_ref());
        *seen != Seen::ShuttingDown || last.is_some_and(|(last, _)| *last != Seen::ShuttingDown)
    }

    /// Notes that a look at these ids was asked for.
    pub fn asked(&mut self, ids: &[InstanceId], now: Mono) {
        for id in ids {
            if let Some(observation) = self.of(*id) {
                observation.asked = Some(now);
            }
        }
    }

    /// Notes what a read that was sent at `sent` showed of one instance. An older read than the newest changes nothing.
    pub fn saw(&mut self, id: InstanceId, seen: Seen, sent: Mono) {
        let Some(observation) = self.of(id) else { return };
        if observation.last.as_ref().is_some_and(|(_, newest)| *newest > sent) {
            return;
        }
        observation.since = match seen {
            Seen::NotFound => observation.not_found_since().or(Some(sent)),
            Seen::Other(_) | Seen::Unreadable => observation.unusable_since().or(Some(sent)),
            Seen::Live(_) | Seen::ShuttingDown | Seen::Terminated => None,
        };
        observation.last = Some((seen, sent));
    }

    /// Notes that the look at these ids has brought all it will bring. Returns those that it did not read.
    pub fn answered(&mut self, ids: &[InstanceId]) -> Vec<InstanceId> {
        let mut unread = Vec::new();
        for id in ids {
            let Some(observation) = self.of(*id) else { continue };
            let asked = observation.asked.take();
            let read =
                observation.last.as_ref().is_some_and(|(_, sent)| asked.is_none_or(|asked| *sent >= asked));
            if !read {
                unread.push(*id);
            }
        }
        unread
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        for observation in &mut self.all {
            let Observation { last, since, asked, recorded: _ } = observation;
            let last = last.as_mut().map(|(_, sent)| sent);
            let others = [since.as_mut(), asked.as_mut()];
            last.into_iter().chain(others.into_iter().flatten()).for_each(&mut *visit);
        }
    }
}
