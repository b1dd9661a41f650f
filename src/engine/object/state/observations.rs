//! Observations: what reads have shown of each instance.

use std::{collections::BTreeMap, sync::Arc};

use crate::engine::{
    id::InstanceId,
    instance_facts::InstanceFacts,
    state::{Live, Seen, StateText},
    time::{Mono, ReadTime},
};

/// What reads have shown of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Observation {
    /// The newest read, and when it was made.
    pub last: Option<(Seen, ReadTime)>,
    /// When the first read of the present series was made: a series of not-found reads, or of reads
    /// without a state that allows sending or ending. The newest read tells which.
    since: Option<ReadTime>,
    /// When a look was asked for that has not been answered.
    pub asked: Option<Mono>,
    /// When the last look was asked for that was answered without this instance.
    pub missed: Option<Mono>,
    /// Whether the record was read that says that the id is on its way although no call is known to
    /// have named it.
    recorded: bool,
    /// How the last read that found the instance showed it; none if no read has found it.
    pub found: Option<Found>,
    /// The facts that the newest read showed of an instance that is neither on its way nor gone; none if it showed none, or
    /// if nothing asks for them.
    pub facts: Option<Arc<InstanceFacts>>,
    /// What is known of an instance that is to stay off for a while; none for any other. Most objects have none: a box keeps
    /// their observations small.
    pub off: Option<Box<Off>>,
}

/// What is known of an instance that was powered off, or found off, and is to stay so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Off {
    /// When it will have been off for long enough, by the clocks of this process. Where readings of the wall clock differ the
    /// latest counts: a clock that jumps forward deletes nothing early.
    pub soaked_at: Mono,
    /// Reads that were sent since then tell whether someone powers it on again. One of before may show the instance as it was
    /// before another process powered it off.
    pub since: Mono,
    /// Such a read showed it on: someone wants it.
    pub powered_on: bool,
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
        self.last.as_ref().is_some_and(|(_, read)| read.sent > since)
            || self.missed.is_some_and(|asked| asked >= since)
    }

    /// When the first read of the present series of not-found reads was made; none if the newest
    /// read found the instance.
    #[must_use]
    pub fn not_found_since(&self) -> Option<ReadTime> {
        self.since.filter(|_| matches!(self.last, Some((Seen::NotFound, _))))
    }

    /// Whether the last look that was answered did not read the instance.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        let read = self.last.as_ref().map(|(_, read)| read.sent);
        self.missed.is_some_and(|asked| read.is_none_or(|sent| sent < asked))
    }

    /// Corrects the start of a series of not-found reads by what other objects know of it. Does
    /// nothing without a series.
    pub fn correct_not_found(&mut self, since: Option<ReadTime>) {
        if self.not_found_since().is_some() {
            self.since = since;
        }
    }

    /// When the first read of the present series of reads without a state that allows sending or
    /// ending was sent.
    #[must_use]
    pub fn unusable_since(&self) -> Option<Mono> {
        self.unusable_series().map(|first| first.sent)
    }

    fn unusable_series(&self) -> Option<ReadTime> {
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
    /// Whether a check asks for facts. They are kept only then.
    keeps_facts: bool,
}

impl Observations {
    /// No observation of these ids yet.
    #[must_use]
    pub fn new(ids: &[InstanceId]) -> Self {
        let by_id = ids.iter().enumerate().map(|(position, id)| (*id, position)).collect();
        Self { ids: ids.to_vec(), by_id, all: vec![Observation::default(); ids.len()], keeps_facts: false }
    }

    /// No observation of these ids yet; facts are kept as before.
    #[must_use]
    pub fn of_others(&self, ids: &[InstanceId]) -> Self {
        Self { keeps_facts: self.keeps_facts, ..Self::new(ids) }
    }

    /// Whether these are the observations of these ids.
    #[must_use]
    pub fn are_of(&self, ids: &[InstanceId]) -> bool {
        self.ids == ids
    }

    /// What reads have shown of the row at this position.
    #[must_use]
    pub fn at(&self, position: usize) -> &Observation {
        const NOTHING: &Observation = &Observation {
            last: None,
            since: None,
            asked: None,
            missed: None,
            recorded: false,
            found: None,
            facts: None,
            off: None,
        };
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

    /// Notes that the row at this position is taken for powered off. Reads tell whether someone powers it on again if they were
    /// sent from now on, or since the read that showed it off to this process.
    pub fn is_off(&mut self, position: usize, soaked_at: Mono, now: Mono) {
        let Some(observation) = self.all.get_mut(position) else { return };
        match &mut observation.off {
            // That it is over moves the moment no more at which it was.
            Some(off) if soaked_at > now => off.soaked_at = off.soaked_at.max(soaked_at),
            Some(_) => {}
            None => {
                let since = match &observation.last {
                    Some((Seen::Live(Live::Stopped), read)) => read.sent,
                    _ => now,
                };
                observation.off = Some(Box::new(Off { soaked_at, since, powered_on: false }));
            }
        }
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

    /// Keeps facts from now on, or no more. Returns whether they were not kept before: earlier reads tell none.
    pub fn keep_facts(&mut self, keep: bool) -> bool {
        if self.keeps_facts && !keep {
            self.all.iter_mut().for_each(|observation| observation.facts = None);
        }
        !std::mem::replace(&mut self.keeps_facts, keep) && keep
    }

    /// Notes what a read showed of one instance. A read that was sent before the newest changes nothing.
    pub fn saw(&mut self, id: InstanceId, seen: Seen, read: ReadTime, facts: Option<&Arc<InstanceFacts>>) {
        let keeps_facts = self.keeps_facts;
        let Some(observation) = self.of(id) else { return };
        if observation.last.as_ref().is_some_and(|(_, newest)| newest.sent > read.sent) {
            return;
        }
        observation.since = match seen {
            Seen::NotFound => observation.not_found_since().or(Some(read)),
            Seen::Other(_) | Seen::Unreadable => observation.unusable_series().or(Some(read)),
            Seen::Live(_) | Seen::ShuttingDown | Seen::Terminated => None,
        };
        observation.found = Found::by(&seen).or(observation.found);
        let alive = !matches!(seen, Seen::ShuttingDown | Seen::Terminated | Seen::NotFound);
        if let (Some(off), Seen::Live(Live::Running | Live::Pending)) = (&mut observation.off, &seen) {
            off.powered_on |= read.sent >= off.since;
        }
        observation.facts = facts.filter(|_| keeps_facts && alive).cloned();
        observation.last = Some((seen, read));
    }

    /// Notes the end of a look at these ids.
    pub fn answered(&mut self, ids: &[InstanceId]) -> Answered {
        let mut answered = Answered::default();
        for id in ids {
            let Some(observation) = self.of(*id) else { continue };
            let asked = observation.asked.take();
            let read = observation
                .last
                .as_ref()
                .is_some_and(|(_, read)| asked.is_none_or(|asked| read.sent >= asked));
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
            let Observation { last, since, asked, missed, recorded: _, found: _, facts: _, off } =
                observation;
            if let Some(off) = off {
                let Off { soaked_at, since, powered_on: _ } = &mut **off;
                visit(soaked_at);
                visit(since);
            }
            let reads = [last.as_mut().map(|(_, read)| read), since.as_mut()];
            for ReadTime { sent, answered } in reads.into_iter().flatten() {
                visit(sent);
                visit(answered);
            }
            [asked.as_mut(), missed.as_mut()].into_iter().flatten().for_each(&mut *visit);
        }
    }
}
