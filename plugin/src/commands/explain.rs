//! `explain`: why an object waits, what to do, and who holds it.

use clap::Args;
use instance_deletion_controller::{
    api::{
        BatchStatus, CallKind, FailureReason, InstanceDeletion, InstanceDeletionStatus, InstancePhase,
        InstanceStatus, ReadyReason, ReasonKind,
    },
    engine::object::state::spec::HOLD,
};
use k8s_openapi::{
    api::core::v1::Event,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, ResourceExt, api::ListParams};
use serde::Serialize;

use crate::{
    args::{ClusterArgs, TextOrJson},
    cluster::Cluster,
    failure::Failure,
    output::{count, json, print},
    ownership::{owner, writers, writers_of_spec},
    table::printable,
};

/// Newest events that are shown.
const EVENTS: usize = 5;
/// Newest calls that are shown.
const CALLS: usize = 3;
/// Most instances that are named for one thing.
const NAMED: usize = 5;

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Name of the InstanceDeletion.
    name: String,

    /// Form of the output.
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: TextOrJson,
}

/// What is known of an object, in sentences.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    namespace: String,
    name: String,
    phase: String,
    progress: String,
    reason: String,
    message: String,
    to_do: String,
    goes_on: String,
    held_by: Vec<String>,
    owner: Option<String>,
    /// Instances that are off, those first that may be deleted first.
    off: Vec<String>,
    calls: Vec<String>,
    failures: Vec<String>,
    events: Vec<String>,
}

/// Prints the explanation.
pub async fn run(cluster: &ClusterArgs, args: ExplainArgs) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let object = cluster.get(&args.name).await?;
    let events = events(&cluster, &object).await;
    let explanation = explain(&object, events);
    print(&match args.output {
        TextOrJson::Json => json(&explanation)?,
        TextOrJson::Text => in_words(&explanation),
    })
}

fn explain(object: &InstanceDeletion, events: Vec<String>) -> Explanation {
    let nothing = InstanceDeletionStatus::default();
    let status = object.status.as_ref().unwrap_or(&nothing);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let reason = ready.and_then(|ready| ReadyReason::parse(&ready.reason));
    let generation = object.metadata.generation.unwrap_or_default();
    let unseen = status.observed_generation.is_none_or(|seen| seen < generation);
    let to_do = match (reason, ready) {
        (_, None) => {
            "check that the controller runs, and that its --namespace and --selector cover the object"
                .to_owned()
        }
        (Some(reason), _) => reason.advice().to_owned(),
        (None, Some(_)) => "see docs/reference/reasons.md of the controller's version".to_owned(),
    };
    let message = match ready {
        None => "the controller has not looked at the object yet".to_owned(),
        Some(ready) if unseen => {
            format!("{} (the controller has not seen the last edit yet)", ready.message)
        }
        Some(ready) => ready.message.clone(),
    };
    Explanation {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        phase: status.phase.map_or("Pending".to_owned(), |phase| phase.to_string()),
        progress: progress(object, status),
        reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
        message: printable(&message),
        to_do,
        goes_on: goes_on(status, reason),
        held_by: held_by(object, status),
        owner: owner(&object.metadata).map(|owner| owner.to_string()),
        off: off(object, status),
        calls: calls(status),
        failures: failures(status),
        events,
    }
}

fn progress(object: &InstanceDeletion, status: &InstanceDeletionStatus) -> String {
    let Some(summary) = &status.summary else {
        return format!("{} listed", count(object.spec.instance_ids.len(), "instance"));
    };
    let gone = summary.terminated + summary.not_found;
    let on_their_way = summary.submitted + summary.accepted;
    let off = [(summary.powering_off, "being powered off"), (summary.powered_off, "off")];
    let off = off.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}, "));
    format!(
        "{gone}/{} gone, {on_their_way} on their way, {}{} not sent, {} failed",
        summary.total,
        off.collect::<String>(),
        summary.pending,
        summary.failed
    )
}

