use super::*;

fn ids(n: usize) -> Vec<InstanceId> {
    (1..=n).map(|i| InstanceId::from_u128(i as u128)).collect()
}

/// Sends a batch, and the parts that it is halved into, to a cloud that refuses a call without
/// names if `refuses` says so. Returns the number of calls, and the finding of the last one.
fn bisect(
    bisection: &mut Bisection,
    batch: &[InstanceId],
    refuses: impl Fn(&[InstanceId]) -> bool,
) -> (usize, Finding) {
    let mut evidence = Evidence::default();
    let mut to_send = vec![batch.to_vec()];
    let (mut calls, mut last) = (0, Finding::Open);
    while let (Some(call), Finding::Open) = (to_send.pop(), &last) {
        calls += 1;
        last = if refuses(&call) {
            bisection.refused(&call, SAID, evidence, Mono::START)
        } else {
            evidence.accepted += 1;
            evidence.last = Some(Mono::START);
            bisection.accepted(&call, call.len(), evidence)
        };
        to_send = bisection.parts();
    }
    (calls, last)
}

/// Attempts that were used before a call, and the cloud's message to it.
const SAID: (u32, &CloudMessage) =
    (0, &CloudMessage { request_id: None, code: None, text: String::new(), limit: None });

fn conflicts(finding: Finding) -> Vec<InstanceId> {
    match finding {
        Finding::Conflicts(ids) => ids.into_keys().collect(),
        Finding::Open | Finding::BadRequest => panic!("{finding:?}"),
    }
}

#[test]
fn c01_one_bad_id_costs_at_most_13_calls_at_each_position() {
    for size in 2..=50 {
        for bad in 0..size {
            let all = ids(size);
            let mut bisection = Bisection::default();
            let (calls, found) = bisect(&mut bisection, &all, |call| call.contains(&all[bad]));
            assert!(calls <= 13, "{calls} calls for position {bad} of {size}");
            assert_eq!(conflicts(found), [all[bad]]);
            assert_eq!(bisection.parts(), [vec![all[bad]]], "from now on it is sent alone");
            assert_eq!(bisection.take_too_large(), None, "it was an id, not the size");
        }
    }
}

#[test]
fn c01_two_and_three_bad_ids_are_all_found_and_no_other() {
    let all = ids(50);
    for bad in [vec![0, 1], vec![0, 49], vec![24, 25], vec![3, 17, 44], vec![0, 1, 2]] {
        let bad: Vec<_> = bad.into_iter().map(|position| all[position]).collect();
        let mut bisection = Bisection::default();
        let (calls, found) = bisect(&mut bisection, &all, |call| call.iter().any(|id| bad.contains(id)));
        assert!(calls <= 1 + 12 * bad.len(), "{calls}");
        assert_eq!(conflicts(found), bad);
    }
}

#[test]
fn c01_a_bad_request_is_no_bad_id_and_is_found_once() {
    for size in [1, 2, 7, 50] {
        let all = ids(size);
        let mut bisection = Bisection::default();
        let (calls, end) = bisect(&mut bisection, &all, |_| true);
        assert_eq!((calls, end), (2 * size - 1, Finding::BadRequest), "{size}");
        let (calls, end) = bisect(&mut bisection, &all, |_| true);
        assert_eq!((calls, end), (1, Finding::BadRequest), "no other batch is split");
        // An accepted call of the account proves that it was not the request.
        let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
        bisection.refused(&all, SAID, evidence, Mono::START);
        assert_eq!(bisection.parts().len(), size.min(2), "{size}");
    }
}

#[test]
fn the_id_of_a_batch_of_one_is_refused_only_if_the_account_had_a_call_accepted_lately() {
    let recent = Mono::at(std::time::Duration::from_secs(100));
    let before = Mono::at(std::time::Duration::from_secs(99));
    for (last, good) in [(None, false), (Some(before), false), (Some(recent), true)] {
        let mut bisection = Bisection::default();
        let evidence = Evidence { accepted: 3, last };
        match bisection.refused(&ids(1), SAID, evidence, recent) {
            Finding::BadRequest => assert!(!good, "{last:?}"),
            found => assert_eq!((conflicts(found), good), (ids(1), true), "{last:?}"),
        }
    }
}

