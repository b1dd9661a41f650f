//! What this process knows of the calls that name an id, whichever object they were for.
//!
//! There is one [`CallHistory`] for each endpoint and project. Two objects that name one id must not both send it, and a read
//! that was sent before another object's call ended is no proof for either.
//!
//! Calls and reads of this process are facts. What the record of an object tells of the calls of another process is a claim:
//! anyone who may write a status can forge one. Objects of the same namespace believe it. Those of other namespaces, who may be
//! other tenants, only wait one settle for it, once: then a read shows what is true.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    api::CallKind,
    engine::{
        id::InstanceId,
        outcome::Effect,
        settings::{PATIENCE, Settings},
        state::{Live, Seen},
        time::{Mono, ReadTime},
    },
};

/// The end of the last call that may have had an effect on an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ended {
    /// When the call ended.
    pub at: Mono,
    /// What it may have done.
    pub effect: Effect,
    /// The state that the look before the call showed; `None` if this process made none.
    pub before: Option<Live>,
}

/// What is known of the calls that name one id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LastCall {
    /// A call that names it is being made, with the state that the look before it showed.
    pub in_flight: Option<Live>,
    /// Since that call was claimed, a read showed that the id is on its way or gone.
    pub overtaken: bool,
    /// The last delete call that may have had an effect. A call of another process may end only some time from now.
    pub ended: Option<Ended>,
    /// The same of the calls that power it off.
    pub power_off: Option<Ended>,
    /// When the last read was sent that showed it shutting down or terminated, or a record was read that says so.
    pub on_its_way: Option<Mono>,
    /// When the last read was sent that did not find it.
    pub not_found: Option<Mono>,
    /// Since when a record of another namespace has claimed a call that names it.
    pub claimed_elsewhere: Option<Mono>,
    /// When the first of an unbroken series of not-found reads was made. A read that finds it breaks the series, and so does
    /// the end of a call that names it, whatever the call came to.
    pub missing_since: Option<ReadTime>,
}

/// How long a series of not-found reads is kept after its last one. Losing it only means that it starts again; but one
/// round of reads, one by one, over an account's missing ids must fit in.
const SERIES_LIFE: Duration = Duration::from_hours(24);

/// What the records of one namespace claim of the calls of other processes that name one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Claims {
    /// When the first of them was heard. A claim that is renewed does not move it.
    first: Mono,
    /// When the last of them was heard.
    last: Mono,
    ended: Option<Ended>,
    power_off: Option<Ended>,
    on_its_way: Option<Mono>,
    /// One of them was heard since a call that names the id was claimed.
    overtakes: bool,
}

/// What this process knows of the ids of one endpoint and project. An id without knowledge has no entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallHistory {
    by_id: BTreeMap<InstanceId, LastCall>,
    /// By id, and by the namespace of the objects whose records claim it. Few ids have any.
    claims: BTreeMap<(InstanceId, Arc<str>), Claims>,
    swept: Mono,
}

