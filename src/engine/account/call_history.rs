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
mod tests;
