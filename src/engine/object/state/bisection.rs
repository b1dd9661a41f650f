//! Isolating bad ids (design: *Outcomes of a delete call*): a batch that is refused without names is halved until each bad
//! id is alone; a batch whose outcome stays unknown while others are accepted is halved too.
//!
//! Only memory: a process that starts anew sends the batch whole, is refused once more, and begins again.

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
    /// The refused batch that is being taken apart. One at a time: if its request is bad, so is that of any other.
    trial: Option<Trial>,
    /// Ids of other batches that were refused without names: sent again, whole, after the trial.
    waiting: BTreeSet<InstanceId>,
    /// Ids given up, and what the cloud said.
    verdicts: BTreeMap<InstanceId, (FailureReason, CloudMessage)>,
    /// How often a call that names the id was left unknown while others were accepted.
    unknown: BTreeMap<InstanceId, Unknown>,
    /// The request was found bad when the account had this many accepted calls.
    request_bad_at: Option<u64>,
    /// A size that the endpoint accepts, after it refused a larger one.
    learned: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Trial {
    /// Ids of the batch of which nothing better is known than the refusal.
    unresolved: BTreeSet<InstanceId>,
    /// Those of them that were refused alone.
    alone: BTreeMap<InstanceId, CloudMessage>,
    proof: Proof,
    /// Ids of the batch.
    size: usize,
    /// Ids of the largest call of the trial that was accepted whole.
    largest: usize,
    /// Every id resolved so far was accepted: it may have been the size alone.
    all_accepted: bool,
}

/// What proves that the request as such is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Proof {
    /// A call of the account that was accepted after this many.
    After(u64),
    /// A call of the account that was accepted at or after this moment. Only a batch of one is judged so, and its trial ends
    /// with the refusal that began it: no moment is kept.
    Since(Mono),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Unknown {
    times: u32,
    accepted: u64,
}

/// What a refusal without names leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Smaller calls will tell.
    Isolating,
    /// It is the request that is bad, not the ids: nothing is marked or split.
    Request,
}

impl Bisection {
    /// Notes that a call was refused without names. `recent` is how far back an accepted call still proves that the
    /// request of a batch of one is good.
    pub fn refused(
        &mut self,
        ids: &[InstanceId],
        message: &CloudMessage,
        evidence: Evidence,
        recent: Mono,
    ) -> Refused {
        if self.request_bad_at == Some(evidence.accepted) {
            return Refused::Request;
        }
        self.request_bad_at = None;
        match &self.trial {
            Some(trial) if !ids.iter().any(|id| trial.unresolved.contains(id)) => {
                self.waiting.extend(ids);
                return Refused::Isolating;
            }
            Some(_) => {}
            None => {
                let proof =
                    if ids.len() > 1 { Proof::After(evidence.accepted) } else { Proof::Since(recent) };
                self.trial = Some(Trial {
                    unresolved: ids.iter().copied().collect(),
                    alone: BTreeMap::new(),
                    proof,
                    size: ids.len(),
                    largest: 0,
                    all_accepted: true,
                });
            }
        }
        match (ids, &mut self.trial) {
            ([id], Some(trial)) => {
                trial.alone.insert(*id, message.clone());
                self.leave_parts(ids);
            }
            _ => self.split(ids),
        }
        self.conclude(evidence)
    }

    /// Has these ids sent in two halves from now on.
    pub fn split(&mut self, ids: &[InstanceId]) {
        self.leave_parts(ids);
        let (first, second) = ids.split_at(ids.len().div_ceil(2));
        self.parts.extend([first, second].into_iter().filter(|half| !half.is_empty()).map(<[_]>::to_vec));
    }

    /// Notes that the cloud accepted these ids of a call of this size.
    pub fn accepted(&mut self, ids: &[InstanceId], size: usize, evidence: Evidence) -> Refused {
        self.leave_parts(ids);
        for id in ids {
            self.unknown.remove(id);
        }
        if let Some(trial) = &mut self.trial {
            let own = ids.iter().filter(|id| trial.unresolved.remove(id)).count();
            if own > 0 && ids.len() == size {
                trial.largest = trial.largest.max(size);
            }
        }
        self.conclude(evidence)
    }

    /// Ends every isolation: no call will be made any more. Ids that were given up stay so.
    pub fn stop(&mut self) {
        *self = Self { verdicts: std::mem::take(&mut self.verdicts), ..Self::default() };
    }

    /// Notes that a refusal named these ids of a call, and by that said something about each of them.
    pub fn named(&mut self, named: &[InstanceId], evidence: Evidence) -> Refused {
        self.leave_parts(named);
        self.resolve(|id| named.contains(id));
        self.conclude(evidence)
    }

    /// Gives an id up.
    pub fn give_up(&mut self, id: InstanceId, reason: FailureReason, message: CloudMessage) {
        self.verdicts.insert(id, (reason, message));
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
        if ids.len() > 1 && ids.iter().any(|id| self.often_unknown(*id)) {
            for id in ids {
                self.unknown.remove(id);
            }
            self.split(ids);
        }
    }

