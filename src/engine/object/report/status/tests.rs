//! What each stage of an object looks like.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{
    api::{FailureReason, InstanceDeletionStatus, PlanStatus},
    engine::{
        Mono,
        object::{
            report::{headline::trouble, stage::Hindrance},
            state::{
                blocker::Blocker,
                deadlines::Cutoff,
                ledger::Progress,
                spec::tests::{meta, spec_of},
            },
        },
        outcome::{CloudMessage, Trouble},
    },
};

/// A status whose condition `Ready` has this reason.
pub fn ready(reason: &str) -> InstanceDeletionStatus {
    let condition = Condition {
        type_: "Ready".into(),
        status: "False".into(),
        reason: reason.into(),
        message: "the message".into(),
        observed_generation: Some(1),
        last_transition_time: at(0).time(),
    };
    InstanceDeletionStatus { conditions: vec![condition], ..InstanceDeletionStatus::default() }
}

fn at(seconds: i64) -> Now {
    Now { mono: Mono::START, wall: Timestamp::from_second(1_800_000_000 + seconds).unwrap() }
}

fn blocker(trouble: Trouble) -> Blocker {
    let message = CloudMessage {
        request_id: Some("r-1".into()),
        code: Some("APIGW.1".into()),
        text: "no".into(),
        ..CloudMessage::default()
    };
    let retry_time = at(60).time();
    Blocker { trouble, message, failures: 0, retry_at: Mono::START, retry_time, secret_version: None }
}

/// Five rows: pending, submitted, accepted, terminated, not found.
fn ledger(spec: &DeletionSpec) -> Ledger {
    let mut ledger = Ledger::read(&spec.ids, &InstanceDeletionStatus::default());
    let progress = [
        Progress::Pending,
        Progress::Submitted { batch: 1 },
        Progress::Accepted { batch: Some(1), resent: false },
        Progress::Terminated { batch: Some(1), ended_at: None },
        Progress::NotFound { batch: None, ended_at: None },
    ];
    for (row, progress) in ledger.rows.iter_mut().zip(progress) {
        row.progress = progress;
    }
    ledger
}

/// Phase, `Ready`, its reason and message, and the conditions that are True.
fn shown(spec: &DeletionSpec, ledger: &Ledger, stage: &Stage) -> (Phase, String, String, Vec<String>) {
    let status = status(spec, ledger, stage, &InstanceDeletionStatus::default(), &at(0), Remarks::default());
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    let is_true = status.conditions.iter().filter(|c| c.status == "True").map(|c| c.type_.clone()).collect();
    // kstatus and Argo read the first that they know: all of them say the same.
    assert!(status.conditions.iter().all(|c| c.message == ready.message));
    assert_eq!(status.completion_time.is_some(), matches!(stage, Stage::Ended(_)));
    (status.phase.unwrap(), ready.reason.clone(), ready.message.clone(), is_true)
}

const UNREACHABLE: &str = "the cloud in region ap-southeast-3 does not answer as it should (APIGW.1 no, request r-1); nothing to do if it passes; else check the network, the region's endpoint and its certificate (--ca-file)";
const PROGRESS: &str = "1 of 5 terminated, 1 not found";

/// A stage, its phase, the reason and message of `Ready`, and the conditions that are True.
type Shown<'a> = (Stage, Phase, &'a str, String, &'a [&'a str]);

fn slow() -> Blocker {
    blocker(Trouble::CloudUnreachable)
}

fn check(table: Vec<Shown<'_>>) {
    let spec = spec_of(5);
    for (stage, phase, reason, message, conditions) in table {
        let (is_phase, is_reason, is_message, is_true) = shown(&spec, &ledger(&spec), &stage);
        assert_eq!(is_message, message, "{stage:?}");
        assert_eq!((is_phase, is_reason.as_str()), (phase, reason), "{message}");
        assert_eq!(is_true, conditions, "{message}");
    }
}

