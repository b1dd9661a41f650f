//! The record as it is read, written, and corrected.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::engine::{Mono, object::state::spec::tests::spec_of};

fn ids(n: u128) -> Vec<InstanceId> {
    spec_of(n).ids
}

fn now() -> Now {
    Now { mono: Mono::START, wall: Timestamp::from_second(1_800_000_000).unwrap() }
}

fn time() -> Time {
    now().time()
}

fn empty(n: u128) -> Ledger {
    Ledger::read(&ids(n), &InstanceDeletionStatus::default())
}

fn batch(number: u32) -> BatchStatus {
    BatchStatus {
        kind: None,
        number,
        size: 1,
        returned: None,
        no_effect: None,
        claim: format!("claim-{number}"),
        submitted_at: now().time(),
        request_id: None,
    }
}

fn message(code: Option<&str>) -> CloudMessage {
    CloudMessage {
        code: code.map(str::to_owned),
        text: code.unwrap_or_default().to_owned(),
        ..CloudMessage::default()
    }
}

/// Every progress there is, with attempts that can be told apart from what a row implies.
fn every_progress() -> Vec<(Progress, u32)> {
    let (batch, ended_at) = (Some(3), Some(time()));
    vec![
        (Progress::Pending, 0),
        (Progress::PoweringOff { batch: 3 }, 0),
        (Progress::PoweringOff { batch: 3 }, 1),
        (Progress::PoweredOff { batch }, 0),
        (Progress::PoweredOff { batch }, 1),
        (Progress::Submitted { batch: 3 }, 0),
        (Progress::Submitted { batch: 3 }, 1),
        (Progress::Submitted { batch: 3 }, 2),
        (Progress::Accepted { batch, resent: false }, 1),
        (Progress::Accepted { batch, resent: true }, 2),
        (Progress::Accepted { batch: None, resent: false }, 0),
        (Progress::Accepted { batch: None, resent: false }, 1),
        (Progress::Terminated { batch, ended_at: ended_at.clone() }, 2),
        (Progress::NotFound { batch: None, ended_at: ended_at.clone() }, 0),
        (Progress::Failed { batch, reason: FailureReason::Conflict, ended_at }, 3),
    ]
}

#[test]
fn what_is_written_is_read_again_in_any_order() {
    let all = every_progress();
    let mut ledger = empty(all.len() as u128);
    for (row, (progress, attempts)) in ledger.rows.iter_mut().zip(all) {
        (row.progress, row.attempts) = (progress, attempts);
        row.cloud_state = (!row.progress.ended()).then(|| StateText::new("odd"));
        row.powered_off_at = matches!(row.progress, Progress::PoweredOff { .. }).then(time);
    }
    ledger.recount_failures();
    for number in 1..=3 {
        ledger.push_batch(batch(number));
    }
    let mut status = InstanceDeletionStatus::default();
    ledger.write(&mut status);
    let ids: Vec<_> = ledger.rows.iter().map(|row| row.id).collect();
    assert_eq!(Ledger::read(&ids, &status), ledger);
    status.instances.reverse();
    assert_eq!(Ledger::read(&ids, &status), ledger, "rows are found by their id");
    status.instances.pop();
    let mut shorter = ledger.clone();
    shorter.rows[0] = Row::new(ids[0]);
    assert_eq!(Ledger::read(&ids, &status), shorter, "a row that is missing says nothing");
}

#[test]
fn a_record_in_which_nothing_happened_has_no_rows() {
    let rows = |ledger: &Ledger| {
        let mut status = InstanceDeletionStatus::default();
        ledger.write(&mut status);
        status.instances.len()
    };
    let mut ledger = empty(2);
    assert_eq!(rows(&ledger), 0);
    ledger.rows[1].attempts = 1;
    assert_eq!(rows(&ledger), 2);
    ledger = empty(2);
    ledger.rows[0].progress = Progress::Submitted { batch: 1 };
    assert_eq!(rows(&ledger), 2);
}

#[test]
fn only_what_a_row_does_not_imply_is_written() {
    for (progress, attempts) in every_progress() {
        let row = Row { progress: progress.clone(), attempts, ..Row::new(ids(1)[0]) }.write();
        let implied = progress.ended() || matches!(progress, Progress::Accepted { batch: Some(_), .. });
        let expected = (attempts > u32::from(implied)).then_some(attempts);
        assert_eq!(row.attempts, expected, "{progress:?} {attempts}");
        assert_eq!(row.ended_at.is_some(), progress.ended(), "{progress:?}");
        assert_eq!(row.batch, progress.batch(), "{progress:?}");
    }
    let ended = Row {
        progress: Progress::Terminated { batch: None, ended_at: None },
        cloud_state: Some(StateText::new("odd")),
        ..Row::new(ids(1)[0])
    };
    assert_eq!(ended.write().cloud_state, None, "the end says it all");
}

