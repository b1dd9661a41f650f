//! Whose turn it is to make delete calls at one account: first come, first served among those whose ids were looked at.
//!
//! An object takes its place first and looks second, when its turn is near: a look made long before would be too old by
//! then, and would have to be made again while nobody else may call. Whoever is not ready at its turn lets others pass and
//! keeps its place.
//!
//! Nothing waits here. An object that may not call yet is told when to ask again, or is [called](DeleteQueue::called).

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::rate::Rate;
use crate::engine::time::Mono;

/// A turn is near if it comes within this: time enough for a look, and short of the time for which a look counts.
const NEAR: Duration = Duration::from_secs(10);
/// An object behind others asks again no sooner than this.
const AFTER_OTHERS: Duration = Duration::from_millis(100);
/// An object that is ready and does not come is waited for so long after its turn.
const LATE: Duration = Duration::from_secs(1);

/// The queue for permits of one account. `K` names an object.
#[derive(Clone, Debug)]
pub struct DeleteQueue<K> {
    waiting: VecDeque<Place<K>>,
    granted: HashMap<K, Grant>,
    /// How long a grant is kept for an object that does not use it, and how long whoever comes after a place waits for it.
    keep: Duration,
}

#[derive(Clone, Debug)]
struct Place<K> {
    key: K,
    state: State,
    /// When it was to come, or was told that its turn is near.
    due: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Others come first.
    Behind,
    /// It looks at its ids.
    Near,
    /// It has ids to send.
    Ready,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    calls: usize,
    until: Mono,
}

/// What an object asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Calls that it would make now.
    pub calls: usize,
    /// Of these, calls whose ids were looked at.
    pub ready: usize,
}

/// What the governor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermitAnswer {
    /// This many calls may be made now.
    Now(usize),
    /// The turn is near.
    Soon {
        /// Ids of so many calls are to be looked at.
        calls: usize,
        /// When an object that is ready asks again; any other does once its look was answered.
        at: Option<Mono>,
    },
    /// Others come first: ask again then, or when called.
    Later(Mono),
    /// The cloud asks that nobody calls for so long.
    Closed(Duration),
}

impl PermitAnswer {
    /// When an object that was told this asks again, if nothing else is heard.
    #[must_use]
    pub fn asks_again(self, now: Mono) -> Option<Mono> {
        match self {
            Self::Now(_) => None,
            Self::Soon { at, .. } => at,
            Self::Later(at) => Some(at),
            Self::Closed(wait) => Some(now + wait),
        }
    }
}

impl<K: Clone + Eq + std::hash::Hash> DeleteQueue<K> {
    /// A queue in which an unused permit passes on after `keep`.
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        Self { waiting: VecDeque::new(), granted: HashMap::new(), keep }
    }

    /// Calls granted to an object that it has not used. None while the cloud asks that nobody calls.
    pub fn held(&mut self, key: &K, rate: &mut Rate, now: Mono) -> usize {
        if rate.closed(now).is_some() {
            self.use_up(key, 0, rate);
        }
        self.granted.retain(|_, grant| grant.until > now);
        self.granted.get(key).map_or(0, |g| g.calls)
    }

    /// Asks for calls for an object.
    pub fn ask(&mut self, key: &K, want: Want, rate: &mut Rate, now: Mono) -> PermitAnswer {
        let held = self.held(key, rate, now);
        if held > 0 {
            return PermitAnswer::Now(held);
        }
        let index = self.waiting.iter().position(|place| place.key == *key).unwrap_or(self.waiting.len());
        let before = self.waiting.iter().take(index);
        let closed = rate.closed(now).filter(|left| *left > NEAR);
        let share = self.share(index, rate, now);
        let calls = want.calls.min(share);
        let (state, due, turn) = if let Some(closed) = closed {
            (State::Behind, now + closed, PermitAnswer::Closed(closed))
        } else if want.ready > 0 {
            let ahead = before.filter(|p| p.state == State::Ready && now <= p.due + LATE).count();
            let granted = if ahead == 0 { rate.take(want.ready.min(share), now) } else { 0 };
            if granted > 0 {
                self.waiting.remove(index);
                self.granted.insert(key.clone(), Grant { calls: granted, until: now + self.keep });
                return PermitAnswer::Now(granted);
            }
            let mut at = rate.due(ahead + 1, now);
            if ahead > 0 {
                // Whoever is first has not come yet: asking again at once would bring nothing new.
                at = at.max(now + AFTER_OTHERS);
            }
            let near = at - now <= NEAR;
            (
                State::Ready,
                at,
                if near { PermitAnswer::Soon { calls, at: Some(at) } } else { PermitAnswer::Later(at) },
            )
        } else {
            let turn = rate.due(1 + before.filter(|p| now <= p.due + self.keep).count(), now);
            let since = self.waiting.get(index).filter(|p| p.state == State::Near).map(|p| p.due);
            match (turn - now).checked_sub(NEAR).filter(|early| !early.is_zero()) {
                None => (State::Near, since.unwrap_or(now), PermitAnswer::Soon { calls, at: None }),
                Some(early) => (State::Behind, now + early, PermitAnswer::Later(now + early)),
            }
        };
        match self.waiting.get_mut(index) {
            Some(place) => (place.state, place.due) = (state, due),
            None => self.waiting.push_back(Place { key: key.clone(), state, due }),
        }
        turn
    }

    /// When an object that waits here goes on: one that has ids to send when its turn comes, one whose turn is near as soon as it
    /// has looked at them. None of any other.
    #[must_use]
    pub fn goes_on(&self, key: &K) -> Option<Mono> {
        let place = self.waiting.iter().find(|place| place.key == *key)?;
        (place.state != State::Behind).then_some(place.due)
    }

    /// Calls that each object may make in a row, so that all that wait have as many while a turn is near; at least one.
    fn share(&self, index: usize, rate: &mut Rate, now: Mono) -> usize {
        let waiting = self.waiting.len() + usize::from(index == self.waiting.len());
        (rate.within(NEAR, now) / waiting).max(1)
    }

    /// Objects whose turn has come near since they were told that others come first, or that nobody calls.
    pub fn called(&mut self, rate: &mut Rate, now: Mono) -> Vec<K> {
        let (mut ahead, mut called) = (0, Vec::new());
        for place in &mut self.waiting {
            if rate.due(ahead + 1, now) - now > NEAR {
                break;
            }
            if place.state == State::Behind {
                (place.state, place.due) = (State::Near, now);
                called.push(place.key.clone());
            }
            ahead += usize::from(now <= place.due + self.keep);
        }
        called
    }

    /// Notes that an object makes `calls` of the calls granted to it; what is left over goes back.
    pub fn use_up(&mut self, key: &K, calls: usize, rate: &mut Rate) {
        if let Some(grant) = self.granted.remove(key) {
            rate.give_back(grant.calls.saturating_sub(calls));
        }
    }

    /// Forgets an object that is gone or wants no call any more.
    pub fn forget(&mut self, key: &K, rate: &mut Rate) {
        self.use_up(key, 0, rate);
        self.waiting.retain(|place| place.key != *key);
    }
}

#[cfg(test)]
mod tests;