    fn often_unknown(&self, id: InstanceId) -> bool {
        self.unknown.get(&id).is_some_and(|unknown| unknown.times >= UNKNOWN_LIMIT)
    }

    /// Whether an id was left unknown so often alone that it is not sent again.
    #[must_use]
    pub fn lost(&self, id: InstanceId) -> bool {
        self.often_unknown(id)
    }

    /// Whether there is anything to be isolated.
    #[must_use]
    pub fn active(&self) -> bool {
        !self.parts.is_empty() || self.trial.is_some() || !self.waiting.is_empty()
    }

    /// Takes note of the ids that have no end yet and that no look showed shutting down: what is known of all others is
    /// better than any refusal.
    pub fn observe(&mut self, open: &BTreeSet<InstanceId>, evidence: Evidence) -> Refused {
        for part in &mut self.parts {
            part.retain(|id| open.contains(id));
        }
        self.parts.retain(|part| !part.is_empty());
        self.waiting.retain(|id| open.contains(id));
        self.resolve(|id| !open.contains(id));
        self.conclude(evidence)
    }

    fn resolve(&mut self, resolved: impl Fn(&InstanceId) -> bool) {
        if let Some(trial) = &mut self.trial {
            let before = trial.unresolved.len();
            trial.unresolved.retain(|id| !resolved(id));
            trial.alone.retain(|id, _| !resolved(id));
            trial.all_accepted &= trial.unresolved.len() == before;
        }
    }

    fn leave_parts(&mut self, ids: &[InstanceId]) {
        for part in &mut self.parts {
            part.retain(|id| !ids.contains(id));
        }
        self.parts.retain(|part| !part.is_empty());
    }

    fn conclude(&mut self, evidence: Evidence) -> Refused {
        let Some(trial) = self.trial.take_if(|t| t.unresolved.iter().all(|id| t.alone.contains_key(id)))
        else {
            return Refused::Isolating;
        };
        self.waiting.clear();
        if trial.alone.is_empty() {
            if trial.all_accepted && (1..trial.size).contains(&trial.largest) {
                self.learned = Some(trial.largest);
            }
            return Refused::Isolating;
        }
        let good = match trial.proof {
            Proof::After(count) => evidence.accepted > count,
            Proof::Since(moment) => evidence.since(moment),
        };
        if !good {
            self.request_bad_at = Some(evidence.accepted);
            return Refused::Request;
        }
        for (id, message) in trial.alone {
            self.give_up(id, FailureReason::InvalidRequest, message);
        }
        Refused::Isolating
    }

    /// Ids that are sent apart, each part in one call.
    #[must_use]
    pub fn parts(&self) -> &[Vec<InstanceId>] {
        &self.parts
    }

    /// Whether an id waits for what the trial brings.
    #[must_use]
    pub fn holds(&self, id: InstanceId) -> bool {
        self.waiting.contains(&id) || self.trial.as_ref().is_some_and(|trial| trial.alone.contains_key(&id))
    }

    /// Ids given up.
    #[must_use]
    pub fn verdicts(&self) -> &BTreeMap<InstanceId, (FailureReason, CloudMessage)> {
        &self.verdicts
    }

    /// A batch size that the endpoint accepts, if a larger one was found to be refused. Told once.
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

    /// Takes a batch apart against a cloud that refuses a call without names if `refuses` says so. Returns the number
    /// of calls and how it ended.
    fn take_apart(
        bisection: &mut Bisection,
        batch: &[InstanceId],
        refuses: impl Fn(&[InstanceId]) -> bool,
    ) -> (usize, Refused) {
        let mut evidence = Evidence::default();
        let mut queue = vec![batch.to_vec()];
        let (mut calls, mut last) = (0, Refused::Isolating);
        while let Some(call) = queue.pop() {
            calls += 1;
            last = if refuses(&call) {
                bisection.refused(&call, &CloudMessage::default(), evidence, Mono::START)
            } else {
                evidence.accepted += 1;
                evidence.last = Some(Mono::START);
                bisection.accepted(&call, call.len(), evidence)
            };
            queue = bisection.parts().to_vec();
        }
        (calls, last)
    }