#[test]
fn x03_a_row_that_contradicts_itself_is_read_as_the_later_of_what_it_may_mean() {
    let row = |phase, batch, attempts| InstanceStatus {
        power_offs: None,
        powered_off_at: None,
        id: ids(1)[0].to_string(),
        phase,
        batch,
        attempts,
        resent: None,
        cloud_state: None,
        reason: None,
        ended_at: None,
    };
    let accepted = |batch| Progress::Accepted { batch, resent: false };
    let failed = Progress::Failed { batch: None, reason: FailureReason::OutcomeUnknown, ended_at: None };
    let most = MOST_BATCHES;
    let table = [
        (row(InstancePhase::Pending, None, None), Progress::Pending, 0),
        (row(InstancePhase::Pending, Some(4), None), Progress::Submitted { batch: 4 }, 0),
        (row(InstancePhase::Submitted, None, None), Progress::Submitted { batch: 0 }, 0),
        (row(InstancePhase::Submitted, Some(most), None), Progress::Submitted { batch: most }, 0),
        (row(InstancePhase::Submitted, Some(most + 1), None), Progress::Submitted { batch: 0 }, 0),
        (row(InstancePhase::Accepted, Some(4), None), accepted(Some(4)), 1),
        (row(InstancePhase::Accepted, None, None), accepted(None), 0),
        (row(InstancePhase::Accepted, Some(4), Some(7)), accepted(Some(4)), 7),
        (row(InstancePhase::Failed, None, None), failed, 0),
    ];
    for (row, progress, attempts) in table {
        let read = Row::read(ids(1)[0], &row);
        assert_eq!((read.progress, read.attempts), (progress, attempts), "{row:?}");
    }
}

#[test]
fn a_batch_is_found_by_its_number_also_in_a_record_that_somebody_edited() {
    let mut ledger = empty(1);
    assert_eq!(ledger.batch(1), None);
    assert_eq!(ledger.next_batch(), 1);
    for number in [5, 6, 7, 9, 6] {
        ledger.push_batch(BatchStatus { size: count(ledger.batches.len()), ..batch(number) });
    }
    let size = |number| ledger.batch(number).map(|b| b.size);
    assert_eq!([4, 5, 6, 7, 8, 9, 10].map(size), [None, Some(0), Some(1), Some(2), None, Some(3), None]);
    assert_eq!(ledger.next_batch(), 10);
    ledger.rows[0].progress = Progress::Submitted { batch: 40 };
    assert_eq!(ledger.next_batch(), 41);
    let status = InstanceDeletionStatus {
        batches: vec![batch(1), batch(MOST_BATCHES), batch(MOST_BATCHES + 1)],
        ..InstanceDeletionStatus::default()
    };
    let read = Ledger::read(&ids(1), &status);
    assert_eq!(read.batches.iter().map(|b| b.number).collect::<Vec<_>>(), [1, MOST_BATCHES]);
}

#[test]
fn the_newest_batches_are_kept() {
    let mut ledger = empty(1);
    let rows = u32::try_from(BATCH_ROWS).unwrap();
    for number in 1..=rows + 2 {
        ledger.push_batch(batch(number));
        assert_eq!(ledger.batches.len(), BATCH_ROWS.min(number as usize));
    }
    assert_eq!((ledger.batches[0].number, ledger.next_batch()), (3, rows + 3));
}

