//! What this process knows of the calls that name an id, whichever object's they were.
//!
//! One [`CallHistory`] for each endpoint and project. Two objects that name one id must not both send it, and a read that came
//! before another object's call ended is no proof for either (design §3, rules 3 and 5; property S17).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{Hash, Hasher},
    time::Duration,
};

use crate::engine::{
    id::InstanceId,
    outcome::Effect,
    settings::{PATIENCE, Settings},
    state::{Live, Seen},
    time::Mono,
};

/// The end of the last call that may have had an effect on an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
// An account may have a hundred thousand of them: see `StoredCall`.
#[repr(Rust, packed)]
pub struct Ended {
    /// When the call ended.
    pub at: Mono,
    /// What it may have done.
    pub effect: Effect,
    /// The state that the look before the call showed; none if this process made none.
    pub before: Option<Live>,
}

/// What is known of one id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LastCall {
    /// A call that names it is being made, with the state that the look before it showed.
    pub in_flight: Option<Live>,
    /// The last call that may have had an effect; one of another process may be over only some time from now.
    pub ended: Option<Ended>,
    /// When the last read was sent that showed it shutting down or terminated, or a record was read that says so.
    pub on_its_way: Option<Mono>,
    /// When the last read was sent that did not find it.
    pub not_found: Option<Mono>,
    /// When the first of an unbroken series of not-found reads was sent. A read that finds it breaks the series, and so
    /// does the end of a call that names it, whatever the call came to (design §3, *notFoundPolicy*; property S6).
    pub missing_since: Option<Mono>,
}

/// How long a series of not-found reads is kept after its last one. Losing it only means that it starts again; but one
/// round of reads, one by one, over an account's missing ids must fit in.
const SERIES_LIFE: Duration = Duration::from_hours(24);

/// What is kept of a mark. The rest is kept apart: few ids have any of it at a time, and an account may have a hundred
/// thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
// 18 bytes and not 24: a node of the tree, of eleven marks, fits into 448 bytes, the allocator's next smaller size.
#[repr(Rust, packed)]
struct StoredCall {
    ended: Option<Ended>,
    on_its_way: Option<Mono>,
}

/// Reads of one id that did not find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing {
    last: Mono,
    since: Option<Mono>,
}

/// The marks of one endpoint and project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallHistory {
    /// A tree, since it grows without ever being there twice.
    kept: BTreeMap<InstanceId, StoredCall>,
    in_flight: HashMap<InstanceId, Live>,
    missing: HashMap<InstanceId, Missing>,
    swept: Mono,
}

impl Hash for CallHistory {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // An id without a mark and one whose mark says nothing are the same.
        let ids = self.kept.keys().chain(self.in_flight.keys()).chain(self.missing.keys());
        let ids: BTreeSet<InstanceId> = ids.copied().collect();
        let calls = ids.into_iter().map(|id| (id, self.get(id)));
        let calls: Vec<_> = calls.filter(|(_, last_call)| *last_call != LastCall::default()).collect();
        (calls, self.swept).hash(state);
    }
}

