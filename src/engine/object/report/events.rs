//! What is told in events: what became of each delete call, and each turning point once.

use super::status::Stuck;
use crate::{
    api::InstanceDeletionStatus,
    engine::{
        object::state::memory::{CallState, Memory},
        reply::{Refusal, Reply},
    },
};

/// Something to tell a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether a person should look at it.
    pub warning: bool,
    /// A stable reason.
    pub reason: &'static str,
    /// What was done. Kubernetes folds events of equal reason and action into one, whatever their note says.
    pub action: String,
    /// One sentence.
    pub note: String,
}

/// Ids are open for longer than `--stuck-after`.
#[must_use]
pub fn stuck(stuck: &Stuck) -> Event {
    let Stuck { count, example, after } = stuck;
    let after = after.as_secs();
    Event {
        warning: true,
        reason: "Stuck",
        action: "Look".to_owned(),
        note: format!(
            "{count} instances have had no end for {after} s, such as {example}; ask the vendor, looking goes on"
        ),
    }
}

/// The stored spec is one that the schema refuses.
#[must_use]
pub fn invalid_spec(why: &str) -> Event {
    let note = format!("Nothing is sent: {why}");
    Event { warning: true, reason: "InvalidSpec", action: "Validate".to_owned(), note }
}

/// What became of delete calls, one event for each.
#[must_use]
pub fn outcomes(memory: &Memory, records: &[u32]) -> Vec<Event> {
    let mut events = Vec::new();
    for number in records {
        let Some(call) = memory.calls.get(number) else { continue };
        let CallState::Ended { reply, .. } = &call.state else { continue };
        let action = format!("DeleteInstances-{number}");
        let size = call.ids.len();
        match reply {
            Reply::Accepted { ids, foreign, message } => {
                let request = message.request_id.as_deref().unwrap_or("not given");
                events.push(Event {
                    warning: ids.len() < size,
                    reason: if ids.len() < size { "BatchPartlyAccepted" } else { "BatchAccepted" },
                    action: action.clone(),
                    note: format!("Batch {number}: {} of {size} instances accepted (request {request})", ids.len()),
                });
                if *foreign > 0 {
                    events.push(Event {
                        warning: true,
                        reason: "ForeignInstances",
                        action,
                        note: format!("The reply to batch {number} listed {foreign} ids that the call did not name; they are ignored"),
                    });
                }
            }
            Reply::Refused { refusal, message, .. } if *refusal != Refusal::Whole => {
                let what = match refusal {
                    Refusal::Whole | Refusal::Unnamed | Refusal::UnnamedConflict => "without saying for which".to_owned(),
                    Refusal::Missing(ids) | Refusal::Conflict(ids) | Refusal::Invalid(ids) => {
                        format!("for {} of them", ids.len())
                    }
                };
                let code = message.code.as_deref().unwrap_or("no code");
                events.push(Event {
                    warning: true,
                    reason: "BatchRefused",
                    action,
                    note: format!("Batch {number} ({size} instances) was refused {what} ({code}: {}); nothing was deleted by it", message.text),
                });
            }
            Reply::Unknown { message, .. } => events.push(Event {
                warning: true,
                reason: "BatchOutcomeUnknown",
                action,
                note: format!(
                    "The outcome of batch {number} ({size} instances) is unknown ({}); their states are read before anything is sent again",
                    message.text
                ),
            }),
            Reply::Refused { .. } | Reply::TooLate => {}
        }
    }
    events
}

