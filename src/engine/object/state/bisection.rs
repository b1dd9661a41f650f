//! Bisection: finds the ids for which the cloud refuses a batch without naming them.
//!
//! A refused batch is halved until each such id is alone. A batch whose outcome stays unknown while
//! other calls are accepted is halved too. All of this is memory only: after a restart the batch is
//! sent whole, refused once more, and halved again.
//!
//! Each id of a call was read alive less than a minute before the call left. So an id that is
//! refused alone, while the account's other calls are accepted, is in a state that allows no
//! deletion now: it is sent again, alone, as often as attempts allow.
//!
//! An id that cannot be sent for a while leaves the bisection, so that the others are judged without
//! it. It is sent alone, and judged, when it can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::engine::{
    account::{batch_size::TooLarge, outage::Evidence},
    id::InstanceId,
    outcome::CloudMessage,
    settings::UNKNOWN_LIMIT,
    time::Mono,
};

/// What is known of the refused batches of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bisection {
    /// Parts of halved batches, each sent in one call.
    parts: Vec<Vec<InstanceId>>,
    /// Ids that are sent alone, each with the number of accepted calls that the account had before
    /// the one that proves its request good.
    alone: BTreeMap<InstanceId, u64>,
    /// The refused batch that is being halved. Only one at a time: if its request is bad, so is
    /// that of any other.
    halved: Option<HalvedBatch>,
    /// Ids of other refused batches. They are sent again, whole, once the batch in `halved` is
    /// resolved.
    waiting: BTreeSet<InstanceId>,
    /// How often a call that names the id was left unknown while other calls were accepted.
    unknown: BTreeMap<InstanceId, Unknown>,
    /// How many accepted calls the account had when the request was found bad.
    bad_request_at: Option<u64>,
    /// A batch that was too large, until the account takes note of it.
    too_large: Option<TooLarge>,
}

/// A batch of two or more ids that was refused without names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HalvedBatch {
    /// Ids that were only refused in a call of several ids, each with the moment since when it
    /// cannot be sent, if it cannot.
    untested: BTreeMap<InstanceId, Option<Mono>>,
    /// Ids that were refused alone.
    refused_alone: BTreeMap<InstanceId, RefusedAlone>,
    /// How many accepted calls the account had when the batch was refused. A later one proves that
    /// the request as such is good.
    accepted_before: u64,
    /// Number of ids in the batch.
    size: usize,
    /// Number of ids in the largest call of this batch that was accepted whole.
    largest_accepted: usize,
    /// Whether every resolved id was accepted. If so, the size alone may have been refused.
    all_accepted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Unknown {
    times: u32,
    accepted: u64,
}

/// The refusal of a call that named one id alone, and did not say why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefusedAlone {
    /// Attempts of the id that were recorded before the call.
    pub attempts: u32,
    /// What the cloud said.
    pub message: CloudMessage,
}

/// What the calls so far show of a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing against the request: smaller calls tell for which ids it is refused.
    Open,
    /// The request is bad, not its ids. No id uses an attempt, and no batch is halved.
    BadRequest,
    /// The request is good, and the cloud refuses these ids. They were read alive, so their state
    /// allows no deletion now.
    Conflicts(BTreeMap<InstanceId, RefusedAlone>),
}

impl Bisection {
    /// The number of ids that are kept, each as often as it is.
    #[must_use]
    pub fn entries(&self) -> usize {
        let Self { parts, alone, halved, waiting, unknown, bad_request_at: _, too_large: _ } = self;
        let halved = halved.iter().map(|halved| halved.untested.len() + halved.refused_alone.len());
        parts.iter().map(Vec::len).chain(halved).sum::<usize>() + alone.len() + waiting.len() + unknown.len()
    }

