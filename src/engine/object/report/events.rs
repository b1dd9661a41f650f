//! Events: one for the outcome of each call, and one for each new reason of `Ready`.

use super::stuck::Stuck;
use crate::{
    api::{CallKind, EventReason, FailureReason, InstanceDeletionStatus, ReadyReason},
    engine::{
        object::state::{
            ledger::{Ledger, Progress, Row},
            memory::{CallState, Memory},
        },
        outcome::{CallOutcome, Refusal},
    },
};

/// Something to tell a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether a person should look at it.
    pub warning: bool,
    /// A stable reason.
    pub reason: &'static str,
    /// What the controller did. Kubernetes folds events of equal reason and action into one, whatever their note says.
    pub action: String,
    /// One sentence.
    pub note: String,
}

impl Event {
    /// An event of this reason.
    #[must_use]
    pub fn new(reason: EventReason, action: String, note: String) -> Self {
        Self { warning: reason.warning(), reason: reason.as_str(), action, note }
    }
}

/// Tells that ids are open for longer than `--stuck-after`.
#[must_use]
pub fn stuck(stuck: &Stuck) -> Event {
    let Stuck { count, example, after, .. } = stuck;
    let after = after.as_secs();
    let advice = stuck.advice();
    let note = format!("{count} instances have had no end for {after} s, such as {example}; {advice}");
    Event::new(EventReason::Stuck, "Look".to_owned(), note)
}

/// Tells once that the stored spec is one that the schema refuses.
#[must_use]
pub fn turns_invalid(
    why: &str,
    before: &InstanceDeletionStatus,
    after: &InstanceDeletionStatus,
) -> Option<Event> {
    let says_so = |status: &InstanceDeletionStatus| {
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        ready.is_some_and(|ready| ready.reason == ReadyReason::InvalidSpec.as_str())
    };
    let note = format!("Nothing is sent: {why}");
    let event = || Event::new(EventReason::InvalidSpec, "Validate".to_owned(), note);
    (!says_so(before) && says_so(after)).then(event)
}

/// The name of the operation that a call of this kind uses.
#[must_use]
pub fn operation(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Delete => "DeleteInstances",
        CallKind::PowerOff => "ChangeServerPowerState",
    }
}

/// Tells of the instances that the record newly says were powered on again.
#[must_use]
pub fn powered_on_again(before: &Ledger, after: &Ledger) -> Option<Event> {
    /// Most instances that the event names.
    const NAMED: usize = 10;
    let wanted =
        |row: &Row| matches!(row.progress, Progress::Failed { reason: FailureReason::PoweredOnAgain, .. });
    let rows = before.rows.iter().zip(&after.rows);
    let new: Vec<_> = rows.filter(|(before, after)| wanted(after) && !wanted(before)).collect();
    let named: Vec<_> = new.iter().take(NAMED).map(|(_, row)| row.id.to_string()).collect();
    let note = format!(
        "{} instances were powered on again after they were powered off, and are not deleted: {}{}",
        new.len(),
        named.join(", "),
        if new.len() > NAMED { ", and others" } else { "" }
    );
    (!new.is_empty()).then(|| Event::new(EventReason::PoweredOnAgain, "Look".to_owned(), note))
}

/// Tells the outcomes of calls that this write records.
#[must_use]
pub fn outcomes(memory: &Memory, records: &[u32]) -> Vec<Event> {
    let mut events = Vec::new();
    for number in records {
        let Some(call) = memory.calls.get(number) else { continue };
        let CallState::Ended { outcome, .. } = &call.state else { continue };
        let told = told(call.kind, *number, call.ids.len(), outcome).into_iter();
        let action = format!("{}-{number}", operation(call.kind));
        events.extend(told.map(|(reason, note)| Event::new(reason, action.clone(), note)));
    }
    events
}

