//! What is worth a write, and how large a status may become.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{
    api::{Phase, PlannedInstance},
    engine::{
        Now,
        by_kind::ByKind,
        object::{
            report::status::tests::ready,
            state::ledger::Progress,
            tests::case::{case_of, then},
        },
    },
};

fn now() -> Now {
    Now { mono: then(), wall: Timestamp::from_second(1_800_000_000).unwrap() }
}

#[test]
fn each_part_of_the_status_but_its_rows_is_worth_a_write() {
    let status = ready("Deleting");
    assert!(!is_news(&status, &status.clone()));
    let time = || Some(now().time());
    let edits: [&dyn Fn(&mut InstanceDeletionStatus); 6] = [
        &|s| s.observed_generation = Some(9),
        &|s| s.phase = Some(Phase::Throttled),
        &|s| s.start_time = time(),
        &|s| s.next_action_time = time(),
        &|s| s.last_handled_reconcile_at = Some("now".into()),
        &|s| s.conditions[0].message = "another".into(),
    ];
    for edit in edits {
        let mut edited = status.clone();
        edit(&mut edited);
        assert!(is_news(&status, &edited) && is_news(&edited, &status));
    }
    let mut rows = status.clone();
    rows.progress = Some("1/2".into());
    assert!(!is_news(&status, &rows), "rows are compared by what moved them");
}

#[test]
fn room_is_left_for_an_end_of_each_open_row_and_a_reply_to_each_batch() {
    let mut case = case_of(3).batch("mine", None);
    case.ledger.rows[0].progress = Progress::Terminated { batch: Some(7), ended_at: None };
    let (now, status) = (now(), InstanceDeletionStatus::default());
    let input = Input {
        spec: &case.spec,
        status: &status,
        other_bytes: 1_000_000,
        guards: None,
        evidence: ByKind::default(),
        batch_size: 50,
        may_start: true,
        claim: "claim",
        now: &now,
        cloud_time: None,
        settings: &case.settings,
    };
    let (outcomes, ledger) = (case.ledger.clone(), case.ledger.clone());
    let draft = Draft { input, outcomes, ledger, moved: false, records: vec![], events: vec![] };
    let stage = Stage::Deleting(None);
    let written = status::status(&case.spec, &case.ledger, &stage, &status, &now, Remarks::default());
    let written = serde_json::to_vec(&written).unwrap().len();
    let room = 2 * 64 + 96 + 16 * 1024;
    assert_eq!(draft.largest_bytes(&case.ledger, &stage), written + room + 1_000_000);
}

#[test]
fn s14_a_plan_that_does_not_fit_names_fewer_instances() {
    let case = case_of(1);
    let (now, status) = (now(), InstanceDeletionStatus::default());
    let shortened = |other_bytes: usize| {
        let input = Input {
            spec: &case.spec,
            status: &status,
            other_bytes,
            guards: None,
            evidence: ByKind::default(),
            batch_size: 50,
            may_start: true,
            claim: "claim",
            now: &now,
            cloud_time: None,
            settings: &case.settings,
        };
        let (outcomes, ledger) = (case.ledger.clone(), case.ledger.clone());
        let draft = Draft { input, outcomes, ledger, moved: false, records: vec![], events: vec![] };
        let row = PlannedInstance {
            id: case.id().to_string(),
            name: Some("é".repeat(64)),
            server_id: None,
            state: None,
            verdict: None,
            detail: Some("é".repeat(128)),
        };
        let mut plan = PlanStatus { instances: vec![row; 1_000], ..PlanStatus::default() };
        draft.shorten(&mut plan);
        (plan.instances.len(), serde_json::to_vec(&plan).unwrap().len())
    };
    assert_eq!(shortened(400_000).0, 1_000);
    let (rows, bytes) = shortened(STORED_LIMIT - 300_000);
    assert!(rows == 500 && bytes < 300_000, "{rows} rows, {bytes} bytes");
    assert_eq!(shortened(STORED_LIMIT).0, 0);
}