#[test]
fn x17_an_id_whose_request_was_proven_good_is_judged_alone_from_then_on() {
    let all = ids(2);
    let recent = Mono::at(std::time::Duration::from_secs(100));
    let accepted = |n| Evidence { accepted: n, last: Some(Mono::START) };
    let mut bisection = Bisection::default();
    bisection.refused(&all, SAID, accepted(0), Mono::START);
    bisection.accepted(&all[..1], 1, accepted(1));
    let said = RefusedAlone { attempts: 7, message: CloudMessage::default() };
    for _ in 0..9 {
        // Long after, no other call was accepted.
        let found = bisection.refused(&all[1..], (7, &said.message), accepted(1), recent);
        assert_eq!(found, Finding::Conflicts([(all[1], said.clone())].into()));
        assert_eq!(bisection.parts(), [vec![all[1]]]);
    }
    let batch = ids(9);
    bisection.refused(&batch[5..], SAID, accepted(1), recent);
    let found = bisection.refused(&all[1..], SAID, accepted(1), recent);
    assert_eq!(conflicts(found), all[1..], "also while another batch is halved");
    assert_eq!(bisection.accepted(&all[1..], 1, accepted(2)), Finding::Open);
    assert!(!bisection.parts().contains(&all[1..].to_vec()), "it was accepted");
}

#[test]
fn c02_a_batch_whose_ids_are_all_accepted_in_smaller_calls_was_too_large() {
    let all = ids(50);
    let mut bisection = Bisection::default();
    let (_, _) = bisect(&mut bisection, &all, |call| call.len() > 20);
    assert_eq!(bisection.take_too_large(), Some(TooLarge { size: 50, accepted: 13 }));
    assert_eq!(bisection.take_too_large(), None);
}

#[test]
fn other_refused_batches_wait_for_the_one_that_is_halved() {
    let all = ids(100);
    let (first, second) = all.split_at(50);
    let mut bisection = Bisection::default();
    let evidence = Evidence::default();
    bisection.refused(first, SAID, evidence, Mono::START);
    bisection.refused(second, SAID, evidence, Mono::START);
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
    let mut refused = |ids: &[InstanceId]| bisection.refused(ids, SAID, evidence, recent);
    assert_eq!(refused(&batch), Finding::Open);
    assert_eq!(refused(&batch[..1]), Finding::Open);
    assert_eq!(refused(&batch[1..]), Finding::BadRequest, "nothing was accepted since the first refusal");
}

#[test]
fn c02_only_whole_calls_of_the_batch_itself_tell_which_size_is_accepted() {
    let all = ids(90);
    let (batch, foreign) = all.split_at(50);
    let accepted = |n| Evidence { accepted: n, last: Some(Mono::START) };
    let mut bisection = Bisection::default();
    bisection.refused(batch, SAID, accepted(0), Mono::START);
    bisection.accepted(foreign, foreign.len(), accepted(1));
    bisection.accepted(&batch[..25], 25, accepted(2));
    bisection.accepted(&batch[25..], 25, accepted(3));
    assert_eq!(bisection.take_too_large(), Some(TooLarge { size: 50, accepted: 25 }), "not 40");

    let mut bisection = Bisection::default();
    bisection.refused(&batch[..4], SAID, accepted(0), Mono::START);
    bisection.accepted(&batch[..1], 2, accepted(1));
    for n in 1..4 {
        bisection.accepted(&batch[n..=n], 1, accepted(2));
    }
    let found = bisection.take_too_large();
    let alone = Some(TooLarge { size: 4, accepted: 1 });
    assert_eq!(found, alone, "a call of two that returned one says nothing about two");
}

#[test]
fn a_bisection_that_is_stopped_keeps_nothing() {
    let all = ids(4);
    let mut bisection = Bisection::default();
    bisection.refused(&all[..2], SAID, Evidence::default(), Mono::START);
    bisection.refused(&all[2..3], SAID, Evidence::default(), Mono::START);
    assert!(bisection.active() && bisection.holds(all[2]) && !bisection.parts().is_empty());
    bisection.stop();
    assert_eq!(bisection, Bisection::default());
}