/// What people are told of the outcome of a batch of this size: nothing if `Ready` says it.
fn told(kind: CallKind, number: u32, size: usize, outcome: &CallOutcome) -> Vec<(EventReason, String)> {
    let (accepted_for, nothing) = match kind {
        CallKind::Delete => ("accepted", "nothing was deleted by it"),
        CallKind::PowerOff => ("accepted to be powered off", "nothing was powered off by it"),
    };
    match outcome {
        CallOutcome::Accepted { ids, foreign, message } => {
            let request = message.request_id.as_deref().unwrap_or("not given");
            let accepted = ids.len();
            let reason =
                if accepted < size { EventReason::BatchPartlyAccepted } else { EventReason::BatchAccepted };
            let note =
                format!("Batch {number}: {accepted} of {size} instances {accepted_for} (request {request})");
            let mut told = vec![(reason, note)];
            if *foreign > 0 {
                let note = format!(
                    "The reply to batch {number} listed {foreign} ids that the call did not name; they are ignored"
                );
                told.push((EventReason::ForeignInstances, note));
            }
            told
        }
        CallOutcome::Unknown { message, .. } => {
            let note = format!(
                "The outcome of batch {number} ({size} instances) is unknown ({}); their states are read before anything is sent again",
                message.text
            );
            vec![(EventReason::BatchOutcomeUnknown, note)]
        }
        CallOutcome::Refused { refusal, message, .. } => {
            let what = match refusal {
                Refusal::Whole => return Vec::new(),
                Refusal::Unnamed | Refusal::UnnamedState | Refusal::UnnamedConflict => {
                    "without saying for which".to_owned()
                }
                Refusal::Missing(ids) | Refusal::Conflict(ids) => {
                    format!("for {} of them", ids.len())
                }
            };
            let code = message.code.as_deref().unwrap_or("no code");
            let note = format!(
                "Batch {number} ({size} instances) was refused {what} ({code}: {}); {nothing}",
                message.text
            );
            vec![(EventReason::BatchRefused, note)]
        }
        CallOutcome::NotSent(_) => Vec::new(),
    }
}