#[test]
fn an_object_that_sends_nothing_says_why() {
    let (unreachable, progress) = (UNREACHABLE, PROGRESS);
    let message = Some("Would delete 2 of 5 instances".to_owned());
    let plan = PlanStatus { total: 5, to_delete: 2, message, ..PlanStatus::default() };
    check(vec![
        (
            Stage::Planning(None),
            Phase::Planning,
            "Planning",
            "Looking at 5 instances to make the plan; nothing is sent".into(),
            &["Reconciling"],
        ),
        (
            Stage::Planning(Some(slow())),
            Phase::Planning,
            "CloudUnreachable",
            unreachable.into(),
            &["Reconciling"],
        ),
        (
            Stage::Planned(plan),
            Phase::Planned,
            "Planned",
            "Would delete 2 of 5 instances; write dryRun: false to start".into(),
            &[],
        ),
        (
            Stage::Held { guard: "freeze".into(), reason: "until Monday".into() },
            Phase::Suspended,
            "Held",
            format!("{progress}; no new call while DeletionGuard freeze holds: until Monday"),
            &[],
        ),
        (
            Stage::Suspended(None),
            Phase::Suspended,
            "Suspended",
            format!("{progress}; no new call while spec.suspend is true"),
            &[],
        ),
        (
            Stage::Suspended(Some(slow())),
            Phase::Suspended,
            "CloudUnreachable",
            format!("{progress}; no new call while spec.suspend is true; {unreachable}"),
            &[],
        ),
    ]);
}

#[test]
fn an_object_that_makes_no_call_says_what_keeps_it_from_it() {
    let said = |edit: fn(&mut DeletionSpec)| {
        let mut spec = DeletionSpec { suspend: true, ..spec_of(5) };
        edit(&mut spec);
        shown(&spec, &ledger(&spec), &Stage::Suspended(None)).2
    };
    let why = |text: &str| format!("{PROGRESS}; no new call {text}");
    assert_eq!(said(|_| ()), why("while spec.suspend is true"));
    assert_eq!(said(|spec| spec.meta.held = true), why("while the annotation clouddc.dev/hold is there"));
    let leaving = why("since the object is being deleted; its instances are not looked at any more");
    assert_eq!(said(|spec| spec.meta.leaving = true), leaving);
    let leaves: fn(&mut DeletionSpec) = |spec| (spec.suspend, spec.meta.leaving) = (false, true);
    assert_eq!(said(leaves), leaving);
}

#[test]
fn a_request_to_look_is_echoed_once_it_was_made() {
    let mut spec = spec_of(5);
    spec.meta.requested_at = Some("second".into());
    let before = InstanceDeletionStatus {
        last_handled_reconcile_at: Some("first".into()),
        ..InstanceDeletionStatus::default()
    };
    let echoed = |look_outstanding| {
        let remarks = Remarks { look_outstanding, ..Remarks::default() };
        status(&spec, &ledger(&spec), &Stage::Deleting(None), &before, &at(0), remarks)
            .last_handled_reconcile_at
    };
    assert_eq!((echoed(true).as_deref(), echoed(false).as_deref()), (Some("first"), Some("second")));
    let invalid = invalid_spec("it is not", None, &spec.meta, &before, &at(0));
    assert_eq!(invalid.last_handled_reconcile_at.as_deref(), Some("first"), "nothing is looked at");
}

#[test]
fn an_object_at_work_says_how_far_it_is_and_what_stands_in_its_way() {
    let (unreachable, progress) = (UNREACHABLE, PROGRESS);
    let deleting = |hindrance| Stage::Deleting(Some(hindrance));
    let closing =
        |waiting, blocker| Stage::Closing { cutoff: Cutoff::NotAfter, waiting, doubted: false, blocker };
    let closed = format!("{progress}; notAfter has passed and no new call is made");
    let stuck = Hindrance::StateUnknown { count: 2, named: "x (odd)".into() };
    check(vec![
        (Stage::Deleting(None), Phase::Deleting, "Deleting", progress.into(), &["Reconciling"]),
        (
            deleting(Hindrance::Trouble(slow())),
            Phase::Deleting,
            "CloudUnreachable",
            format!("{progress}; {unreachable}"),
            &["Reconciling"],
        ),
        (
            deleting(Hindrance::Trouble(blocker(Trouble::Throttled { retry_after: None }))),
            Phase::Throttled,
            "Throttled",
            format!(
                "{progress}; the cloud asks to slow down (APIGW.1 no, request r-1); nothing to do: the controller slows down and goes on"
            ),
            &["Reconciling"],
        ),
        (
            deleting(stuck),
            Phase::Deleting,
            "StateUnknown",
            format!(
                "{progress}; 2 instances can't be read or are in a state that allows neither sending nor ending, such as x (odd); ask the vendor, looking goes on"
            ),
            &["Reconciling"],
        ),
        (
            deleting(Hindrance::StatusTooLarge { bytes: 9 }),
            Phase::Deleting,
            "StatusTooLarge",
            format!(
                "{progress}; nothing is sent, since the object would grow to 9 bytes; remove large annotations or split it into smaller objects"
            ),
            &["Reconciling"],
        ),
        (
            closing(0, None),
            Phase::Deleting,
            "Deleting",
            format!("{closed}; those on their way are followed to their end"),
            &["Reconciling"],
        ),
        (
            closing(2, None),
            Phase::Deleting,
            "Deleting",
            format!("{closed}; waiting for a look at 2 instances"),
            &["Reconciling"],
        ),
        (
            closing(2, Some(slow())),
            Phase::Deleting,
            "CloudUnreachable",
            format!("{closed}; waiting for a look at 2 instances; {unreachable}"),
            &["Reconciling"],
        ),
    ]);
}