#[test]
fn ids_with_better_knowledge_leave_the_bisection() {
    let all = ids(6);
    let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
    let mut bisection = Bisection::default();
    bisection.refused(&all[..4], SAID, Evidence::default(), Mono::START);
    bisection.refused(&all[4..], SAID, Evidence::default(), Mono::START);
    let open = [all[0], all[2], all[4]].into();
    assert_eq!(bisection.observe(&open, evidence), Finding::Open);
    assert_eq!(bisection.parts(), [vec![all[0]], vec![all[2]]]);
    assert!(bisection.holds(all[4]) && !bisection.holds(all[5]));
    // The cloud accepts one of the two ids that are left, and the other one is gone: the batch is
    // resolved, and teaches no size.
    bisection.accepted(&all[..1], 1, evidence);
    assert!(bisection.active());
    bisection.observe(&[all[4]].into(), evidence);
    assert!(!bisection.active());
    assert_eq!(bisection.take_too_large(), None);
}

#[test]
fn an_id_that_a_refusal_names_is_not_tested_and_an_id_refused_alone_waits() {
    let all = ids(3);
    let evidence = Evidence { accepted: 1, last: Some(Mono::START) };
    let mut bisection = Bisection::default();
    bisection.refused(&all, SAID, Evidence::default(), Mono::START);
    bisection.refused(&all[..1], SAID, evidence, Mono::START);
    assert!(bisection.holds(all[0]), "until the others are tested");
    assert_eq!(bisection.named(&all[1..2], evidence), Finding::Open);
    assert_eq!(conflicts(bisection.accepted(&all[2..], 1, evidence)), all[..1]);
    assert!(!bisection.holds(all[0]));
    bisection.observe(&BTreeSet::new(), evidence);
    assert!(!bisection.active(), "all have ended");
}

#[test]
fn x19_ids_that_cannot_be_sent_for_a_while_leave_the_halved_batch_and_are_judged_alone() {
    let all = ids(6);
    let patience = Duration::from_mins(1);
    let at = |seconds| Mono::at(Duration::from_secs(seconds));
    let accepted = |n| Evidence { accepted: n, last: Some(Mono::START) };
    let mut bisection = Bisection::default();
    bisection.refused(&all[..4], SAID, accepted(0), Mono::START);
    bisection.refused(&all[4..], SAID, accepted(0), Mono::START);
    let odd = BTreeSet::from([all[0], all[2]]);
    let observe = |bisection: &mut Bisection, odd: &BTreeSet<_>, seconds| {
        assert_eq!(bisection.leave_out(odd, patience, accepted(0), at(seconds)), Finding::Open);
        bisection.parts()
    };
    let whole = [all[..2].to_vec(), all[2..4].to_vec()];
    assert_eq!(observe(&mut bisection, &odd, 100), whole);
    assert_eq!(bisection.leaves_out_at(patience), Some(at(160)));
    assert_eq!(observe(&mut bisection, &BTreeSet::new(), 130), whole, "for a moment they could be sent");
    assert_eq!(bisection.leaves_out_at(patience), None);
    assert_eq!(observe(&mut bisection, &odd, 131), whole);
    assert_eq!(observe(&mut bisection, &odd, 190), whole);
    let apart = [vec![all[1]], vec![all[3]], vec![all[0]], vec![all[2]]];
    assert_eq!(observe(&mut bisection, &odd, 191), apart);
    assert!(bisection.holds(all[4]), "the others of the batch are still to be judged");
    bisection.accepted(&all[1..2], 1, accepted(1));
    bisection.accepted(&all[3..4], 1, accepted(2));
    assert!(!bisection.holds(all[4]));
    assert_eq!(bisection.take_too_large(), None);
    let found = bisection.refused(&all[..1], SAID, accepted(2), at(9_000));
    assert_eq!(conflicts(found), all[..1], "an accepted call of its batch proves the request");
}

#[test]
fn x19_a_batch_whose_ids_all_leave_holds_no_other_and_proves_nothing() {
    let all = ids(4);
    let mut bisection = Bisection::default();
    let nothing = Evidence::default();
    bisection.refused(&all[..2], SAID, nothing, Mono::START);
    bisection.refused(&all[2..], SAID, nothing, Mono::START);
    let odd = BTreeSet::from([all[0], all[1]]);
    for _ in 0..2 {
        assert_eq!(bisection.leave_out(&odd, Duration::ZERO, nothing, Mono::START), Finding::Open);
    }
    assert!(!bisection.holds(all[2]));
    assert_eq!(bisection.refused(&all[..1], SAID, nothing, Mono::START), Finding::BadRequest);
    assert_eq!(bisection.parts(), [vec![all[0]], vec![all[1]]], "it stays alone");
}