/// Instances that are off and wait for the end of their soak, each with when it may be deleted.
fn off(object: &InstanceDeletion, status: &InstanceDeletionStatus) -> Vec<String> {
    let soak = object.spec.power_off.and_then(|power_off| power_off.soak_seconds).unwrap_or_default();
    let off_since = |row: &InstanceStatus| {
        let since = row.powered_off_at.as_ref().filter(|_| row.phase == InstancePhase::PoweredOff)?.0;
        Some((since, since.checked_add(SignedDuration::from_secs(soak.into())).ok()?, row.id.clone()))
    };
    let mut rows: Vec<(Timestamp, Timestamp, String)> =
        status.instances.iter().filter_map(off_since).collect();
    rows.sort();
    let mut lines: Vec<String> = rows
        .iter()
        .take(NAMED)
        .map(|(since, due, id)| format!("{id} since {since}, to be deleted from {due} on if it still is off"))
        .collect();
    let more = rows.len().saturating_sub(NAMED);
    if let Some((_, due, _)) = rows.last().filter(|_| more > 0) {
        lines.push(format!("and {more} more, the last of them from {due} on"));
    }
    lines
}

fn goes_on(status: &InstanceDeletionStatus, reason: Option<ReadyReason>) -> String {
    match (&status.next_action_time, reason.map(ReadyReason::kind)) {
        (Some(at), _) => format!("by itself at {}", at.0),
        (None, None) => "when the controller looks at it".to_owned(),
        (None, Some(ReasonKind::Working)) => "it is going on".to_owned(),
        (None, Some(ReasonKind::Hindered)) => "by itself: the controller tries again".to_owned(),
        (None, Some(ReasonKind::AtRest)) => "when someone does what is said above".to_owned(),
        (None, Some(ReasonKind::GoodEnd | ReasonKind::BadEnd)) => "it has ended".to_owned(),
    }
}

/// Everything that stops new calls, each with the field manager that wrote it.
fn held_by(object: &InstanceDeletion, status: &InstanceDeletionStatus) -> Vec<String> {
    let metadata = &object.metadata;
    let by = |writers: Vec<(String, Option<String>)>| {
        let all: Vec<String> = writers
            .into_iter()
            .map(|(manager, at)| at.map_or(manager.clone(), |at| format!("{manager} at {at}")))
            .collect();
        if all.is_empty() { String::new() } else { format!(", written by {}", all.join(" and ")) }
    };
    let mut held = Vec::new();
    if let Some(reason) = object.annotations().get(HOLD) {
        held.push(format!("the annotation {HOLD}: {:?}{}", printable(reason), by(writers(metadata, HOLD))));
    }
    if object.spec.suspend == Some(true) {
        held.push(format!("spec.suspend: true{}", by(writers_of_spec(metadata, "suspend"))));
    }
    if object.spec.dry_run == Some(true) {
        held.push(format!("spec.dryRun: true{}", by(writers_of_spec(metadata, "dryRun"))));
    }
    if metadata.deletion_timestamp.is_some() {
        held.push("the object is being deleted".to_owned());
    }
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let guard = [ReadyReason::Held, ReadyReason::GuardRefused, ReadyReason::GuardUnreadable];
    if let Some(ready) = ready.filter(|ready| guard.iter().any(|guard| guard.as_str() == ready.reason)) {
        held.push(format!("a DeletionGuard: {}", printable(&ready.message)));
    }
    held
}

fn calls(status: &InstanceDeletionStatus) -> Vec<String> {
    status.batches.iter().rev().take(CALLS).map(|batch| call(batch, &status.instances)).collect()
}

fn call(batch: &BatchStatus, rows: &[InstanceStatus]) -> String {
    let in_phase = |phases: &[InstancePhase]| {
        let rows = rows.iter().filter(|row| row.batch == Some(batch.number));
        rows.filter(|row| phases.contains(&row.phase)).count()
    };
    let (what, open) = match batch.kind.unwrap_or(CallKind::Delete) {
        CallKind::Delete => {
            let open = in_phase(&[InstancePhase::Submitted, InstancePhase::Accepted]);
            ("", format!("{open} on their way"))
        }
        CallKind::PowerOff => {
            ("power off ", format!("{} not seen off yet", in_phase(&[InstancePhase::PoweringOff])))
        }
    };
    let outcome = match (batch.no_effect, batch.returned) {
        (Some(true), _) => "no effect".to_owned(),
        (_, Some(returned)) => format!("{returned} accepted"),
        (_, None) => "outcome not recorded".to_owned(),
    };
    let request = batch.request_id.as_deref().unwrap_or("unknown");
    format!(
        "call {} at {}: {what}{}, {outcome}, {open}; request id {}",
        batch.number,
        batch.submitted_at.0,
        count(batch.size, "id"),
        printable(request)
    )
}