#[test]
fn a_closing_object_that_is_suspended_stays_suspended() {
    let spec = DeletionSpec { suspend: true, ..spec_of(5) };
    let stage = Stage::Closing { cutoff: Cutoff::Deadline, waiting: 1, doubted: false, blocker: None };
    let (phase, reason, message, is_true) = shown(&spec, &ledger(&spec), &stage);
    assert_eq!((phase, reason.as_str(), is_true.len()), (Phase::Suspended, "Suspended", 0));
    assert!(message.contains("activeDeadlineSeconds has passed"), "{message}");
}

#[test]
fn each_end_says_how_it_came_and_what_can_be_done() {
    let spec = spec_of(5);
    let all = |progress: Progress| {
        let mut ledger = ledger(&spec);
        ledger.rows.iter_mut().for_each(|row| row.progress = progress.clone());
        ledger
    };
    let terminated = || Progress::Terminated { batch: Some(1), ended_at: None };
    let failed = |reason| {
        let mut ledger = all(terminated());
        ledger.rows[0].progress = Progress::Submitted { batch: 1 };
        ledger.fail(0, reason, None, &at(0));
        ledger
    };
    let with_one_gone = || {
        let mut ledger = all(terminated());
        ledger.rows[4].progress = Progress::NotFound { batch: Some(1), ended_at: None };
        ledger
    };
    let nothing = "None of 5 ids is known in project 0123456789abcdef0123456789abcdef of region ap-southeast-3; nothing was deleted. Check region and project";
    let again = |reason: ReadyReason| format!("; {}", reason.advice());
    let end =
        "1 of 5 instances had no end when activeDeadlineSeconds had passed, and may still end at the cloud";
    let gone = |n| format!("All 5 instances are gone, {n} of them not found at the cloud");
    let not_after = Some(Cutoff::NotAfter);
    let never = || Progress::NotFound { batch: None, ended_at: None };
    let table: [(Ledger, Option<Cutoff>, Phase, &str, String); 7] = [
        (all(terminated()), None, Phase::Succeeded, "AllTerminated", "All 5 instances are gone".into()),
        (with_one_gone(), not_after, Phase::Succeeded, "AllTerminated", gone(1)),
        (all(never()), None, Phase::Succeeded, "NothingFound", nothing.into()),
        (
            failed(FailureReason::Conflict),
            None,
            Phase::Failed,
            "Failed",
            format!("1 of 5 instances failed{}", again(ReadyReason::Failed)),
        ),
        (
            failed(FailureReason::Conflict),
            Some(Cutoff::Deadline),
            Phase::Failed,
            "Failed",
            format!("1 of 5 instances failed{}", again(ReadyReason::Failed)),
        ),
        (
            failed(FailureReason::DeadlineExceeded),
            Some(Cutoff::Deadline),
            Phase::DeadlineExceeded,
            "DeadlineExceeded",
            format!("{end}{}", again(ReadyReason::DeadlineExceeded)),
        ),
        (
            failed(FailureReason::Expired),
            not_after,
            Phase::Expired,
            "Expired",
            format!("1 of 5 instances were not gone when notAfter had passed{}", again(ReadyReason::Expired)),
        ),
    ];
    for (ledger, cutoff, phase, reason, message) in table {
        let (is_phase, is_reason, is_message, is_true) = shown(&spec, &ledger, &Stage::Ended(cutoff));
        assert_eq!(is_message, message);
        assert_eq!((is_phase, is_reason.as_str()), (phase, reason), "{message}");
        let good = phase == Phase::Succeeded;
        let expected: &[&str] = if good { &["Ready", "Finished"] } else { &["Stalled", "Finished"] };
        assert_eq!(is_true, expected, "{message}");
    }
}