    #[test]
    fn c01_one_bad_id_costs_at_most_13_calls_at_each_position() {
        for size in 2..=50 {
            for bad in 0..size {
                let all = ids(size);
                let mut bisection = Bisection::default();
                let (calls, _) = take_apart(&mut bisection, &all, |call| call.contains(&all[bad]));
                assert!(calls <= 13, "{calls} calls for position {bad} of {size}");
                let given_up: Vec<_> = bisection.verdicts().keys().copied().collect();
                assert_eq!(given_up, [all[bad]]);
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
            let (calls, _) = take_apart(&mut bisection, &all, |call| call.iter().any(|id| bad.contains(id)));
            assert!(calls <= 1 + 12 * bad.len(), "{calls}");
            assert!(bisection.verdicts().keys().eq(&bad), "{bad:?}");
        }
    }

    #[test]
    fn c01_a_bad_request_is_no_bad_id_and_is_found_once() {
        for size in [1, 2, 7, 50] {
            let all = ids(size);
            let mut bisection = Bisection::default();
            let (calls, end) = take_apart(&mut bisection, &all, |_| true);
            assert_eq!((calls, end), (2 * size - 1, Refused::Request), "{size}");
            assert!(bisection.verdicts().is_empty(), "nothing is marked");
            let (calls, end) = take_apart(&mut bisection, &all, |_| true);
            assert_eq!((calls, end), (1, Refused::Request), "no other batch is split");
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
            (None, Refused::Request, 0),
            (Some(before), Refused::Request, 0),
            (Some(recent), Refused::Isolating, 1),
        ] {
            let mut bisection = Bisection::default();
            let evidence = Evidence { accepted: 3, last };
            assert_eq!(
                bisection.refused(&ids(1), &CloudMessage::default(), evidence, recent),
                end,
                "{last:?}"
            );
            assert_eq!(bisection.verdicts().len(), marked, "{last:?}");
        }
    }

    #[test]
    fn c02_a_smaller_size_that_is_accepted_throughout_is_learned() {
        let all = ids(50);
        let mut bisection = Bisection::default();
        let (_, _) = take_apart(&mut bisection, &all, |call| call.len() > 20);
        assert_eq!(bisection.take_learned(), Some(13));
        assert_eq!(bisection.take_learned(), None);
        assert!(bisection.verdicts().is_empty());
    }

    #[test]
    fn other_refused_batches_wait_for_the_one_that_is_taken_apart() {
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
        assert!(!second.iter().any(|id| bisection.holds(*id)), "the trial is over");
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
            assert!(!bisection.lost(batch[0]));
            evidence.accepted += 1;
            bisection.unknown(&batch[..1], evidence);
        }
        assert!(bisection.lost(batch[0]));
        assert!(!bisection.lost(batch[1]));
    }

    #[test]
    fn an_earlier_acceptance_proves_nothing_about_a_batch_of_several() {
        let recent = Mono::at(std::time::Duration::from_secs(100));
        let evidence = Evidence { accepted: 3, last: Some(recent) };
        let batch = ids(2);
        let mut bisection = Bisection::default();
        let mut refused =
            |ids: &[InstanceId]| bisection.refused(ids, &CloudMessage::default(), evidence, recent);
        assert_eq!(refused(&batch), Refused::Isolating);
        assert_eq!(refused(&batch[..1]), Refused::Isolating);
        assert_eq!(refused(&batch[1..]), Refused::Request, "nothing was accepted since the first refusal");
        assert!(bisection.verdicts().is_empty());
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
    fn an_isolation_that_is_stopped_keeps_its_verdicts_alone() {
        let all = ids(4);
        let mut bisection = Bisection::default();
        bisection.give_up(all[3], FailureReason::Conflict, CloudMessage::default());
        bisection.refused(&all[..2], &CloudMessage::default(), Evidence::default(), Mono::START);
        bisection.refused(&all[2..3], &CloudMessage::default(), Evidence::default(), Mono::START);
        assert!(bisection.active() && bisection.holds(all[2]) && !bisection.parts().is_empty());
        bisection.stop();
        assert!(!bisection.active() && !bisection.holds(all[2]) && bisection.parts().is_empty());
        assert_eq!(bisection.verdicts().keys().copied().collect::<Vec<_>>(), [all[3]]);
    }

    #[test]
    fn what_is_known_otherwise_leaves_the_isolation() {
        let all = ids(6);
        let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
        let mut bisection = Bisection::default();
        bisection.refused(&all[..4], &CloudMessage::default(), Evidence::default(), Mono::START);
        bisection.refused(&all[4..], &CloudMessage::default(), Evidence::default(), Mono::START);
        let open = [all[0], all[2], all[4]].into();
        assert_eq!(bisection.observe(&open, evidence), Refused::Isolating);
        assert_eq!(bisection.parts(), [vec![all[0]], vec![all[2]]]);
        assert!(bisection.holds(all[4]) && !bisection.holds(all[5]));
        // Of what is left one is accepted and one is gone: the trial is over, and no size is learned from it.
        bisection.accepted(&all[..1], 1, evidence);
        assert!(bisection.active());
        bisection.observe(&[all[4]].into(), evidence);
        assert!(!bisection.active());
        assert_eq!(bisection.take_learned(), None);
    }

    #[test]
    fn an_id_that_a_refusal_names_is_not_tried_and_what_was_refused_alone_waits() {
        let all = ids(3);
        let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
        let mut bisection = Bisection::default();
        bisection.refused(&all, &CloudMessage::default(), Evidence::default(), Mono::START);
        bisection.refused(&all[..1], &CloudMessage::default(), evidence, Mono::START);
        assert!(bisection.holds(all[0]), "until the others are tried");
        assert_eq!(bisection.named(&all[1..2], evidence), Refused::Isolating);
        bisection.accepted(&all[2..], 1, evidence);
        assert_eq!(bisection.verdicts().keys().copied().collect::<Vec<_>>(), [all[0]]);
        assert!(!bisection.active());
    }
}