impl CallHistory {
    /// Visits every moment that is kept here.
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        visit(&mut self.swept);
        for kept in self.kept.values_mut() {
            // There is no reference to what is packed.
            let StoredCall { mut ended, mut on_its_way } = *kept;
            if let Some(ended) = &mut ended {
                let mut at = ended.at;
                visit(&mut at);
                ended.at = at;
            }
            on_its_way.iter_mut().for_each(&mut *visit);
            *kept = StoredCall { ended, on_its_way };
        }
        for Missing { last, since } in self.missing.values_mut() {
            std::iter::once(last).chain(since).for_each(&mut *visit);
        }
    }

    /// What is known of an id.
    #[must_use]
    pub fn get(&self, id: InstanceId) -> LastCall {
        let StoredCall { ended, on_its_way } = self.kept.get(&id).copied().unwrap_or_default();
        let in_flight = self.in_flight.get(&id).copied();
        let missing = self.missing.get(&id);
        let (not_found, missing_since) = (missing.map(|m| m.last), missing.and_then(|m| m.since));
        LastCall { in_flight, ended, on_its_way, not_found, missing_since }
    }

    /// Claims the ids of a call about to be made, each with the state that its look showed. Nothing is claimed, and
    /// false returned, if a call that names one of them is being made.
    pub fn claim(&mut self, ids: &[(InstanceId, Live)]) -> bool {
        if ids.iter().any(|(id, _)| self.get(*id).in_flight.is_some()) {
            return false;
        }
        self.in_flight.extend(ids.iter().copied());
        true
    }

    /// Gives the ids of a call back. `effect` says what the call may have done to an id; none for a definite refusal,
    /// which leaves what was known before.
    pub fn release(&mut self, ids: &[InstanceId], at: Mono, effect: impl Fn(InstanceId) -> Option<Effect>) {
        for id in ids {
            let before = self.in_flight.remove(id);
            if let Some(effect) = effect(*id) {
                self.kept.entry(*id).or_default().ended = Some(Ended { at, effect, before });
            }
            if let Some(missing) = self.missing.get_mut(id) {
                missing.since = None;
            }
        }
    }

    /// Notes a read that was sent at this time.
    pub fn saw(&mut self, id: InstanceId, seen: &Seen, sent: Mono) {
        if *seen != Seen::NotFound
            && let Some(missing) = self.missing.get_mut(&id)
        {
            missing.since = missing.since.filter(|since| *since > sent);
        }
        match seen {
            Seen::ShuttingDown | Seen::Terminated => {
                let last_call = self.kept.entry(id).or_default();
                last_call.on_its_way = last_call.on_its_way.max(Some(sent));
            }
            Seen::NotFound => {
                let missing = self.missing.entry(id).or_insert(Missing { last: sent, since: None });
                missing.last = missing.last.max(sent);
                missing.since = missing.since.or(Some(sent));
            }
            Seen::Live(_) | Seen::Other(_) | Seen::Unreadable => {}
        }
    }

    /// Notes a call that another process made, as the record of an object tells of it.
    pub fn heard_call(&mut self, id: InstanceId, heard: Ended, now: Mono, settings: &Settings) {
        if heard.at + settings.settle * PATIENCE < now {
            return;
        }
        let last_call = self.kept.entry(id).or_default();
        let known = last_call.ended.unwrap_or(heard);
        let effect = match (known.effect, heard.effect) {
            (Effect::Unknown, Effect::Unknown) => Effect::Unknown,
            _ => Effect::Accepted,
        };
        last_call.ended = Some(Ended { at: known.at.max(heard.at), effect, before: known.before });
    }

    /// Notes that the record of an object, read now, says of an id that no call is known to have named that it is on its way.
    pub fn heard_on_its_way(&mut self, id: InstanceId, now: Mono) {
        let last_call = self.kept.entry(id).or_default();
        last_call.on_its_way = last_call.on_its_way.max(Some(now));
    }

    /// Forgets what no rule needs any more. After [`PATIENCE`] × settle any live state allows a call again, so a mark
    /// older than that says nothing; the margin covers a call's own time.
    pub fn sweep(&mut self, now: Mono, settings: &Settings) {
        let life = settings.settle * (PATIENCE + 1) + settings.request_timeout;
        if now - self.swept < settings.settle {
            return;
        }
        self.swept = now;
        self.kept.retain(|_, last_call| {
            last_call.ended.is_some_and(|e| now - e.at < life)
                || last_call.on_its_way.is_some_and(|at| now - at < life)
        });
        self.missing.retain(|_, missing| {
            let age = now - missing.last;
            age < life || (missing.since.is_some() && age < SERIES_LIFE)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::object::tests::case::{MICRO, just_before, then};

    fn id() -> InstanceId {
        InstanceId::from_u128(1)
    }

    fn is_empty(calls: &CallHistory) -> bool {
        calls.kept.is_empty() && calls.in_flight.is_empty() && calls.missing.is_empty()
    }

    fn ended(at: Mono, effect: Effect, before: Option<Live>) -> Ended {
        Ended { at, effect, before }
    }

    #[test]
    fn a_node_of_the_tree_takes_no_more_than_it_must() {
        // std's B-tree: eleven keys and values, a pointer, and two numbers of two bytes.
        const NODE: usize = 11 * (size_of::<InstanceId>() + size_of::<StoredCall>()) + 8 + 4;
        const { assert!(NODE <= 448) };
    }

    #[test]
    fn s17_an_id_is_in_one_call_at_a_time_whatever_object_names_it() {
        let other = InstanceId::from_u128(2);
        let mut calls = CallHistory::default();
        assert!(calls.claim(&[(id(), Live::Running)]));
        assert!(!calls.claim(&[(other, Live::Running), (id(), Live::Stopped)]));
        assert_eq!(calls.get(id()).in_flight, Some(Live::Running), "as the first claimed it");
        assert_eq!(calls.get(other), LastCall::default(), "all or none");
        calls.release(&[id()], then(), |_| None);
        assert!(calls.claim(&[(other, Live::Running), (id(), Live::Stopped)]));
    }

    #[test]
    fn marks_that_say_the_same_are_one_state() {
        let digest = |calls: &CallHistory| {
            let mut hasher = std::hash::DefaultHasher::new();
            calls.hash(&mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        let mut calls = CallHistory::default();
        let nothing = digest(&calls);
        assert!(calls.claim(&[(id(), Live::Running)]));
        assert_ne!(digest(&calls), nothing);
        calls.release(&[id()], then(), |_| None);
        assert_eq!(digest(&calls), nothing, "a mark that says nothing is none");
        calls.saw(id(), &Seen::ShuttingDown, then());
        assert_ne!(digest(&calls), nothing);
    }

    #[test]
    fn marks_are_swept_once_in_settle() {
        let settings = Settings::default();
        let life = settings.settle * (PATIENCE + 1) + settings.request_timeout;
        let read = Mono::at(then().since_start().saturating_sub(life));
        let swept = |at: Mono| {
            let mut calls = CallHistory { swept: then(), ..CallHistory::default() };
            calls.saw(id(), &Seen::ShuttingDown, read);
            calls.sweep(at, &settings);
            is_empty(&calls)
        };
        assert!(!swept(then()), "just done");
        assert!(!swept(just_before(then() + settings.settle)));
        assert!(swept(then() + settings.settle));
        assert!(swept(then() + settings.settle + MICRO));
    }

    #[test]
    fn what_is_heard_of_others_calls_never_weakens_what_is_known() {
        let earlier = Mono::at(Duration::from_secs(990));
        let (unknown, accepted) = (Effect::Unknown, Effect::Accepted);
        let table = [
            (None, (then(), unknown), ended(then(), unknown, None)),
            (None, (then(), accepted), ended(then(), accepted, None)),
            (Some((then(), unknown)), (earlier, unknown), ended(then(), unknown, Some(Live::Running))),
            (Some((earlier, unknown)), (then(), unknown), ended(then(), unknown, Some(Live::Running))),
            (Some((then(), unknown)), (earlier, accepted), ended(then(), accepted, Some(Live::Running))),
            (Some((earlier, accepted)), (then(), unknown), ended(then(), accepted, Some(Live::Running))),
        ];
        for (own, (at, effect), expected) in table {
            let mut calls = CallHistory::default();
            if let Some((at, effect)) = own {
                assert!(calls.claim(&[(id(), Live::Running)]));
                calls.release(&[id()], at, |_| Some(effect));
            }
            for _ in 0..2 {
                calls.heard_call(id(), ended(at, effect, None), then(), &Settings::default());
                assert_eq!(calls.get(id()).ended, Some(expected), "{own:?} {effect:?}");
            }
        }
    }

    #[test]
    fn a_call_that_was_over_long_ago_is_not_heard_of() {
        let settings = Settings::default();
        let last = then() + settings.settle * PATIENCE;
        for (now, heard) in [(last, true), (last + MICRO, false)] {
            let mut calls = CallHistory::default();
            calls.heard_call(id(), ended(then(), Effect::Accepted, None), now, &settings);
            assert_eq!(calls.get(id()).ended.is_some(), heard);
        }
    }

    type Happens<'a> = &'a dyn Fn(&mut CallHistory);

    #[test]
    fn a_mark_is_kept_for_as_long_as_a_rule_may_ask_for_it() {
        let settings = Settings::default();
        let life = settings.settle * (PATIENCE + 1) + settings.request_timeout;
        let over = then() + life;
        let read = |seen: Seen| move |calls: &mut CallHistory| calls.saw(id(), &seen, then());
        let call = |calls: &mut CallHistory| {
            calls.heard_call(id(), ended(then(), Effect::Unknown, None), then(), &settings);
        };
        let flying = |calls: &mut CallHistory| {
            assert!(calls.claim(&[(id(), Live::Running)]));
        };
        let not_found_and_found = |calls: &mut CallHistory| {
            calls.saw(id(), &Seen::NotFound, then());
            calls.saw(id(), &Seen::Live(Live::Running), then() + MICRO);
        };
        let table: [(&str, Happens<'_>, bool); 6] = [
            ("a call that ended", &call, false),
            ("shutting down", &read(Seen::ShuttingDown), false),
            ("on its way by the record", &|calls| calls.heard_on_its_way(id(), then()), false),
            ("found again", &not_found_and_found, false),
            ("a series of not-found reads", &read(Seen::NotFound), true),
            ("a call being made", &flying, true),
        ];
        for (name, happens, longer) in table {
            for (now, kept) in [(just_before(then() + life), true), (over, longer)] {
                let mut calls = CallHistory::default();
                happens(&mut calls);
                calls.sweep(now, &settings);
                assert_eq!(!is_empty(&calls), kept, "{name}");
            }
        }
    }
}