#[test]
fn an_end_by_a_deadline_counts_what_failed_for_other_reasons_apart() {
    let spec = spec_of(5);
    let table = [
        (FailureReason::Expired, Cutoff::NotAfter, "1 of 5 instances were not gone when notAfter had passed"),
        (
            FailureReason::DeadlineExceeded,
            Cutoff::Deadline,
            "1 of 5 instances had no end when activeDeadlineSeconds had passed, and may still end at the cloud",
        ),
    ];
    for (of_it, cutoff, says) in table {
        let mut ledger = ledger(&spec);
        for row in &mut ledger.rows {
            row.progress = Progress::Submitted { batch: 1 };
        }
        for (position, reason) in
            [of_it, FailureReason::Conflict, FailureReason::NotAccepted].into_iter().enumerate()
        {
            ledger.fail(position, reason, None, &at(0));
        }
        let (_, reason, message, _) = shown(&spec, &ledger, &Stage::Ended(Some(cutoff)));
        let advice = ReadyReason::parse(&reason).unwrap().advice();
        assert_eq!(message, format!("{says}, 2 failed for other reasons; {advice}"));
    }
}

#[test]
fn repeated_ids_and_failures_are_in_the_message() {
    let spec = DeletionSpec { duplicates: 2, ..spec_of(5) };
    let mut ledger = ledger(&spec);
    ledger.fail(0, FailureReason::Conflict, None, &at(0));
    let (_, _, message, _) = shown(&spec, &ledger, &Stage::Deleting(None));
    assert_eq!(message, "1 of 5 terminated, 1 not found, 1 failed; 2 repeated ids in the spec count once");
    for row in &mut ledger.rows {
        row.progress = Progress::Terminated { batch: Some(1), ended_at: None };
    }
    ledger.failures.clear();
    let (_, _, message, _) = shown(&spec, &ledger, &Stage::Ended(None));
    assert_eq!(message, "All 5 instances are gone; 2 repeated ids in the spec count once");
}

#[test]
fn every_trouble_names_what_it_is_about() {
    let spec = spec_of(1);
    let table = [
        (Trouble::SecretNotFound, "Secret clouddc does not exist"),
        (Trouble::SecretForbidden, "the controller may not read Secret clouddc"),
        (Trouble::SecretInvalid, "Secret clouddc is not usable"),
        (Trouble::CredentialsRejected, "the cloud rejects the credentials in Secret clouddc"),
        (Trouble::Forbidden, "the credentials in Secret clouddc lack a permission"),
        (Trouble::Throttled { retry_after: None }, "the cloud asks to slow down"),
        (Trouble::ApiServerUnavailable, "the API server does not answer for Secret clouddc"),
        (Trouble::CloudUnreachable, "the cloud in region ap-southeast-3 does not answer as it should"),
        (Trouble::EndpointMisconfigured, "the endpoint of region ap-southeast-3 is not CloudDC's"),
        (Trouble::RequestRefused, "the cloud refuses the request"),
        (Trouble::GuardUnreadable, "nothing is sent, since the guards can't be read"),
    ];
    for (kind, what) in table {
        let bare = Blocker { message: CloudMessage::default(), ..blocker(kind) };
        assert_eq!(trouble(&spec, &bare, None), format!("{what}; {}", kind.reason().advice()));
        let full = trouble(&spec, &blocker(kind), Some("1 of 2"));
        assert_eq!(full, format!("1 of 2; {what} (APIGW.1 no, request r-1); {}", kind.reason().advice()));
    }
}

#[test]
fn times_are_set_once_and_conditions_keep_the_time_of_their_last_flip() {
    let spec = spec_of(5);
    let before = InstanceDeletionStatus::default();
    let first = status(&spec, &ledger(&spec), &Stage::Deleting(None), &before, &at(0), Remarks::default());
    assert_eq!((first.start_time.clone(), first.completion_time.clone()), (Some(at(0).time()), None));
    let mut over = ledger(&spec);
    over.rows
        .iter_mut()
        .for_each(|row| row.progress = Progress::Terminated { batch: Some(1), ended_at: None });
    let second = status(&spec, &over, &Stage::Ended(None), &first, &at(10), Remarks::default());
    assert_eq!(
        (second.start_time.clone(), second.completion_time.clone()),
        (first.start_time, Some(at(10).time()))
    );
    let third = status(&spec, &over, &Stage::Ended(None), &second, &at(20), Remarks::default());
    assert_eq!(third, second, "nothing flips: nothing changes");
    let flipped: Vec<_> =
        second.conditions.iter().map(|c| (c.type_.as_str(), &c.last_transition_time)).collect();
    assert!(flipped.iter().all(|(_, time)| **time == at(10).time()), "{flipped:?}");
    for (suspend, dry_run) in [(true, false), (false, true)] {
        let spec = DeletionSpec { suspend, dry_run, ..spec_of(5) };
        let waits =
            status(&spec, &ledger(&spec), &Stage::Suspended(None), &before, &at(0), Remarks::default());
        assert_eq!(waits.start_time, None, "it has not started");
    }
}

