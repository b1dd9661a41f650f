//! Bisection: finds the bad ids of a batch that the cloud refuses without naming them.
//!
//! A refused batch is halved until each bad id is alone. A batch whose outcome stays unknown while
//! other calls are accepted is halved too. All of this is memory only: after a restart the batch is
//! sent whole, refused once more, and halved again.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::FailureReason,
    engine::{
        account::outage::Evidence, id::InstanceId, outcome::CloudMessage, settings::UNKNOWN_LIMIT, time::Mono,
    },
};

/// What is known of bad ids of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bisection {
    /// Ids that are sent apart from all others, each part in one call.
    parts: Vec<Vec<InstanceId>>,
    /// The refused batch that is being halved. Only one at a time: if its request is bad, so is
    /// that of any other.
    halved: Option<HalvedBatch>,
    /// Ids of other refused batches. They are sent again, whole, once the batch in `halved` is
    /// resolved.
    waiting: BTreeSet<InstanceId>,
    /// Ids given up, and what the cloud said of each.
    given_up: BTreeMap<InstanceId, (FailureReason, CloudMessage)>,
    /// How often a call that names the id was left unknown while other calls were accepted.
    unknown: BTreeMap<InstanceId, Unknown>,
    /// How many accepted calls the account had when the request was found bad.
    bad_request_at: Option<u64>,
    /// A batch size that the endpoint accepts, after it refused a larger batch.
    learned: Option<usize>,
}

/// A batch of two or more ids that was refused without names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HalvedBatch {
    /// Ids that were only refused in a call of several ids.
    untested: BTreeSet<InstanceId>,
    /// Ids that were refused alone, and what the cloud said.
    refused_alone: BTreeMap<InstanceId, CloudMessage>,
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

/// What the calls so far show of a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing against the request: smaller calls tell which ids are bad.
    Open,
    /// The request is bad, not its ids. No id is given up, and no batch is halved.
    BadRequest,
}

impl Bisection {
    /// The number of ids that are kept, each as often as it is.
    #[must_use]
    pub fn entries(&self) -> usize {
        let Self { parts, halved, waiting, given_up, unknown, bad_request_at: _, learned: _ } = self;
        let halved = halved.iter().map(|halved| halved.untested.len() + halved.refused_alone.len());
        parts.iter().map(Vec::len).chain(halved).sum::<usize>()
            + waiting.len()
            + given_up.len()
            + unknown.len()
    }