    /// Notes that a call was refused without names; `attempts` are those of its first id before
    /// the call. An accepted call of the account since `recent` proves that the request of a batch
    /// of one is good.
    pub fn refused(
        &mut self,
        ids: &[InstanceId],
        (attempts, message): (u32, &CloudMessage),
        evidence: Evidence,
        recent: Mono,
    ) -> Finding {
        let refusal = || RefusedAlone { attempts, message: message.clone() };
        if let [id] = ids
            && let Some(accepted_before) = self.alone.get(id).copied()
            && evidence.accepted > accepted_before
        {
            return self.judge([(*id, refusal())].into(), accepted_before, evidence);
        }
        if self.bad_request_at == Some(evidence.accepted) {
            return Finding::BadRequest;
        }
        self.bad_request_at = None;
        match (&mut self.halved, ids) {
            (Some(halved), _) if !ids.iter().any(|id| halved.untested.contains_key(id)) => {
                self.waiting.extend(ids);
                return Finding::Open;
            }
            (Some(halved), [id]) => {
                halved.untested.remove(id);
                halved.refused_alone.insert(*id, refusal());
                self.leave_parts(ids);
            }
            (None, [id]) => {
                self.leave_parts(ids);
                let lately = u64::from(evidence.since(recent));
                let accepted_before = evidence.accepted.saturating_sub(lately);
                return self.judge([(*id, refusal())].into(), accepted_before, evidence);
            }
            (Some(_), _) => self.halve(ids),
            (None, _) => {
                self.halved = Some(HalvedBatch {
                    untested: ids.iter().map(|id| (*id, None)).collect(),
                    refused_alone: BTreeMap::new(),
                    accepted_before: evidence.accepted,
                    size: ids.len(),
                    largest_accepted: 0,
                    all_accepted: true,
                });
                self.halve(ids);
            }
        }
        self.conclude(evidence)
    }

    /// Has these ids sent in two halves from now on.
    pub fn halve(&mut self, ids: &[InstanceId]) {
        self.leave_parts(ids);
        let (first, second) = ids.split_at(ids.len().div_ceil(2));
        self.parts.extend([first, second].into_iter().filter(|half| !half.is_empty()).map(<[_]>::to_vec));
    }

    /// Notes that the cloud accepted these ids of a call that named `size` ids.
    pub fn accepted(&mut self, ids: &[InstanceId], size: usize, evidence: Evidence) -> Finding {
        self.leave_parts(ids);
        for id in ids {
            self.alone.remove(id);
            self.unknown.remove(id);
        }
        if let Some(halved) = &mut self.halved {
            let own = ids.iter().filter_map(|id| halved.untested.remove(id)).count();
            if own > 0 && ids.len() == size {
                halved.largest_accepted = halved.largest_accepted.max(size);
            }
        }
        self.conclude(evidence)
    }

    /// Ends the bisection: no call is made any more.
    pub fn stop(&mut self) {
        *self = Self::default();
    }

    /// Notes that a refusal named these ids of a call, and by that said something about each of
    /// them.
    pub fn named(&mut self, named: &[InstanceId], evidence: Evidence) -> Finding {
        self.leave_parts(named);
        self.resolve(|id| named.contains(id));
        self.conclude(evidence)
    }

    /// Notes that the outcome of a call is unknown.
    pub fn unknown(&mut self, ids: &[InstanceId], evidence: Evidence) {
        for id in ids {
            let fresh = Unknown { times: 0, accepted: evidence.accepted };
            let entry = self.unknown.entry(*id).or_insert(fresh);
            if entry.times == 0 || evidence.accepted > entry.accepted {
                entry.times += 1;
            }
            entry.accepted = evidence.accepted;
        }
        if ids.len() > 1 && ids.iter().any(|id| self.too_often_unknown(*id)) {
            for id in ids {
                self.unknown.remove(id);
            }
            self.halve(ids);
        }
    }

    /// Whether the outcome of calls that name the id was unknown so often that it is halved, or, if
    /// the id is alone, not sent again.
    #[must_use]
    pub fn too_often_unknown(&self, id: InstanceId) -> bool {
        self.unknown.get(&id).is_some_and(|unknown| unknown.times >= UNKNOWN_LIMIT)
    }

    /// Whether a batch is being halved, or ids are sent apart.
    #[must_use]
    pub fn active(&self) -> bool {
        let sent_apart = !self.parts.is_empty() || !self.alone.is_empty();
        sent_apart || self.halved.is_some() || !self.waiting.is_empty()
    }

    /// Takes note of the ids that have not ended and that no look showed shutting down. What is
    /// known of all other ids is better than any refusal.
    pub fn observe(&mut self, open: &BTreeSet<InstanceId>, evidence: Evidence) -> Finding {
        for part in &mut self.parts {
            part.retain(|id| open.contains(id));
        }
        self.parts.retain(|part| !part.is_empty());
        self.alone.retain(|id, _| open.contains(id));
        self.waiting.retain(|id| open.contains(id));
        self.resolve(|id| !open.contains(id));
        self.conclude(evidence)
    }