/// One event when the reason of `Ready` changes.
#[must_use]
pub fn turning_point(before: &InstanceDeletionStatus, after: &InstanceDeletionStatus) -> Option<Event> {
    let ready = |status: &InstanceDeletionStatus| {
        status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| (c.reason.clone(), c.message.clone()))
    };
    let (reason, note) = ready(after)?;
    if ready(before).is_some_and(|(was, _)| was == reason) {
        return None;
    }
    let (warning, reason) = match reason.as_str() {
        "Planned" => (false, "Planned"),
        "Deleting" => (false, "Deleting"),
        "Suspended" => (false, "Suspended"),
        "AllTerminated" => (false, "Succeeded"),
        "NothingFound" => (true, "NothingFound"),
        "Failed" => (true, "Failed"),
        "DeadlineExceeded" => (true, "DeadlineExceeded"),
        "Expired" => (true, "Expired"),
        "SecretNotFound" => (true, "SecretNotFound"),
        "SecretForbidden" => (true, "SecretForbidden"),
        "SecretInvalid" => (true, "SecretInvalid"),
        "CredentialsRejected" => (true, "CredentialsRejected"),
        "Forbidden" => (true, "Forbidden"),
        "Throttled" => (true, "Throttled"),
        "CloudUnreachable" => (true, "CloudUnreachable"),
        "EndpointMisconfigured" => (true, "EndpointMisconfigured"),
        "RequestRefused" => (true, "RequestRefused"),
        "StateUnknown" => (true, "StateUnknown"),
        "StatusTooLarge" => (true, "StatusTooLarge"),
        _ => return None,
    };
    Some(Event { warning, reason, action: "Reconcile".to_owned(), note })
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
        reply::{CloudMessage, Trouble},
    };

    fn told(reply: Reply, ids: usize) -> Vec<(bool, &'static str, String, String)> {
        let mut case = Case::pending();
        let ids = (0..ids).map(|n| (crate::engine::InstanceId::from_u128(n as u128), 0)).collect();
        let state = CallState::Ended { at: then(), reply };
        case.memory.calls.insert(7, OwnCall { claim: "mine".into(), ids, state });
        let events = outcomes(&case.memory, &[7, 8]);
        events.into_iter().map(|e| (e.warning, e.reason, e.action, e.note)).collect()
    }

    fn message(request_id: Option<&str>) -> CloudMessage {
        let code = request_id.map(|_| "iMetal.0001".to_owned());
        CloudMessage { request_id: request_id.map(str::to_owned), code, text: "no".into() }
    }

    /// Whether it is a warning, its reason, its note.
    type Said<'a> = (bool, &'a str, &'a str);

    #[test]
    fn each_outcome_is_told_with_what_the_cloud_said() {
        let id = |n: u128| crate::engine::InstanceId::from_u128(n);
        let accepted = |ids: u128, foreign| Reply::Accepted {
            ids: (0..ids).map(id).collect(),
            foreign,
            message: message((foreign == 0).then_some("r-1")),
        };
        let refused = |refusal| Reply::Refused {
            refusal,
            trouble: Trouble::RequestRefused,
            message: message(Some("r")),
        };
        let unknown =
            Reply::Unknown { trouble: Trouble::CloudUnreachable, unavailable: false, message: message(None) };
        let all = "Batch 7: 3 of 3 instances accepted (request r-1)";
        let some = "Batch 7: 2 of 3 instances accepted (request r-1)";
        let foreign = "The reply to batch 7 listed 1 ids that the call did not name; they are ignored";
        let unnamed = "Batch 7 (3 instances) was refused without saying for which (iMetal.0001: no); nothing was deleted by it";
        let named =
            "Batch 7 (3 instances) was refused for 1 of them (iMetal.0001: no); nothing was deleted by it";
        let lost = "The outcome of batch 7 (3 instances) is unknown (no); their states are read before anything is sent again";
        let one = vec![id(1)];
        let table: [(Reply, Vec<Said<'_>>); 11] = [
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
            (refused(Refusal::Conflict(one.clone())), vec![(true, "BatchRefused", named)]),
            (refused(Refusal::Invalid(one)), vec![(true, "BatchRefused", named)]),
            (refused(Refusal::Whole), vec![]),
            (Reply::TooLate, vec![]),
            (unknown, vec![(true, "BatchOutcomeUnknown", lost)]),
        ];
        for (reply, expected) in table {
            let told = told(reply.clone(), 3);
            let said: Vec<_> = told.iter().map(|(w, reason, _, note)| (*w, *reason, note.as_str())).collect();
            assert_eq!(said, expected, "{reply:?}");
            // Kubernetes folds events of equal reason and action into one.
            assert!(told.iter().all(|(_, _, action, _)| action == "DeleteInstances-7"));
        }
    }

    #[test]
    fn a_turning_point_is_told_once_by_its_name_and_a_warning_where_somebody_should_look() {
        let good = ["Planned", "Deleting", "Suspended"];
        let bad = [
            "NothingFound",
            "Failed",
            "DeadlineExceeded",
            "Expired",
            "SecretNotFound",
            "SecretForbidden",
            "SecretInvalid",
            "CredentialsRejected",
            "Forbidden",
            "Throttled",
            "CloudUnreachable",
            "EndpointMisconfigured",
            "RequestRefused",
            "StateUnknown",
            "StatusTooLarge",
        ];
        let table = good
            .map(|reason| (reason, false, reason))
            .into_iter()
            .chain(bad.map(|reason| (reason, true, reason)))
            .chain([("AllTerminated", false, "Succeeded")]);
        let nothing = InstanceDeletionStatus::default();
        for (ready_reason, warning, reason) in table {
            let after = ready(ready_reason);
            let note = "the message".to_owned();
            let event = Event { warning, reason, action: "Reconcile".to_owned(), note };
            assert_eq!(turning_point(&nothing, &after), Some(event.clone()), "{ready_reason}");
            assert_eq!(turning_point(&ready("Other"), &after), Some(event), "{ready_reason}");
            assert_eq!(turning_point(&after, &after), None, "{ready_reason}");
        }
        for silent in ["Planning", "InvalidSpec"] {
            assert_eq!(turning_point(&nothing, &ready(silent)), None, "{silent}");
        }
        assert_eq!(turning_point(&nothing, &nothing), None);
    }

    #[test]
    fn stuck_ids_are_told_with_an_example() {
        let after = std::time::Duration::from_mins(90);
        let event = stuck(&Stuck { count: 3, example: "x (stopped)".into(), after });
        assert_eq!(
            event.note,
            "3 instances have had no end for 5400 s, such as x (stopped); ask the vendor, looking goes on"
        );
        assert!(event.warning && event.reason == "Stuck");
    }
}