impl CallHistory {
    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        visit(&mut self.swept);
        for call in self.by_id.values_mut() {
            let LastCall {
                in_flight: _,
                overtaken: _,
                ended,
                power_off,
                on_its_way,
                not_found,
                claimed_elsewhere: _,
                missing_since,
            } = call;
            let ends = [ended.as_mut(), power_off.as_mut()];
            let ended = ends.into_iter().flatten().map(|ended| &mut ended.at);
            let series = missing_since.as_mut().map(|ReadTime { sent, answered }| [sent, answered]);
            series.into_iter().flatten().for_each(&mut *visit);
            let reads = [on_its_way.as_mut(), not_found.as_mut()];
            ended.into_iter().chain(reads.into_iter().flatten()).for_each(&mut *visit);
        }
        for claims in self.claims.values_mut() {
            let Claims { first, last, ended, power_off, on_its_way, overtakes: _ } = claims;
            let ends = [ended.as_mut(), power_off.as_mut()];
            let ended = ends.into_iter().flatten().map(|ended| &mut ended.at);
            [first, last].into_iter().chain(ended).chain(on_its_way.as_mut()).for_each(&mut *visit);
        }
    }

    /// What is known of an id, for an object in this namespace.
    #[must_use]
    pub fn get(&self, id: InstanceId, namespace: &str) -> LastCall {
        let mut call = self.own(id);
        if self.claims.is_empty() {
            return call;
        }
        let of_id = (id, Arc::from(""))..;
        for ((_, claimed_by), claims) in self.claims.range(of_id).take_while(|((other, _), _)| *other == id) {
            if **claimed_by == *namespace {
                call.ended = latest(call.ended, claims.ended);
                call.power_off = latest(call.power_off, claims.power_off);
                call.on_its_way = call.on_its_way.max(claims.on_its_way);
            } else {
                call.claimed_elsewhere = call.claimed_elsewhere.max(Some(claims.first));
            }
        }
        call
    }

    /// What this process has done and seen itself.
    fn own(&self, id: InstanceId) -> LastCall {
        self.by_id.get(&id).copied().unwrap_or_default()
    }

    /// Claims the ids of a call about to be made, each with the state that its look showed. If a call that names one of them
    /// is being made, it claims none and returns false.
    pub fn claim(&mut self, ids: &[(InstanceId, Live)]) -> bool {
        if ids.iter().any(|(id, _)| self.own(*id).in_flight.is_some()) {
            return false;
        }
        for (id, live) in ids {
            self.by_id.entry(*id).or_default().in_flight = Some(*live);
        }
        true
    }

    /// Whether nothing that came in since these ids were claimed, for an object in this namespace, speaks against sending them.
    /// To be asked as the last thing before the call leaves.
    #[must_use]
    pub fn may_leave(&self, ids: &[InstanceId], namespace: &Arc<str>) -> bool {
        let overtakes = |id| self.claims.get(&(id, namespace.clone())).is_some_and(|claims| claims.overtakes);
        !ids.iter().any(|id| self.own(*id).overtaken || overtakes(*id))
    }

    /// Gives the ids of a call of this kind back. `effect` says what the call may have done to an id; `None` for a definite refusal,
    /// which leaves what was known before.
    pub fn release(
        &mut self,
        kind: CallKind,
        ids: &[InstanceId],
        at: Mono,
        effect: impl Fn(InstanceId) -> Option<Effect>,
    ) {
        for id in ids {
            let call = self.by_id.entry(*id).or_default();
            let before = call.in_flight.take();
            (call.missing_since, call.overtaken) = (None, false);
            if let Some(effect) = effect(*id) {
                let ended = match kind {
                    CallKind::Delete => &mut call.ended,
                    CallKind::PowerOff => &mut call.power_off,
                };
                *ended = Some(Ended { at, effect, before });
            }
            if *call == LastCall::default() {
                self.by_id.remove(id);
            }
            let of_id = (*id, Arc::from(""))..;
            let claims = self.claims.range_mut(of_id).take_while(|((other, _), _)| other == id);
            claims.for_each(|(_, claims)| claims.overtakes = false);
        }
    }

    /// Enters a read that was made at this time.
    pub fn saw(&mut self, id: InstanceId, seen: &Seen, read: impl Into<ReadTime>) {
        let read = read.into();
        let sent = read.sent;
        match seen {
            Seen::NotFound => {
                let call = self.by_id.entry(id).or_default();
                call.not_found = call.not_found.max(Some(sent));
                call.missing_since = call.missing_since.or(Some(read));
                call.overtaken |= call.in_flight.is_some();
            }
            Seen::ShuttingDown | Seen::Terminated => {
                self.found(id, sent);
                let call = self.by_id.entry(id).or_default();
                call.on_its_way = call.on_its_way.max(Some(sent));
                call.overtaken |= call.in_flight.is_some();
            }
            Seen::Live(_) | Seen::Other(_) | Seen::Unreadable => self.found(id, sent),
        }
    }

    /// Breaks a series of not-found reads that began before this read.
    fn found(&mut self, id: InstanceId, sent: Mono) {
        if let Some(call) = self.by_id.get_mut(&id) {
            call.missing_since = call.missing_since.filter(|since| since.sent > sent);
        }
    }

    /// Enters a call of this kind that another process made, as the record of an object in this namespace tells of it.
    pub fn heard_call(
        &mut self,
        id: InstanceId,
        namespace: &Arc<str>,
        (kind, heard): (CallKind, Ended),
        now: Mono,
        settings: &Settings,
    ) {
        if heard.at + settings.settle * PATIENCE < now {
            return;
        }
        let in_flight = self.own(id).in_flight.is_some();
        let claims = self.claims(id, namespace, now);
        let known = match kind {
            CallKind::Delete => &mut claims.ended,
            CallKind::PowerOff => &mut claims.power_off,
        };
        let ended = latest(*known, Some(heard));
        claims.overtakes |= in_flight && *known != ended;
        *known = ended;
    }

    /// Enters that the record of an object in this namespace says that an id is on its way, where no call is known to have
    /// named it.
    pub fn heard_on_its_way(&mut self, id: InstanceId, namespace: &Arc<str>, now: Mono) {
        let in_flight = self.own(id).in_flight.is_some();
        let claims = self.claims(id, namespace, now);
        claims.overtakes |= in_flight;
        claims.on_its_way = claims.on_its_way.max(Some(now));
    }

    fn claims(&mut self, id: InstanceId, namespace: &Arc<str>, now: Mono) -> &mut Claims {
        let (ended, power_off, on_its_way, overtakes) = (None, None, None, false);
        let new = Claims { first: now, last: now, ended, power_off, on_its_way, overtakes };
        let claims = self.claims.entry((id, namespace.clone())).or_insert(new);
        claims.last = claims.last.max(now);
        claims
    }

    /// The number of ids that something is known of, and of claims.
    #[must_use]
    pub fn entries(&self) -> usize {
        let Self { by_id, claims, swept: _ } = self;
        by_id.len() + claims.len()
    }

    /// Whether it holds no call and nothing that is on its way. What is left then, series of not-found reads, may be lost: they
    /// begin again.
    #[must_use]
    pub fn knows_no_call(&self) -> bool {
        let over = |call: &LastCall| {
            let LastCall { in_flight, ended, power_off, on_its_way, .. } = call;
            in_flight.is_none() && ended.is_none() && power_off.is_none() && on_its_way.is_none()
        };
        self.claims.is_empty() && self.by_id.values().all(over)
    }

    /// Forgets what no rule needs any more. [`PATIENCE`] × settle after a call any live state allows another, so what is older
    /// says nothing; the margin covers a call's own time.
    pub fn sweep(&mut self, now: Mono, settings: &Settings) {
        let life = settings.settle * (PATIENCE + 1) + settings.request_timeout;
        if now - self.swept < settings.settle {
            return;
        }
        self.swept = now;
        // A call of another process may end only some time from now.
        self.claims.retain(|_, claims| {
            let ends = [claims.ended, claims.power_off].into_iter().flatten().map(|ended| ended.at);
            let last = ends.fold(claims.last, Mono::max);
            now - last < life
        });
        self.by_id.retain(|_, call| {
            let younger = |at: Option<Mono>, life| at.is_some_and(|at| now - at < life);
            if !younger(call.ended.map(|ended| ended.at), life) && !younger(call.on_its_way, life) {
                (call.ended, call.on_its_way) = (None, None);
            }
            call.power_off = call.power_off.filter(|ended| now - ended.at < life);
            let series = call.missing_since.is_some() && younger(call.not_found, SERIES_LIFE);
            if !series && !younger(call.not_found, life) {
                (call.not_found, call.missing_since) = (None, None);
            }
            *call != LastCall::default()
        });
    }
}

