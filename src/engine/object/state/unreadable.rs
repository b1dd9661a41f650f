//! Unreadable instances: those that looks do not read. Each waits for its own next look, with a backoff of its own, and
//! keeps no other waiting.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use crate::engine::{
    backoff::backoff,
    id::InstanceId,
    outcome::CloudMessage,
    settings::{READ_SIZE, Settings},
    time::Mono,
};

/// An instance that the last look at it did not read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unreadable {
    /// Since when looks have not read it, while they read others.
    pub since: Mono,
    /// How many looks in a row have not read it before the last one.
    failures: u32,
    /// It is not looked at again before this.
    pub retry_at: Mono,
    /// What the cloud or the transport said first.
    pub message: Arc<CloudMessage>,
}

/// How a look ended that did not read every id.
#[derive(Clone, Copy, Debug)]
pub struct Missed<'a> {
    /// What the cloud or the transport said.
    pub message: &'a CloudMessage,
    /// When the look ended.
    pub now: Mono,
    /// Flags of the process.
    pub settings: &'a Settings,
    /// For the jitter of backoffs.
    pub random: u64,
}

/// The unreadable instances of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnreadableIds(BTreeMap<InstanceId, Unreadable>);

impl UnreadableIds {
    /// What is known of an id, if it is unreadable.
    #[must_use]
    pub fn get(&self, id: InstanceId) -> Option<&Unreadable> {
        self.0.get(&id)
    }

    /// Whether all of these ids are unreadable.
    #[must_use]
    pub fn hold_all(&self, ids: &[InstanceId]) -> bool {
        ids.iter().all(|id| self.0.contains_key(id))
    }

    /// Notes the ids that a look missed although it read others.
    pub fn missed(&mut self, ids: &[InstanceId], missed: Missed<'_>) {
        self.enter(ids, usize::MAX, missed);
    }

    /// Notes the ids of a look that read nothing. Of an outage as many are kept as fit into one read: enough to find out
    /// when it is over.
    pub fn nothing_read(&mut self, ids: &[InstanceId], missed: Missed<'_>) {
        self.enter(ids, READ_SIZE, missed);
    }

    fn enter(&mut self, ids: &[InstanceId], most: usize, missed: Missed<'_>) {
        let Missed { message, now, settings, random } = missed;
        let retry_at = |failures| now + backoff(failures, settings.retry_min, settings.retry_max, random);
        let message = Arc::new(message.clone());
        for id in ids {
            let room = self.0.len() < most;
            match self.0.entry(*id) {
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.failures = known.failures.saturating_add(1);
                    known.retry_at = retry_at(known.failures);
                }
                Entry::Vacant(new) if room => {
                    let message = message.clone();
                    new.insert(Unreadable { since: now, failures: 0, retry_at: retry_at(0), message });
                }
                Entry::Vacant(_) => {}
            }
        }
    }

    /// Notes that these ids were read.
    pub fn read(&mut self, ids: &[InstanceId]) {
        for id in ids {
            self.0.remove(id);
        }
    }

    /// Has every id looked at now, as if it had been missed for the first time: an outage is over.
    pub fn start_over(&mut self, now: Mono) {
        for unreadable in self.0.values_mut() {
            (unreadable.since, unreadable.failures, unreadable.retry_at) = (now, 0, now);
        }
    }

    /// Forgets the ids that `keep` does not keep.
    pub fn retain(&mut self, keep: impl Fn(InstanceId) -> bool) {
        self.0.retain(|id, _| keep(*id));
    }

    /// Number of unreadable ids: no more than the object has open ones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every id is readable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        let moments = |unreadable: &mut Unreadable| {
            visit(&mut unreadable.since);
            visit(&mut unreadable.retry_at);
        };
        self.0.values_mut().for_each(moments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::object::tests::case::then;

    fn ids(n: u128) -> Vec<InstanceId> {
        (0..n).map(InstanceId::from_u128).collect()
    }

    fn at<'a>(now: Mono, message: &'a CloudMessage, settings: &'a Settings) -> Missed<'a> {
        Missed { message, now, settings, random: u64::MAX }
    }

    #[test]
    fn each_waits_by_a_backoff_of_its_own_and_keeps_the_first_message() {
        let (mut unreadable, settings) = (UnreadableIds::default(), Settings::default());
        let said = |text: &str| CloudMessage { text: text.to_owned(), ..CloudMessage::default() };
        let mut now = then();
        let mut waits = Vec::new();
        for round in 0..12 {
            unreadable.missed(&ids(1), at(now, &said(&format!("round {round}")), &settings));
            let known = unreadable.get(ids(1)[0]).unwrap();
            assert_eq!((known.since, known.message.text.as_str()), (then(), "round 0"));
            waits.push(known.retry_at - now);
            now = known.retry_at;
        }
        assert!(waits.is_sorted() && waits[0] <= settings.retry_min && waits[11] <= settings.retry_max);
        assert!(waits[11] >= settings.retry_max / 2, "{waits:?}");
        unreadable.missed(&ids(2), at(now, &said("another"), &settings));
        assert!(
            unreadable.get(ids(2)[1]).unwrap().retry_at - now <= settings.retry_min,
            "the other begins anew"
        );
        unreadable.read(&ids(1));
        assert!(unreadable.get(ids(1)[0]).is_none() && !unreadable.is_empty());
    }

    #[test]
    fn of_a_look_that_read_nothing_no_more_is_kept_than_one_read_holds() {
        let (mut unreadable, settings) = (UnreadableIds::default(), Settings::default());
        let message = CloudMessage::default();
        unreadable.nothing_read(&ids(300), at(then(), &message, &settings));
        let kept = |unreadable: &UnreadableIds| {
            ids(500).into_iter().filter(|id| unreadable.get(*id).is_some()).count()
        };
        assert_eq!(kept(&unreadable), READ_SIZE);
        unreadable.missed(&ids(300), at(then(), &message, &settings));
        assert_eq!(kept(&unreadable), 300, "while others are read, all are known");
        assert!(unreadable.hold_all(&ids(300)) && !unreadable.hold_all(&ids(301)));
        unreadable.retain(|id| id < InstanceId::from_u128(7));
        assert_eq!(kept(&unreadable), 7);
    }

    #[test]
    fn after_an_outage_each_is_looked_at_at_once() {
        let (mut unreadable, settings) = (UnreadableIds::default(), Settings::default());
        let message = CloudMessage::default();
        (0..9).for_each(|_| unreadable.missed(&ids(1), at(then(), &message, &settings)));
        let later = then() + settings.retry_max * 2;
        unreadable.start_over(later);
        let known = unreadable.get(ids(1)[0]).unwrap();
        assert_eq!((known.since, known.retry_at), (later, later));
        let mut visited = 0;
        unreadable.moments(&mut |_| visited += 1);
        assert_eq!(visited, 2);
    }
}
