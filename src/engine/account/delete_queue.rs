//! The queue for delete calls at one account: first come, first served among the objects whose ids were looked at.
//!
//! An object queues first and looks at its ids when its turn is near: an earlier look would be too old by then. An object
//! that is not ready at its turn lets others pass and keeps its place.
//!
//! Nothing blocks here. The queue tells an object that may not call yet when to ask again, or [calls](DeleteQueue::called) it.

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
/// How long after its turn the queue waits for an object that is ready and does not come.
const LATE: Duration = Duration::from_secs(1);

/// The queue for permits of one account. `K` names an object.
#[derive(Clone, Debug)]
pub struct DeleteQueue<K> {
    waiting: VecDeque<QueuedObject<K>>,
    granted: HashMap<K, Grant>,
    /// How long a grant is kept for an object that does not use it, and how long objects behind it wait for one that looks.
    keep: Duration,
}

#[derive(Clone, Debug)]
struct QueuedObject<K> {
    key: K,
    turn: Turn,
    /// When its turn comes, or when it was told that its turn is near.
    due: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
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
    /// Calls that the object would make now.
    pub calls: usize,
    /// Of these, calls whose ids were looked at.
    pub ready: usize,
}

/// The queue's answer to an object that asks for calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermitAnswer {
    /// This many calls may be made now.
    Now(usize),
    /// The turn is near.
    Soon {
        /// For how many calls the object is to look at its ids.
        calls: usize,
        /// When an object that is ready asks again; any other asks once its look was answered.
        at: Option<Mono>,
    },
    /// Others come first: ask again then, or when called.
    Later(Mono),
    /// The cloud asks for this long without calls.
    Closed(Duration),
}

impl PermitAnswer {
    /// When an object with this answer asks again, if nothing wakes it before.
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

    /// Calls granted to an object that it has not used; 0 while the cloud asks for no calls.
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
        let (turn, due, answer) = if let Some(closed) = closed {
            (Turn::Behind, now + closed, PermitAnswer::Closed(closed))
        } else if want.ready > 0 {
            let ahead = before.filter(|p| p.turn == Turn::Ready && now <= p.due + LATE).count();
            let granted = if ahead == 0 { rate.take(want.ready.min(share), now) } else { 0 };
            if granted > 0 {
                self.waiting.remove(index);
                self.granted.insert(key.clone(), Grant { calls: granted, until: now + self.keep });
                return PermitAnswer::Now(granted);
            }
            let mut at = rate.due(ahead + 1, now);
            if ahead > 0 {
                // The first object has not come yet: asking again at once would bring nothing new.
                at = at.max(now + AFTER_OTHERS);
            }
            let near = at - now <= NEAR;
            (
                Turn::Ready,
                at,
                if near { PermitAnswer::Soon { calls, at: Some(at) } } else { PermitAnswer::Later(at) },
            )
        } else {
            let comes = rate.due(1 + before.filter(|p| now <= p.due + self.keep).count(), now);
            let since = self.waiting.get(index).filter(|p| p.turn == Turn::Near).map(|p| p.due);
            match (comes - now).checked_sub(NEAR).filter(|early| !early.is_zero()) {
                None => (Turn::Near, since.unwrap_or(now), PermitAnswer::Soon { calls, at: None }),
                Some(early) => (Turn::Behind, now + early, PermitAnswer::Later(now + early)),
            }
        };
        match self.waiting.get_mut(index) {
            Some(place) => (place.turn, place.due) = (turn, due),
            None => self.waiting.push_back(QueuedObject { key: key.clone(), turn, due }),
        }
        answer
    }

    /// The number of objects that wait, and of those that hold a grant.
    #[must_use]
    pub fn entries(&self) -> usize {
        let Self { waiting, granted, keep: _ } = self;
        waiting.len() + granted.len()
    }

    /// When a waiting object goes on: with ids to send, when its turn comes; with its turn near, as soon as it has looked at
    /// them. `None` for any other.
    #[must_use]
    pub fn goes_on(&self, key: &K) -> Option<Mono> {
        let place = self.waiting.iter().find(|place| place.key == *key)?;
        (place.turn != Turn::Behind).then_some(place.due)
    }

    /// Calls that each object may make in a row, at least one: an equal share of the calls due while a turn is near.
    fn share(&self, index: usize, rate: &mut Rate, now: Mono) -> usize {
        let waiting = self.waiting.len() + usize::from(index == self.waiting.len());
        (rate.within(NEAR, now) / waiting).max(1)
    }

    /// Objects whose turn has come near since they were told to wait.
    pub fn called(&mut self, rate: &mut Rate, now: Mono) -> Vec<K> {
        let (mut ahead, mut called) = (0, Vec::new());
        for place in &mut self.waiting {
            if rate.due(ahead + 1, now) - now > NEAR {
                break;
            }
            if place.turn == Turn::Behind {
                (place.turn, place.due) = (Turn::Near, now);
                called.push(place.key.clone());
            }
            ahead += usize::from(now <= place.due + self.keep);
        }
        called
    }

    /// Enters that an object makes `calls` of the calls granted to it; the rest goes back.
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