/// The later of two calls that may have had an effect. If one was accepted, so was the id.
fn latest(own: Option<Ended>, claimed: Option<Ended>) -> Option<Ended> {
    let (Some(known), Some(heard)) = (own, claimed) else { return own.or(claimed) };
    let effect = match (known.effect, heard.effect) {
        (Effect::Unknown, Effect::Unknown) => Effect::Unknown,
        _ => Effect::Accepted,
    };
    Some(Ended { at: known.at.max(heard.at), effect, before: known.before })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::object::tests::case::{MICRO, just_before, then};

    fn id() -> InstanceId {
        InstanceId::from_u128(1)
    }

    fn fleet() -> Arc<str> {
        "fleet".into()
    }

    fn is_empty(calls: &CallHistory) -> bool {
        calls.by_id.is_empty() && calls.claims.is_empty()
    }

    fn ended(at: Mono, effect: Effect, before: Option<Live>) -> Ended {
        Ended { at, effect, before }
    }

    #[test]
    fn s17_an_id_is_in_one_call_at_a_time_whatever_object_names_it() {
        let other = InstanceId::from_u128(2);
        let mut calls = CallHistory::default();
        assert!(calls.claim(&[(id(), Live::Running)]));
        assert!(!calls.claim(&[(other, Live::Running), (id(), Live::Stopped)]));
        assert_eq!(calls.get(id(), "fleet").in_flight, Some(Live::Running), "as the first claimed it");
        assert_eq!(calls.get(other, "fleet"), LastCall::default(), "all or none");
        calls.release(CallKind::Delete, &[id()], then(), |_| None);
        assert!(calls.claim(&[(other, Live::Running), (id(), Live::Stopped)]));
    }

    #[test]
    fn s17_what_comes_in_between_decision_and_departure_stops_the_call() {
        type Heard = fn(&mut CallHistory, Ended, &Settings);
        let settings = Settings::default();
        let heard = |effect| ended(then(), effect, None);
        let table: [(Heard, bool); 9] = [
            (|calls, _, _| calls.saw(id(), &Seen::ShuttingDown, then()), false),
            (|calls, _, _| calls.saw(id(), &Seen::Terminated, then()), false),
            (|calls, _, _| calls.saw(id(), &Seen::NotFound, then()), false),
            (|calls, _, _| calls.heard_on_its_way(id(), &fleet(), then()), false),
            (
                |calls, heard, settings| {
                    calls.heard_call(id(), &fleet(), (CallKind::Delete, heard), then(), settings);
                },
                false,
            ),
            (|calls, _, _| calls.saw(id(), &Seen::Live(Live::Running), then()), true),
            (|calls, _, _| calls.saw(id(), &Seen::Unreadable, then()), true),
            (|calls, _, _| calls.saw(InstanceId::from_u128(2), &Seen::Terminated, then()), true),
            (|_, _, _| {}, true),
        ];
        for (n, (hear, leaves)) in table.into_iter().enumerate() {
            let mut calls = CallHistory::default();
            hear(&mut calls, heard(Effect::Unknown), &settings);
            assert!(calls.claim(&[(id(), Live::Running)]));
            assert!(calls.may_leave(&[id()], &fleet()), "{n}: the decision knew it");
            let mut calls = CallHistory::default();
            assert!(calls.claim(&[(id(), Live::Running)]));
            hear(&mut calls, heard(Effect::Unknown), &settings);
            assert_eq!(calls.may_leave(&[id()], &fleet()), leaves, "{n}");
            calls.release(CallKind::Delete, &[id()], then(), |_| None);
            assert!(calls.may_leave(&[id()], &fleet()), "{n}: it was about that call");
        }
        let mut calls = CallHistory::default();
        calls.heard_call(id(), &fleet(), (CallKind::Delete, heard(Effect::Unknown)), then(), &settings);
        assert!(calls.claim(&[(id(), Live::Running)]));
        calls.heard_call(id(), &fleet(), (CallKind::Delete, heard(Effect::Unknown)), then(), &settings);
        assert!(calls.may_leave(&[id()], &fleet()), "the record of another object says it again");
        calls.heard_call(id(), &fleet(), (CallKind::Delete, heard(Effect::Accepted)), then(), &settings);
        assert!(!calls.may_leave(&[id()], &fleet()));
        assert!(calls.may_leave(&[id()], &Arc::from("elsewhere")), "no namespace stops calls of another");
        calls.release(CallKind::Delete, &[id()], then(), |_| None);
        assert!(calls.may_leave(&[id()], &fleet()));
    }

    #[test]
    fn histories_that_say_the_same_are_one_state() {
        let digest = |calls: &CallHistory| {
            let mut hasher = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(calls, &mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        let mut calls = CallHistory::default();
        let nothing = digest(&calls);
        assert!(calls.claim(&[(id(), Live::Running)]));
        assert_ne!(digest(&calls), nothing);
        calls.release(CallKind::Delete, &[id()], then(), |_| None);
        assert_eq!(digest(&calls), nothing, "nothing is known of it");
        calls.saw(id(), &Seen::ShuttingDown, then());
        assert_ne!(digest(&calls), nothing);
    }

    #[test]
    fn it_is_swept_once_in_settle() {
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
                calls.release(CallKind::Delete, &[id()], at, |_| Some(effect));
            }
            for _ in 0..2 {
                calls.heard_call(
                    id(),
                    &fleet(),
                    (CallKind::Delete, ended(at, effect, None)),
                    then(),
                    &Settings::default(),
                );
                assert_eq!(calls.get(id(), "fleet").ended, Some(expected), "{own:?} {effect:?}");
            }
        }
    }

    #[test]
    fn a_call_that_was_over_long_ago_is_not_heard_of() {
        let settings = Settings::default();
        let last = then() + settings.settle * PATIENCE;
        for (now, heard) in [(last, true), (last + MICRO, false)] {
            let mut calls = CallHistory::default();
            calls.heard_call(
                id(),
                &fleet(),
                (CallKind::Delete, ended(then(), Effect::Accepted, None)),
                now,
                &settings,
            );
            assert_eq!(calls.get(id(), "fleet").ended.is_some(), heard);
        }
    }

    type Happens<'a> = &'a dyn Fn(&mut CallHistory);

    #[test]
    fn a_call_is_kept_for_as_long_as_a_rule_may_ask_for_it() {
        let settings = Settings::default();
        let life = settings.settle * (PATIENCE + 1) + settings.request_timeout;
        let over = then() + life;
        let read = |seen: Seen| move |calls: &mut CallHistory| calls.saw(id(), &seen, then());
        let call = |calls: &mut CallHistory| {
            calls.heard_call(
                id(),
                &fleet(),
                (CallKind::Delete, ended(then(), Effect::Unknown, None)),
                then(),
                &settings,
            );
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
            ("on its way by the record", &|calls| calls.heard_on_its_way(id(), &fleet(), then()), false),
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
                let only_series = name.starts_with("a series") || name.starts_with("found");
                assert_eq!(calls.knows_no_call(), only_series || !kept, "{name}");
            }
        }
    }

    #[test]
    fn x25_what_another_namespace_claims_counts_from_its_first_claim_and_is_not_renewed() {
        let settings = Settings::default();
        let mut calls = CallHistory::default();
        let mut now = then();
        for _ in 0..1_000 {
            calls.heard_call(
                id(),
                &fleet(),
                (CallKind::Delete, ended(now, Effect::Accepted, None)),
                now,
                &settings,
            );
            calls.heard_on_its_way(id(), &fleet(), now);
            calls.sweep(now, &settings);
            let own = calls.get(id(), "fleet");
            assert_eq!((own.ended.map(|call| call.at), own.on_its_way), (Some(now), Some(now)), "its own");
            let expected = LastCall { claimed_elsewhere: Some(then()), ..LastCall::default() };
            assert_eq!(calls.get(id(), "other"), expected);
            now = now + settings.settle;
        }
        assert_eq!(calls.get(InstanceId::from_u128(2), "other"), LastCall::default());
        // What this process did and saw itself, every namespace believes.
        assert!(calls.claim(&[(id(), Live::Running)]));
        calls.release(CallKind::Delete, &[id()], now, |_| Some(Effect::Accepted));
        assert_eq!(calls.get(id(), "other").ended.map(|call| call.at), Some(now));
    }
}