/// Tells a new reason of `Ready` once.
#[must_use]
pub fn turning_point(before: &InstanceDeletionStatus, after: &InstanceDeletionStatus) -> Option<Event> {
    let ready = |status: &InstanceDeletionStatus| {
        status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| (c.reason.clone(), c.message.clone()))
    };
    let (reason, note) = ready(after)?;
    if ready(before).is_some_and(|(was, _)| was == reason) {
        return None;
    }
    let event = ReadyReason::parse(&reason)?.event()?;
    Some(Event { warning: event.warning, reason: event.reason, action: "Reconcile".to_owned(), note })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        object::{
            report::status::tests::ready,
            state::memory::OwnCall,
            tests::case::{Case, then},
        },
        outcome::{CloudMessage, Trouble, Unsent},
    };

    fn events_of(outcome: CallOutcome, ids: usize) -> Vec<(bool, &'static str, String, String)> {
        let mut case = Case::pending();
        let ids = (0..ids)
            .map(|n| {
                crate::engine::object::state::memory::CalledId::first(crate::engine::InstanceId::from_u128(
                    n as u128,
                ))
            })
            .collect();
        let state = CallState::Ended { at: then(), outcome };
        case.memory.calls.insert(7, OwnCall { kind: CallKind::Delete, claim: "mine".into(), ids, state });
        let events = outcomes(&case.memory, &[7, 8]);
        events.into_iter().map(|e| (e.warning, e.reason, e.action, e.note)).collect()
    }

    fn message(request_id: Option<&str>) -> CloudMessage {
        let code = request_id.map(|_| "iMetal.0001".to_owned());
        CloudMessage {
            request_id: request_id.map(str::to_owned),
            code,
            text: "no".into(),
            ..CloudMessage::default()
        }
    }

    /// Whether it is a warning, its reason, its note.
    type Said<'a> = (bool, &'a str, &'a str);

    #[test]
    fn each_outcome_is_told_with_what_the_cloud_said() {
        let id = |n: u128| crate::engine::InstanceId::from_u128(n);
        let accepted = |ids: u128, foreign| CallOutcome::Accepted {
            ids: (0..ids).map(id).collect(),
            foreign,
            message: message((foreign == 0).then_some("r-1")),
        };
        let refused = |refusal| CallOutcome::Refused {
            refusal,
            trouble: Trouble::RequestRefused,
            message: message(Some("r")),
        };
        let unknown = CallOutcome::Unknown {
            trouble: Trouble::CloudUnreachable,
            unavailable: false,
            message: message(None),
        };
        let all = "Batch 7: 3 of 3 instances accepted (request r-1)";
        let some = "Batch 7: 2 of 3 instances accepted (request r-1)";
        let foreign = "The reply to batch 7 listed 1 ids that the call did not name; they are ignored";
        let unnamed = "Batch 7 (3 instances) was refused without saying for which (iMetal.0001: no); nothing was deleted by it";
        let named =
            "Batch 7 (3 instances) was refused for 1 of them (iMetal.0001: no); nothing was deleted by it";
        let lost = "The outcome of batch 7 (3 instances) is unknown (no); their states are read before anything is sent again";
        let one = vec![id(1)];
        let table: [(CallOutcome, Vec<Said<'_>>); 10] = [
            (accepted(3, 0), vec![(false, "BatchAccepted", all)]),
            (accepted(2, 0), vec![(true, "BatchPartlyAccepted", some)]),
            (
                accepted(3, 1),
                vec![
                    (false, "BatchAccepted", "Batch 7: 3 of 3 instances accepted (request not given)"),
                    (true, "ForeignInstances", foreign),
                ],
            ),
            (refused(Refusal::Unnamed), vec![(true, "BatchRefused", unnamed)]),
            (refused(Refusal::UnnamedConflict), vec![(true, "BatchRefused", unnamed)]),
            (refused(Refusal::Missing(one.clone())), vec![(true, "BatchRefused", named)]),
            (refused(Refusal::Conflict(one)), vec![(true, "BatchRefused", named)]),
            (refused(Refusal::Whole), vec![]),
            (CallOutcome::NotSent(Unsent::TooLate), vec![]),
            (unknown, vec![(true, "BatchOutcomeUnknown", lost)]),
        ];
        for (outcome, expected) in table {
            let told = events_of(outcome.clone(), 3);
            let said: Vec<_> = told.iter().map(|(w, reason, _, note)| (*w, *reason, note.as_str())).collect();
            assert_eq!(said, expected, "{outcome:?}");
            // Kubernetes folds events of equal reason and action into one.
            assert!(told.iter().all(|(_, _, action, _)| action == "DeleteInstances-7"));
        }
    }

    #[test]
    fn a_turning_point_is_told_once_by_its_name_and_a_warning_where_somebody_should_look() {
        let nothing = InstanceDeletionStatus::default();
        for reason in ReadyReason::ALL {
            let Some(told) = reason.event() else { continue };
            let after = ready(reason.as_str());
            let note = "the message".to_owned();
            let (warning, name) = (told.warning, told.reason);
            let event = Event { warning, reason: name, action: "Reconcile".to_owned(), note };
            assert_eq!(turning_point(&nothing, &after), Some(event.clone()), "{reason}");
            assert_eq!(turning_point(&ready("Other"), &after), Some(event), "{reason}");
            assert_eq!(turning_point(&after, &after), None, "{reason}");
        }
        for silent in ["Planning", "InvalidSpec"] {
            assert_eq!(turning_point(&nothing, &ready(silent)), None, "{silent}");
        }
        assert_eq!(turning_point(&nothing, &nothing), None);
    }

    #[test]
    fn stuck_ids_are_told_with_an_example() {
        let after = std::time::Duration::from_mins(90);
        let event = stuck(&Stuck { count: 3, accepted: 3, example: "x (stopped)".into(), after });
        assert_eq!(
            event.note,
            "3 instances have had no end for 5400 s, such as x (stopped); ask the vendor, looking goes on"
        );
        assert!(event.warning && event.reason == "Stuck");
    }
}