#[test]
fn what_is_open_for_long_is_said_and_known_to_be_said() {
    let spec = spec_of(5);
    let stuck =
        Stuck { count: 3, accepted: 3, example: "x (stopped)".into(), after: Duration::from_mins(90) };
    let before = InstanceDeletionStatus::default();
    let wait = at(600).time();
    let remarks = Remarks { next_action: Some(&wait), stuck: Some(&stuck), look_outstanding: false };
    let said = status(&spec, &ledger(&spec), &Stage::Deleting(None), &before, &at(0), remarks);
    let message = &said.conditions[0].message;
    let end = "; 3 instances open for more than 5400 s, such as x (stopped): ask the vendor, looking goes on";
    assert_eq!(*message, format!("1 of 5 terminated, 1 not found{end}"));
    assert_eq!(said.next_action_time, Some(wait));
    assert_eq!(said.progress.as_deref(), Some("2/5"), "gone, of all");
    let advice = |accepted| Stuck { accepted, ..stuck.clone() }.advice();
    assert_eq!(advice(0), "none of them is known to be accepted by the cloud");
    assert_eq!(advice(2), "the cloud has accepted 2 of them: ask the vendor, looking goes on");
    assert!(Stuck::is_said(&said) && !Stuck::is_said(&before) && !Stuck::is_said(&ready("Deleting")));
    let mut elsewhere = said;
    elsewhere.conditions.retain(|c| c.type_ != "Ready");
    assert!(!Stuck::is_said(&elsewhere));
}

#[test]
fn an_invalid_spec_leaves_the_record_and_ends_the_object() {
    let mut before = InstanceDeletionStatus {
        next_action_time: Some(at(9).time()),
        progress: Some("1/2".into()),
        ..InstanceDeletionStatus::default()
    };
    let status = invalid_spec("it is odd", None, &meta(3), &before, &at(5));
    let is_true: Vec<_> =
        status.conditions.iter().filter(|c| c.status == "True").map(|c| &*c.type_).collect();
    assert_eq!(is_true, ["Stalled", "Finished"]);
    assert_eq!((status.phase, status.observed_generation), (Some(Phase::InvalidSpec), Some(3)));
    assert_eq!(
        (status.next_action_time.as_ref(), status.completion_time.clone()),
        (None, Some(at(5).time()))
    );
    assert_eq!(status.progress, before.progress);
    let message = "Nothing is sent, and nothing is looked at: it is odd; correct the spec, or delete this object and create a valid one";
    assert_eq!(status.conditions[0].message, message);
    assert!(is_finished(&status) && !is_finished(&before));
    let seen = observed(&status, &meta(4));
    assert_eq!(seen.observed_generation, Some(4));
    assert!(seen.conditions.iter().all(|c| c.observed_generation == Some(4)));
    // One that was valid before waits.
    before.conditions = ready("Deleting").conditions;
    for (phase, waits) in [
        (None, Phase::Deleting),
        (Some(Phase::Throttled), Phase::Deleting),
        (Some(Phase::Suspended), Phase::Suspended),
        (Some(Phase::Planned), Phase::Planning),
    ] {
        before.phase = phase;
        let status = invalid_spec("it is odd", None, &meta(3), &before, &at(5));
        assert_eq!((status.phase, &status.completion_time), (Some(waits), &None));
        assert!(!is_finished(&status) && status.conditions.iter().all(|c| c.type_ != "Stalled"), "{phase:?}");
    }
}

#[test]
fn a_message_is_cut_at_a_kibibyte_on_a_character() {
    let cut = |text: &str| bounded(text.to_owned());
    assert_eq!(cut(&"x".repeat(1024)).len(), 1024);
    assert_eq!(cut(&"x".repeat(1025)).len(), 1024);
    let odd = format!("{}é{}", "x".repeat(1023), "y".repeat(9));
    assert_eq!(cut(&odd), "x".repeat(1023));
}