/// Why instances were given up. Those that are up to a person are named, with what happened.
fn failures(status: &InstanceDeletionStatus) -> Vec<String> {
    let failure = |failure: &instance_deletion_controller::api::FailureStatus| {
        let said: Vec<&str> =
            [&failure.code, &failure.message].into_iter().flatten().map(String::as_str).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", printable(&said.join(" "))) };
        format!(
            "{} {}{said}{}",
            count(failure.count, "instance"),
            failure.reason,
            story(failure.reason, status)
        )
    };
    status.failures.iter().map(failure).collect()
}

/// What happened to the instances that were given up for this reason, and which they are; empty if the reason says it all.
fn story(reason: FailureReason, status: &InstanceDeletionStatus) -> String {
    let what = match reason {
        FailureReason::PoweredOnAgain => {
            "somebody powered them on again, so this object does not delete them; to delete them all the same, list them in a new object"
        }
        FailureReason::PowerOffFailed => {
            "they still ran after every attempt; power them off at the cloud's console, then `kubectl idel retry`"
        }
        FailureReason::Conflict
        | FailureReason::InstanceError
        | FailureReason::InvalidRequest
        | FailureReason::NotAccepted
        | FailureReason::NotFound
        | FailureReason::OutcomeUnknown
        | FailureReason::NotAsExpected
        | FailureReason::Protected
        | FailureReason::NotSent
        | FailureReason::Expired
        | FailureReason::DeadlineExceeded => return String::new(),
    };
    let rows = status.instances.iter().filter(|row| row.reason == Some(reason));
    let mut named: Vec<String> = rows
        .map(|row| {
            let seen = row.ended_at.as_ref().map(|at| format!(" (seen {})", at.0)).unwrap_or_default();
            format!("{}{seen}", row.id)
        })
        .collect();
    let more = named.len().saturating_sub(NAMED);
    named.truncate(NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    format!(": {what}: {}", named.join(", "))
}

/// The newest events; a sentence in their place if they can't be read.
async fn events(cluster: &Cluster, object: &InstanceDeletion) -> Vec<String> {
    let api: Api<Event> = cluster.in_namespace(&cluster.namespace);
    let of_it = format!("involvedObject.uid={}", object.uid().unwrap_or_default());
    let mut events = match api.list(&ListParams::default().fields(&of_it)).await {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return vec!["you may not read events in this namespace".to_owned()];
        }
        Err(error) => return vec![cluster.failure("reading events", &error).to_string()],
    };
    let at = |event: &Event| {
        let series =
            event.series.as_ref().and_then(|series| series.last_observed_time.clone()).map(|time| time.0);
        let plain = event.last_timestamp.clone().map(|time| time.0);
        series.or(event.event_time.clone().map(|time| time.0)).or(plain)
    };
    events.sort_by_key(|event| std::cmp::Reverse(at(event)));
    let newest = events.iter().take(EVENTS);
    newest
        .map(|event| {
            let when =
                at(event).map(|at| at.round(k8s_openapi::jiff::Unit::Second).unwrap_or(at).to_string());
            format!(
                "{} {} {}: {}",
                when.unwrap_or_default(),
                event.type_.as_deref().unwrap_or_default(),
                event.reason.as_deref().unwrap_or_default(),
                printable(event.message.as_deref().unwrap_or_default())
            )
        })
        .collect()
}

fn in_words(explanation: &Explanation) -> String {
    let Explanation { namespace, name, phase, progress, .. } = explanation;
    let mut text = format!("{namespace}/{name}: {phase}, {progress}\n");
    let mut line = |title: &str, lines: &[String]| {
        for (index, line) in lines.iter().enumerate() {
            text += &format!("  {:<10} {line}\n", if index == 0 { title } else { "" });
        }
    };
    let why = if explanation.reason.is_empty() {
        explanation.message.clone()
    } else {
        format!("{}: {}", explanation.reason, explanation.message)
    };
    line("why", &[why]);
    line("to do", std::slice::from_ref(&explanation.to_do));
    line("goes on", std::slice::from_ref(&explanation.goes_on));
    line("held by", &explanation.held_by);
    line("owner", explanation.owner.as_slice());
    line("off", &explanation.off);
    line("calls", &explanation.calls);
    line("failures", &explanation.failures);
    line("events", &explanation.events);
    text
}
