//! Observations: what reads have shown of each instance.

use std::collections::BTreeMap;

use crate::engine::{
    id::InstanceId,
    state::{Live, Seen, StateText},
    time::Mono,
};

/// What reads have shown of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Observation {
    /// The newest read, and when it was sent.
    pub last: Option<(Seen, Mono)>,
    /// When the first read of the present series was sent: a series of not-found reads, or of reads
    /// without a state that allows sending or ending. The newest read tells which.
    since: Option<Mono>,
    /// When a look was asked for that has not been answered.
    pub asked: Option<Mono>,
    /// When the last look was asked for that was answered without this instance.
    pub missed: Option<Mono>,
    /// Whether the record was read that says that the id is on its way although no call is known to
    /// have named it.
    recorded: bool,
    /// How the last read that found the instance showed it; none if no read has found it.
    pub found: Option<Found>,
}

/// How a read found an instance that may be sent, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Alive.
    Alive(Live),
    /// In a state that this version does not know, or in which it may not be sent.
    Other,
    /// On its way.
    ShuttingDown,
}

impl Found {
    fn by(seen: &Seen) -> Option<Self> {
        match seen {
            Seen::Live(live) => Some(Self::Alive(*live)),
            Seen::Other(_) => Some(Self::Other),
            Seen::ShuttingDown => Some(Self::ShuttingDown),
            // An end of its own, no instance, and no state.
            Seen::Terminated | Seen::NotFound | Seen::Unreadable => None,
        }
    }

    /// The state as the record has it.
    #[must_use]
    pub fn state(self) -> StateText {
        StateText::new(&match self {
            Self::Alive(live) => Seen::Live(live).to_string(),
            Self::Other => "other".to_owned(),
            Self::ShuttingDown => Seen::ShuttingDown.to_string(),
        })
    }
}

impl Observation {
    /// Whether a look at it that was asked for after this moment has been answered, with or without it.
    #[must_use]
    pub fn answered_since(&self, since: Mono) -> bool {
        self.last.as_ref().is_some_and(|(_, sent)| *sent > since)
            || self.missed.is_some_and(|asked| asked >= since)
    }

    /// When the first read of the present series of not-found reads was sent; none if the newest
    /// read found the instance.
    #[must_use]
    pub fn not_found_since(&self) -> Option<Mono> {
        self.since.filter(|_| matches!(self.last, Some((Seen::NotFound, _))))
    }

    /// Whether the last look that was answered did not read the instance.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        let read = self.last.as_ref().map(|(_, sent)| *sent);
        self.missed.is_some_and(|asked| read.is_none_or(|sent| sent < asked))
    }

    /// Corrects the start of a series of not-found reads by what other objects know of it. Does
    /// nothing without a series.
    pub fn correct_not_found(&mut self, since: Option<Mono>) {
        if self.not_found_since().is_some() {
            self.since = since;
        }
    }

    /// When the first read of the present series of reads without a state that allows sending or
    /// ending was sent.
    #[must_use]
    pub fn unusable_since(&self) -> Option<Mono> {
        self.since.filter(|_| matches!(self.last, Some((Seen::Other(_) | Seen::Unreadable, _))))
    }
}

/// The ids of a look that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Those that were read since the look was asked for.
    pub read: Vec<InstanceId>,
    /// The others.
    pub missed: Vec<InstanceId>,
}

/// The observations of an object, in the order of its spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observations {
    ids: Vec<InstanceId>,
    /// Positions in `ids`, by id.
    by_id: BTreeMap<InstanceId, usize>,
    all: Vec<Observation>,
}

impl Observations {
    /// No observation of these ids yet.
    #[must_use]
    pub fn new(ids: &[InstanceId]) -> Self {
        let by_id = ids.iter().enumerate().map(|(position, id)| (*id, position)).collect();
        Self { ids: ids.to_vec(), by_id, all: vec![Observation::default(); ids.len()] }
    }

    /// Whether these are the observations of these ids.
    #[must_use]
    pub fn are_of(&self, ids: &[InstanceId]) -> bool {
        self.ids == ids
    }

    /// What reads have shown of the row at this position.
    #[must_use]
    pub fn at(&self, position: usize) -> &Observation {
        const NOTHING: &Observation =
            &Observation { last: None, since: None, asked: None, missed: None, recorded: false, found: None };
        self.all.get(position).unwrap_or(NOTHING)
    }

    /// The observation of the row at this position, to change it.
    pub fn at_mut(&mut self, position: usize) -> Option<&mut Observation> {
        self.all.get_mut(position)
    }

    /// Notes that the record says of the row at this position that it is on its way. Returns
    /// whether that is new.
    pub fn is_first_record(&mut self, position: usize) -> bool {
        self.all
            .get_mut(position)
            .is_some_and(|observation| !std::mem::replace(&mut observation.recorded, true))
    }

    fn of(&mut self, id: InstanceId) -> Option<&mut Observation> {
        self.all.get_mut(*self.by_id.get(&id)?)
    }

    /// Whether a read that shows this may lead to another decision or record of an id whose deletion was accepted. That the
    /// id is on its way is news only if the last read showed an error, no known state, or no instance.
    #[must_use]
    pub fn is_news(&self, id: InstanceId, seen: &Seen) -> bool {
        let last = self.by_id.get(&id).and_then(|position| self.at(*position).last.as_ref());
        *seen != Seen::ShuttingDown
            || last.is_some_and(|(last, _)| match last {
                Seen::ShuttingDown | Seen::Live(Live::Pending | Live::Running | Live::Stopped) => false,
                Seen::Live(Live::Error)
                | Seen::Terminated
                | Seen::NotFound
                | Seen::Other(_)
                | Seen::Unreadable => true,
            })
    }

    /// Notes that a look at these ids was asked for.
    pub fn asked(&mut self, ids: &[InstanceId], now: Mono) {
        for id in ids {
            if let Some(observation) = self.of(*id) {
                observation.asked = Some(now);
            }
        }
    }

    /// Notes what a read that was sent at `sent` showed of one instance. A read older than the
    /// newest changes nothing.
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
        observation.found = Found::by(&seen).or(observation.found);
        observation.last = Some((seen, sent));
    }

    /// Notes the end of a look at these ids.
    pub fn answered(&mut self, ids: &[InstanceId]) -> Answered {
        let mut answered = Answered::default();
        for id in ids {
            let Some(observation) = self.of(*id) else { continue };
            let asked = observation.asked.take();
            let read =
                observation.last.as_ref().is_some_and(|(_, sent)| asked.is_none_or(|asked| *sent >= asked));
            if read {
                answered.read.push(*id);
            } else {
                observation.missed = asked.max(observation.missed);
                answered.missed.push(*id);
            }
        }
        answered
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        for observation in &mut self.all {
            let Observation { last, since, asked, missed, recorded: _, found: _ } = observation;
            let last = last.as_mut().map(|(_, sent)| sent);
            let others = [since.as_mut(), asked.as_mut(), missed.as_mut()];
            last.into_iter().chain(others.into_iter().flatten()).for_each(&mut *visit);
        }
    }
}