    fn resolve(&mut self, resolved: impl Fn(&InstanceId) -> bool) {
        if let Some(halved) = &mut self.halved {
            let before = halved.untested.len() + halved.refused_alone.len();
            halved.untested.retain(|id, _| !resolved(id));
            halved.refused_alone.retain(|id, _| !resolved(id));
            halved.all_accepted &= halved.untested.len() + halved.refused_alone.len() == before;
        }
    }

    /// Takes the ids that cannot be sent for `patience` out of the halved batch. `unsendable` are
    /// those that cannot be sent now.
    pub fn leave_out(
        &mut self,
        unsendable: &BTreeSet<InstanceId>,
        patience: Duration,
        evidence: Evidence,
        now: Mono,
    ) -> Finding {
        let Some(halved) = &mut self.halved else { return Finding::Open };
        for (id, since) in &mut halved.untested {
            *since = unsendable.contains(id).then(|| since.unwrap_or(now));
        }
        let over = |since: &Option<Mono>| since.is_some_and(|since| now - since >= patience);
        let left: Vec<_> = halved.untested.extract_if(.., |_, since| over(since)).map(|(id, _)| id).collect();
        halved.all_accepted &= left.is_empty();
        self.alone.extend(left.iter().map(|id| (*id, halved.accepted_before)));
        self.leave_parts(&left);
        self.conclude(evidence)
    }

    /// Whether an id is in the halved batch and was only refused in a call of several ids.
    #[must_use]
    pub fn tests(&self, id: InstanceId) -> bool {
        self.halved.as_ref().is_some_and(|halved| halved.untested.contains_key(&id))
    }

    /// When the first id leaves the halved batch, if it cannot be sent until then.
    #[must_use]
    pub fn leaves_out_at(&self, patience: Duration) -> Option<Mono> {
        let untested = self.halved.iter().flat_map(|halved| halved.untested.values());
        untested.filter_map(|since| *since).min().map(|since| since + patience)
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        self.halved.iter_mut().flat_map(|halved| halved.untested.values_mut()).flatten().for_each(visit);
    }

    fn leave_parts(&mut self, ids: &[InstanceId]) {
        for part in &mut self.parts {
            part.retain(|id| !ids.contains(id));
        }
        self.parts.retain(|part| !part.is_empty());
    }

    /// Ends the search in the halved batch once each of its ids is resolved.
    fn conclude(&mut self, evidence: Evidence) -> Finding {
        let Some(halved) = self.halved.take_if(|halved| halved.untested.is_empty()) else {
            return Finding::Open;
        };
        self.waiting.clear();
        if halved.refused_alone.is_empty() {
            if halved.all_accepted && (1..halved.size).contains(&halved.largest_accepted) {
                self.too_large = Some(TooLarge { size: halved.size, accepted: halved.largest_accepted });
            }
            return Finding::Open;
        }
        self.judge(halved.refused_alone, halved.accepted_before, evidence)
    }

    /// Judges refusals of ids alone: an accepted call more than `accepted_before` proves that the
    /// request is good.
    fn judge(
        &mut self,
        refused_alone: BTreeMap<InstanceId, RefusedAlone>,
        accepted_before: u64,
        evidence: Evidence,
    ) -> Finding {
        if evidence.accepted <= accepted_before {
            self.bad_request_at = Some(evidence.accepted);
            return Finding::BadRequest;
        }
        // Among other ids each would have its call refused.
        self.alone.extend(refused_alone.keys().map(|id| (*id, accepted_before)));
        Finding::Conflicts(refused_alone)
    }

    /// Ids that are sent apart, each part in one call.
    #[must_use]
    pub fn parts(&self) -> Vec<Vec<InstanceId>> {
        let alone = self.alone.keys().map(|id| vec![*id]);
        self.parts.iter().cloned().chain(alone).collect()
    }

    /// Whether an id waits until the halved batch is resolved.
    #[must_use]
    pub fn holds(&self, id: InstanceId) -> bool {
        let alone = |halved: &HalvedBatch| halved.refused_alone.contains_key(&id);
        self.waiting.contains(&id) || self.halved.as_ref().is_some_and(alone)
    }

    /// Takes the batch that was found too large, for the account.
    pub fn take_too_large(&mut self) -> Option<TooLarge> {
        self.too_large.take()
    }
}

#[cfg(test)]
mod tests;