#[test]
fn failures_are_counted_by_reason_and_code_and_further_codes_by_reason_alone() {
    let mut ledger = empty(30);
    for (position, code) in [(0, Some("a")), (1, Some("a")), (2, Some("b")), (3, None)] {
        ledger.fail(position, FailureReason::Conflict, Some(&message(code)), &now());
    }
    ledger.fail(4, FailureReason::Expired, None, &now());
    ledger.fail(4, FailureReason::Conflict, Some(&message(Some("a"))), &now());
    let failed = Progress::Failed { batch: None, reason: FailureReason::Expired, ended_at: Some(time()) };
    assert_eq!(ledger.rows[4].progress, failed, "an end stays as it is");
    let counts = |ledger: &Ledger| -> Vec<(FailureReason, Option<String>, u32)> {
        ledger.failures.iter().map(|f| (f.reason, f.code.clone(), f.count)).collect()
    };
    let conflict = FailureReason::Conflict;
    let code = |text: &str| Some(text.to_owned());
    let expected = [
        (conflict, code("a"), 2),
        (conflict, code("b"), 1),
        (conflict, None, 1),
        (FailureReason::Expired, None, 1),
    ];
    assert_eq!(counts(&ledger), expected);
    assert_eq!(ledger.failures[0].message.as_deref(), Some("a"));
    assert_eq!(ledger.failures[2].message, None);
    for (n, position) in (5..17).enumerate() {
        ledger.fail(position, conflict, Some(&message(Some(&format!("c{n}")))), &now());
    }
    assert_eq!(ledger.failures.iter().filter(|f| f.code.is_some()).count(), FAILURE_CODES);
    assert_eq!(counts(&ledger)[2], (conflict, None, 3), "two more, without their codes");
    ledger.fail(17, conflict, Some(&message(Some("a"))), &now());
    assert_eq!(counts(&ledger)[0].2, 3, "a known code is counted on");
    assert_eq!(ledger.failures.iter().map(|f| f.count).sum::<u32>(), ledger.summary().failed);
}

#[test]
fn x03_counts_of_failures_that_do_not_add_up_are_made_those_of_the_rows() {
    let failure = |reason, code: Option<&str>, count| FailureStatus {
        reason,
        code: code.map(str::to_owned),
        message: code.map(str::to_owned),
        count,
    };
    let (conflict, expired) = (FailureReason::Conflict, FailureReason::Expired);
    let recounted = |failures: Vec<FailureStatus>| {
        let mut ledger = empty(3);
        for row in &mut ledger.rows {
            row.progress = Progress::Failed { batch: None, reason: conflict, ended_at: None };
        }
        let mut status = InstanceDeletionStatus::default();
        ledger.write(&mut status);
        status.failures = failures;
        Ledger::read(&ids(3), &status).failures
    };
    let right = vec![failure(conflict, Some("a"), 2), failure(conflict, Some("b"), 1)];
    assert_eq!(recounted(right.clone()), right, "they add up");
    assert_eq!(recounted(vec![]), [failure(conflict, None, 3)]);
    assert_eq!(
        recounted(vec![failure(conflict, Some("a"), 9), failure(expired, None, 1)]),
        [failure(conflict, Some("a"), 3)]
    );
    let large = vec![failure(conflict, Some("a"), u32::MAX), failure(conflict, Some("b"), 4)];
    assert_eq!(recounted(large), [failure(conflict, Some("a"), 3)]);
}

#[test]
fn a_ledger_counts_its_phases_and_knows_whether_anything_was_ever_known() {
    let all = every_progress();
    let mut ledger = empty(all.len() as u128);
    for (row, (progress, _)) in ledger.rows.iter_mut().zip(all) {
        row.progress = progress;
    }
    let counts =
        |s: Summary| [s.total, s.pending, s.submitted, s.accepted, s.terminated, s.not_found, s.failed];
    assert_eq!(counts(ledger.summary()), [15, 1, 3, 4, 1, 1, 1]);
    assert_eq!((ledger.summary().powering_off, ledger.summary().powered_off), (2, 2));
    assert!(!ledger.ended() && ledger.ever_known());
    let with = |progress: Progress| {
        let mut ledger = empty(2);
        ledger.rows[0].progress = Progress::NotFound { batch: None, ended_at: None };
        ledger.rows[1].progress = progress;
        (ledger.ended(), ledger.ever_known())
    };
    assert_eq!(with(Progress::NotFound { batch: None, ended_at: None }), (true, false));
    assert_eq!(with(Progress::NotFound { batch: Some(1), ended_at: None }), (true, true));
    assert_eq!(with(Progress::Terminated { batch: None, ended_at: None }), (true, true));
    assert_eq!(with(Progress::Pending), (false, true));
    let mut seen = empty(1);
    seen.rows[0].progress = Progress::NotFound { batch: None, ended_at: None };
    seen.rows[0].cloud_state = Some(StateText::new("shutting-down"));
    let mut status = InstanceDeletionStatus::default();
    seen.write(&mut status);
    let ids = [seen.rows[0].id];
    assert!(Ledger::read(&ids, &status).ever_known(), "x18: the record keeps that it was seen");
}