    /// Notes that a call was refused without names. An accepted call of the account since `recent`
    /// proves that the request of a batch of one is good.
    pub fn refused(
        &mut self,
        ids: &[InstanceId],
        message: &CloudMessage,
        evidence: Evidence,
        recent: Mono,
    ) -> Finding {
        if self.bad_request_at == Some(evidence.accepted) {
            return Finding::BadRequest;
        }
        self.bad_request_at = None;
        match (&mut self.halved, ids) {
            (Some(halved), _) if !ids.iter().any(|id| halved.untested.contains(id)) => {
                self.waiting.extend(ids);
                return Finding::Open;
            }
            (Some(halved), [id]) => {
                halved.untested.remove(id);
                halved.refused_alone.insert(*id, message.clone());
                self.leave_parts(ids);
            }
            (None, [id]) => {
                self.leave_parts(ids);
                let refused_alone = BTreeMap::from([(*id, message.clone())]);
                return self.judge(refused_alone, evidence.since(recent), evidence);
            }
            (Some(_), _) => self.halve(ids),
            (None, _) => {
                self.halved = Some(HalvedBatch {
                    untested: ids.iter().copied().collect(),
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
            self.unknown.remove(id);
        }
        if let Some(halved) = &mut self.halved {
            let own = ids.iter().filter(|id| halved.untested.remove(id)).count();
            if own > 0 && ids.len() == size {
                halved.largest_accepted = halved.largest_accepted.max(size);
            }
        }
        self.conclude(evidence)
    }

    /// Ends the bisection: no call is made any more. Ids that were given up stay so.
    pub fn stop(&mut self) {
        *self = Self { given_up: std::mem::take(&mut self.given_up), ..Self::default() };
    }

    /// Notes that a refusal named these ids of a call, and by that said something about each of
    /// them.
    pub fn named(&mut self, named: &[InstanceId], evidence: Evidence) -> Finding {
        self.leave_parts(named);
        self.resolve(|id| named.contains(id));
        self.conclude(evidence)
    }

    /// Gives an id up.
    pub fn give_up(&mut self, id: InstanceId, reason: FailureReason, message: CloudMessage) {
        self.given_up.insert(id, (reason, message));
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
        !self.parts.is_empty() || self.halved.is_some() || !self.waiting.is_empty()
    }

    /// Takes note of the ids that have not ended and that no look showed shutting down. What is
    /// known of all other ids is better than any refusal.
    pub fn observe(&mut self, open: &BTreeSet<InstanceId>, evidence: Evidence) -> Finding {
        for part in &mut self.parts {
            part.retain(|id| open.contains(id));
        }
        self.parts.retain(|part| !part.is_empty());
        self.waiting.retain(|id| open.contains(id));
        self.resolve(|id| !open.contains(id));
        self.conclude(evidence)
    }

    fn resolve(&mut self, resolved: impl Fn(&InstanceId) -> bool) {
        if let Some(halved) = &mut self.halved {
            let before = halved.untested.len() + halved.refused_alone.len();
            halved.untested.retain(|id| !resolved(id));
            halved.refused_alone.retain(|id, _| !resolved(id));
            halved.all_accepted &= halved.untested.len() + halved.refused_alone.len() == before;
        }
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
                self.learned = Some(halved.largest_accepted);
            }
            return Finding::Open;
        }
        self.judge(halved.refused_alone, evidence.accepted > halved.accepted_before, evidence)
    }

    /// Gives up ids that were refused alone, if the request is proven good.
    fn judge(
        &mut self,
        refused_alone: BTreeMap<InstanceId, CloudMessage>,
        request_is_good: bool,
        evidence: Evidence,
    ) -> Finding {
        if !request_is_good {
            self.bad_request_at = Some(evidence.accepted);
            return Finding::BadRequest;
        }
        for (id, message) in refused_alone {
            self.give_up(id, FailureReason::InvalidRequest, message);
        }
        Finding::Open
    }

    /// Ids that are sent apart, each part in one call.
    #[must_use]
    pub fn parts(&self) -> &[Vec<InstanceId>] {
        &self.parts
    }

    /// Whether an id waits until the halved batch is resolved.
    #[must_use]
    pub fn holds(&self, id: InstanceId) -> bool {
        let alone = |halved: &HalvedBatch| halved.refused_alone.contains_key(&id);
        self.waiting.contains(&id) || self.halved.as_ref().is_some_and(alone)
    }

    /// Ids given up, with the reason and what the cloud said.
    #[must_use]
    pub fn given_up(&self) -> &BTreeMap<InstanceId, (FailureReason, CloudMessage)> {
        &self.given_up
    }

    /// A batch size that the endpoint accepts, if it was found to refuse a larger one and nobody
    /// has taken it yet.
    #[must_use]
    pub fn learned(&self) -> Option<usize> {
        self.learned
    }

    /// Takes that batch size, for the other objects of the endpoint.
    pub fn take_learned(&mut self) -> Option<usize> {
        self.learned.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: usize) -> Vec<InstanceId> {
        (1..=n).map(|i| InstanceId::from_u128(i as u128)).collect()
    }

    /// Sends a batch, and the parts that it is halved into, to a cloud that refuses a call without
    /// names if `refuses` says so. Returns the number of calls and how it ended.
    fn bisect(
        bisection: &mut Bisection,
        batch: &[InstanceId],
        refuses: impl Fn(&[InstanceId]) -> bool,
    ) -> (usize, Finding) {
        let mut evidence = Evidence::default();
        let mut to_send = vec![batch.to_vec()];
        let (mut calls, mut last) = (0, Finding::Open);
        while let Some(call) = to_send.pop() {
            calls += 1;
            last = if refuses(&call) {
                bisection.refused(&call, &CloudMessage::default(), evidence, Mono::START)
            } else {
                evidence.accepted += 1;
                evidence.last = Some(Mono::START);
                bisection.accepted(&call, call.len(), evidence)
            };
            to_send = bisection.parts().to_vec();
        }
        (calls, last)
    }

    #[test]
    fn c01_one_bad_id_costs_at_most_13_calls_at_each_position() {
        for size in 2..=50 {
            for bad in 0..size {
                let all = ids(size);
                let mut bisection = Bisection::default();
                let (calls, _) = bisect(&mut bisection, &all, |call| call.contains(&all[bad]));
                assert!(calls <= 13, "{calls} calls for position {bad} of {size}");
                let found: Vec<_> = bisection.given_up().keys().copied().collect();
                assert_eq!(found, [all[bad]]);
                assert_eq!(bisection.take_learned(), None, "it was an id, not the size");
            }
        }
    }

    #[test]
    fn c01_two_and_three_bad_ids_are_all_found_and_no_other() {
        let all = ids(50);
        for bad in [vec![0, 1], vec![0, 49], vec![24, 25], vec![3, 17, 44], vec![0, 1, 2]] {
            let bad: Vec<_> = bad.into_iter().map(|position| all[position]).collect();
            let mut bisection = Bisection::default();
            let (calls, _) = bisect(&mut bisection, &all, |call| call.iter().any(|id| bad.contains(id)));
            assert!(calls <= 1 + 12 * bad.len(), "{calls}");
            assert!(bisection.given_up().keys().eq(&bad), "{bad:?}");
        }
    }

    #[test]
    fn c01_a_bad_request_is_no_bad_id_and_is_found_once() {
        for size in [1, 2, 7, 50] {
            let all = ids(size);
            let mut bisection = Bisection::default();
            let (calls, end) = bisect(&mut bisection, &all, |_| true);
            assert_eq!((calls, end), (2 * size - 1, Finding::BadRequest), "{size}");
            assert!(bisection.given_up().is_empty(), "nothing is marked");
            let (calls, end) = bisect(&mut bisection, &all, |_| true);
            assert_eq!((calls, end), (1, Finding::BadRequest), "no other batch is split");
            // An accepted call of the account proves that it was not the request.
            let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
            bisection.refused(&all, &CloudMessage::default(), evidence, Mono::START);
            assert_eq!(bisection.parts().is_empty(), size == 1, "{size}");
        }
    }

    #[test]
    fn a_batch_of_one_is_bad_only_if_the_account_had_a_call_accepted_lately() {
        let recent = Mono::at(std::time::Duration::from_secs(100));
        let before = Mono::at(std::time::Duration::from_secs(99));
        for (last, end, marked) in [
            (None, Finding::BadRequest, 0),
            (Some(before), Finding::BadRequest, 0),
            (Some(recent), Finding::Open, 1),
        ] {
            let mut bisection = Bisection::default();
            let evidence = Evidence { accepted: 3, last };
            assert_eq!(
                bisection.refused(&ids(1), &CloudMessage::default(), evidence, recent),
                end,
                "{last:?}"
            );
            assert_eq!(bisection.given_up().len(), marked, "{last:?}");
        }
    }

    #[test]
    fn c02_a_smaller_size_that_is_accepted_throughout_is_learned() {
        let all = ids(50);
        let mut bisection = Bisection::default();
        let (_, _) = bisect(&mut bisection, &all, |call| call.len() > 20);
        assert_eq!(bisection.take_learned(), Some(13));
        assert_eq!(bisection.take_learned(), None);
        assert!(bisection.given_up().is_empty());
    }

    #[test]
    fn other_refused_batches_wait_for_the_one_that_is_halved() {
        let all = ids(100);
        let (first, second) = all.split_at(50);
        let mut bisection = Bisection::default();
        let evidence = Evidence::default();
        bisection.refused(first, &CloudMessage::default(), evidence, Mono::START);
        bisection.refused(second, &CloudMessage::default(), evidence, Mono::START);
        assert!(second.iter().all(|id| bisection.holds(*id)));
        assert_eq!(bisection.parts().len(), 2, "of the first alone");
        let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
        bisection.accepted(&first[..25], 25, evidence);
        bisection.accepted(&first[25..], 25, evidence);
        assert!(!second.iter().any(|id| bisection.holds(*id)), "the first batch is resolved");
    }

    #[test]
    fn an_outcome_left_unknown_five_times_while_others_are_accepted_is_halved_and_an_outage_is_not() {
        let batch = ids(2);
        let mut bisection = Bisection::default();
        let mut evidence = Evidence::default();
        for _ in 0..20 {
            bisection.unknown(&batch, evidence);
        }
        assert!(bisection.parts().is_empty(), "nothing was accepted in between: the cloud was out");
        for _ in 0..3 {
            evidence.accepted += 1;
            bisection.unknown(&batch, evidence);
        }
        assert!(bisection.parts().is_empty());
        evidence.accepted += 1;
        assert!(!bisection.active());
        bisection.unknown(&batch, evidence);
        assert_eq!(bisection.parts(), [vec![batch[0]], vec![batch[1]]]);
        assert!(bisection.active());
        for _ in 0..5 {
            assert!(!bisection.too_often_unknown(batch[0]));
            evidence.accepted += 1;
            bisection.unknown(&batch[..1], evidence);
        }
        assert!(bisection.too_often_unknown(batch[0]));
        assert!(!bisection.too_often_unknown(batch[1]));
    }

    #[test]
    fn an_earlier_acceptance_proves_nothing_about_a_batch_of_several() {
        let recent = Mono::at(std::time::Duration::from_secs(100));
        let evidence = Evidence { accepted: 3, last: Some(recent) };
        let batch = ids(2);
        let mut bisection = Bisection::default();
        let mut refused =
            |ids: &[InstanceId]| bisection.refused(ids, &CloudMessage::default(), evidence, recent);
        assert_eq!(refused(&batch), Finding::Open);
        assert_eq!(refused(&batch[..1]), Finding::Open);
        assert_eq!(refused(&batch[1..]), Finding::BadRequest, "nothing was accepted since the first refusal");
        assert!(bisection.given_up().is_empty());
    }

    #[test]
    fn c02_only_whole_calls_of_the_batch_itself_teach_a_size() {
        let all = ids(90);
        let (batch, foreign) = all.split_at(50);
        let accepted = |n| Evidence { accepted: n, last: Some(Mono::START) };
        let mut bisection = Bisection::default();
        bisection.refused(batch, &CloudMessage::default(), accepted(0), Mono::START);
        bisection.accepted(foreign, foreign.len(), accepted(1));
        bisection.accepted(&batch[..25], 25, accepted(2));
        bisection.accepted(&batch[25..], 25, accepted(3));
        assert_eq!(bisection.take_learned(), Some(25), "not 40");

        let mut bisection = Bisection::default();
        bisection.refused(&batch[..4], &CloudMessage::default(), accepted(0), Mono::START);
        bisection.accepted(&batch[..1], 2, accepted(1));
        for n in 1..4 {
            bisection.accepted(&batch[n..=n], 1, accepted(2));
        }
        assert_eq!(
            bisection.take_learned(),
            Some(1),
            "a call of two that returned one says nothing about two"
        );
    }

    #[test]
    fn a_bisection_that_is_stopped_keeps_only_the_ids_given_up() {
        let all = ids(4);
        let mut bisection = Bisection::default();
        bisection.give_up(all[3], FailureReason::Conflict, CloudMessage::default());
        bisection.refused(&all[..2], &CloudMessage::default(), Evidence::default(), Mono::START);
        bisection.refused(&all[2..3], &CloudMessage::default(), Evidence::default(), Mono::START);
        assert!(bisection.active() && bisection.holds(all[2]) && !bisection.parts().is_empty());
        bisection.stop();
        assert!(!bisection.active() && !bisection.holds(all[2]) && bisection.parts().is_empty());
        assert_eq!(bisection.given_up().keys().copied().collect::<Vec<_>>(), [all[3]]);
    }

    #[test]
    fn ids_with_better_knowledge_leave_the_bisection() {
        let all = ids(6);
        let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
        let mut bisection = Bisection::default();
        bisection.refused(&all[..4], &CloudMessage::default(), Evidence::default(), Mono::START);
        bisection.refused(&all[4..], &CloudMessage::default(), Evidence::default(), Mono::START);
        let open = [all[0], all[2], all[4]].into();
        assert_eq!(bisection.observe(&open, evidence), Finding::Open);
        assert_eq!(bisection.parts(), [vec![all[0]], vec![all[2]]]);
        assert!(bisection.holds(all[4]) && !bisection.holds(all[5]));
        // Of what is left one is accepted and one is gone: the batch is resolved, and no size is
        // learned from it.
        bisection.accepted(&all[..1], 1, evidence);
        assert!(bisection.active());
        bisection.observe(&[all[4]].into(), evidence);
        assert!(!bisection.active());
        assert_eq!(bisection.take_learned(), None);
    }

    #[test]
    fn an_id_that_a_refusal_names_is_not_tested_and_an_id_refused_alone_waits() {
        let all = ids(3);
        let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
        let mut bisection = Bisection::default();
        bisection.refused(&all, &CloudMessage::default(), Evidence::default(), Mono::START);
        bisection.refused(&all[..1], &CloudMessage::default(), evidence, Mono::START);
        assert!(bisection.holds(all[0]), "until the others are tested");
        assert_eq!(bisection.named(&all[1..2], evidence), Finding::Open);
        bisection.accepted(&all[2..], 1, evidence);
        assert_eq!(bisection.given_up().keys().copied().collect::<Vec<_>>(), [all[0]]);
        assert!(!bisection.active());
    }
}
