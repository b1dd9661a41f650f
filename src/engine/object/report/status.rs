//! The status that people and tools read: phase, progress and conditions, as kstatus, Flux and Argo CD expect them.
//!
//! `Ready` and `Finished` are always there; `Reconciling` and `Stalled` only while True, never both, and `Ready` is False
//! while one of them is there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{FailureReason, InstanceDeletionStatus, Phase, PlanStatus, ReadyReason, ReasonKind, Summary},
    engine::{
        object::{
            report::stuck::Stuck,
            state::{
                blocker::Blocker,
                deadlines::Cutoff,
                ledger::Ledger,
                spec::{DeletionSpec, HOLD, Meta},
            },
        },
        outcome::Trouble,
        time::Now,
    },
};

/// How far an object is, and what it waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// dryRun, and the plan is not made yet.
    Planning(Option<Blocker>),
    /// dryRun, and here is the plan.
    Planned(PlanStatus),
    /// Suspended, and not at its end.
    Suspended(Option<Blocker>),
    /// Work goes on.
    Deleting(Option<Hindrance>),
    /// A cutoff has passed: the controller makes no new call and looks at the open instances.
    Closing {
        /// Which one.
        cutoff: Cutoff,
        /// Instances whose end a look is still to tell.
        waiting: usize,
        /// The last reading of the clock says that it has not passed.
        doubted: bool,
        /// What stands in the way of looking.
        blocker: Option<Blocker>,
    },
    /// Every id has its end; the cutoff, if any, had passed before.
    Ended(Option<Cutoff>),
}

/// Remarks that a status adds to the record and the stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remarks<'a> {
    /// The end of a long wait.
    pub next_action: Option<&'a Time>,
    /// Ids that are open for long.
    pub stuck: Option<&'a Stuck>,
    /// A person asked for a look that has not been made.
    pub look_outstanding: bool,
}

/// Why a deletion does not go on as it should.
#[derive(Clone, Debug, PartialEq)]
pub enum Hindrance {
    /// Something stands in the way.
    Trouble(Blocker),
    /// Ids that can't be read, or whose state allows neither sending nor ending.
    StateUnknown {
        /// How many.
        count: usize,
        /// The first of them, each with its state.
        named: String,
    },
    /// The status that would record a full reply would not fit into the API server's store.
    StatusTooLarge {
        /// Bytes that the object would take.
        bytes: usize,
    },
}

/// Whether the object is at its end, by its own status.
#[must_use]
pub fn is_finished(status: &InstanceDeletionStatus) -> bool {
    status.conditions.iter().any(|c| c.type_ == "Finished" && c.status == "True")
}

/// The status of an object with a valid spec: the record, and what it means. Timestamps of conditions that don't flip are
/// those of `before`.
#[must_use]
pub fn status(
    spec: &DeletionSpec,
    ledger: &Ledger,
    stage: &Stage,
    before: &InstanceDeletionStatus,
    now: &Now,
    remarks: Remarks<'_>,
) -> InstanceDeletionStatus {
    let summary = ledger.summary();
    let mut headline = headline(spec, ledger, stage, &summary);
    if let Some(stuck) = remarks.stuck {
        headline.message += &stuck.message();
    }
    let mut status = InstanceDeletionStatus {
        observed_generation: Some(spec.meta.generation),
        phase: Some(headline.phase),
        start_time: before.start_time.clone(),
        completion_time: before.completion_time.clone(),
        progress: Some(progress(&summary)),
        summary: Some(summary),
        next_action_time: remarks.next_action.cloned(),
        last_handled_reconcile_at: if remarks.look_outstanding {
            before.last_handled_reconcile_at.clone()
        } else {
            last_request(&spec.meta, before)
        },
        plan: match stage {
            Stage::Planned(plan) => Some(plan.clone()),
            _ => None,
        },
        ..InstanceDeletionStatus::default()
    };
    ledger.write(&mut status);
    if status.start_time.is_none() && !spec.suspend && !spec.dry_run {
        status.start_time = Some(now.time());
    }
    if headline.reason.finished().is_some() && status.completion_time.is_none() {
        status.completion_time = Some(now.time());
    }
    status.conditions = conditions(&headline, spec.meta.generation, &before.conditions, &now.time());
    status
}

/// Instances gone, of all.
fn progress(summary: &Summary) -> String {
    format!("{}/{}", summary.terminated + summary.not_found, summary.total)
}

/// The status of an object whose stored spec the schema refuses. It ends if no valid spec was ever
/// seen, else it waits. The record is left as it is, but for outcomes that were `entered` into it.
#[must_use]
pub fn invalid_spec(
    why: &str,
    entered: Option<&Ledger>,
    meta: &Meta,
    before: &InstanceDeletionStatus,
    now: &Now,
) -> InstanceDeletionStatus {
    // Each status that a controller writes has conditions.
    let never_valid = before.conditions.is_empty();
    let waits = match before.phase {
        Some(Phase::Suspended) => Phase::Suspended,
        Some(Phase::Planning | Phase::Planned) => Phase::Planning,
        _ => Phase::Deleting,
    };
    let advice = ReadyReason::InvalidSpec.advice();
    let headline = Headline {
        phase: if never_valid { Phase::InvalidSpec } else { waits },
        reason: ReadyReason::InvalidSpec,
        message: format!("Nothing is sent, and nothing is looked at: {why}; {advice}"),
    };
    let mut status = before.clone();
    if let Some(ledger) = entered {
        ledger.write(&mut status);
        let summary = ledger.summary();
        status.progress = Some(progress(&summary));
        status.summary = Some(summary);
    }
    status.observed_generation = Some(meta.generation);
    status.phase = Some(headline.phase);
    status.next_action_time = None;
    if headline.phase.is_end() {
        status.completion_time.get_or_insert_with(|| now.time());
    }
    status.conditions = conditions(&headline, meta.generation, &before.conditions, &now.time());
    status
}

/// The status of a finished object after a spec edit or a request to look: it only says that the controller saw that.
#[must_use]
pub fn observed(before: &InstanceDeletionStatus, meta: &Meta) -> InstanceDeletionStatus {
    let mut status = before.clone();
    status.observed_generation = Some(meta.generation);
    status.last_handled_reconcile_at = last_request(meta, before);
    for condition in &mut status.conditions {
        condition.observed_generation = Some(meta.generation);
    }
    status
}

/// The last request to look.
fn last_request(meta: &Meta, before: &InstanceDeletionStatus) -> Option<String> {
    meta.requested_at.clone().or_else(|| before.last_handled_reconcile_at.clone())
}

/// Whether someone asked to look since the status was written.
#[must_use]
pub fn look_requested(meta: &Meta, before: &InstanceDeletionStatus) -> bool {
    last_request(meta, before) != before.last_handled_reconcile_at
}

/// Why no new delete call is made.
fn stopped_by(spec: &DeletionSpec) -> String {
    if spec.meta.leaving {
        "since the object is being deleted; its instances are not looked at any more".to_owned()
    } else if spec.meta.held {
        format!("while the annotation {HOLD} is there")
    } else {
        "while spec.suspend is true".to_owned()
    }
}

/// What the phase and the conditions say. Reason and phase decide which conditions are True.
struct Headline {
    phase: Phase,
    reason: ReadyReason,
    message: String,
}

fn headline(spec: &DeletionSpec, ledger: &Ledger, stage: &Stage, summary: &Summary) -> Headline {
    let mut progress = format!("{} of {} terminated", summary.terminated, summary.total);
    if summary.not_found > 0 {
        progress += &format!(", {} not found", summary.not_found);
    }
    if summary.failed > 0 {
        progress += &format!(", {} failed", summary.failed);
    }
    if spec.duplicates > 0 {
        progress += &format!("; {} repeated ids in the spec count once", spec.duplicates);
    }
    let (phase, reason, message) = match stage {
        Stage::Planning(None) => (
            Phase::Planning,
            ReadyReason::Planning,
            format!("Looking at {} instances to make the plan; nothing is sent", summary.total),
        ),
        Stage::Planning(Some(blocker)) => {
            (Phase::Planning, blocker.trouble.reason(), trouble(spec, blocker, None))
        }
        Stage::Planned(plan) => (
            Phase::Planned,
            ReadyReason::Planned,
            format!(
                "Would delete {} of {} instances ({} on their way, {} gone, {} unknown); {}",
                plan.to_delete,
                plan.total,
                plan.on_their_way,
                plan.gone,
                plan.unknown,
                ReadyReason::Planned.advice()
            ),
        ),
        Stage::Suspended(None) => (
            Phase::Suspended,
            ReadyReason::Suspended,
            format!("{progress}; no new delete call {}", stopped_by(spec)),
        ),
        Stage::Suspended(Some(blocker)) => {
            let lead = format!("{progress}; no new delete call {}", stopped_by(spec));
            (Phase::Suspended, blocker.trouble.reason(), trouble(spec, blocker, Some(&lead)))
        }
        Stage::Deleting(None) => (Phase::Deleting, ReadyReason::Deleting, progress),
        Stage::Deleting(Some(hindrance)) => hindered(spec, hindrance, &progress),
        Stage::Closing { cutoff, waiting, doubted, blocker } => {
            closing(spec, *cutoff, (*waiting, *doubted), blocker.as_ref(), &progress)
        }
        Stage::Ended(cutoff) => ended(spec, ledger, summary, *cutoff),
    };
    Headline { phase, reason, message }
}

fn closing(
    spec: &DeletionSpec,
    cutoff: Cutoff,
    (waiting, doubted): (usize, bool),
    blocker: Option<&Blocker>,
    progress: &str,
) -> (Phase, ReadyReason, String) {
    let (phase, reason) = if spec.suspend {
        (Phase::Suspended, ReadyReason::Suspended)
    } else {
        (Phase::Deleting, ReadyReason::Deleting)
    };
    let rest = match waiting {
        _ if doubted => format!(
            "the clock, or the time that the cloud tells, says now that it has not: check the clock of the controller's node, and write another {} to go on",
            cutoff.field()
        ),
        0 => "those on their way are followed to their end".to_owned(),
        _ => format!("waiting for a look at {waiting} instances"),
    };
    let message = format!("{progress}; {} has passed and no new delete call is made; {rest}", cutoff.field());
    match blocker {
        Some(blocker) => (phase, blocker.trouble.reason(), trouble(spec, blocker, Some(&message))),
        None => (phase, reason, message),
    }
}

impl Cutoff {
    /// Its field in the spec.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Deadline => "activeDeadlineSeconds",
            Self::NotAfter => "notAfter",
        }
    }
}

fn hindered(spec: &DeletionSpec, hindrance: &Hindrance, progress: &str) -> (Phase, ReadyReason, String) {
    match hindrance {
        Hindrance::Trouble(blocker) => {
            let phase = match blocker.trouble {
                Trouble::Throttled { .. } => Phase::Throttled,
                _ => Phase::Deleting,
            };
            (phase, blocker.trouble.reason(), trouble(spec, blocker, Some(progress)))
        }
        Hindrance::StateUnknown { count, named } => (
            Phase::Deleting,
            ReadyReason::StateUnknown,
            format!(
                "{progress}; {count} instances can't be read or are in a state that allows neither sending nor ending, such as {named}; {}",
                ReadyReason::StateUnknown.advice()
            ),
        ),
        Hindrance::StatusTooLarge { bytes } => (
            Phase::Deleting,
            ReadyReason::StatusTooLarge,
            format!(
                "{progress}; nothing is sent, since the object would grow to {bytes} bytes; {}",
                ReadyReason::StatusTooLarge.advice()
            ),
        ),
    }
}

fn trouble(spec: &DeletionSpec, blocker: &Blocker, progress: Option<&str>) -> String {
    let what = match blocker.trouble {
        Trouble::SecretNotFound => format!("Secret {} does not exist", spec.secret),
        Trouble::SecretForbidden => format!("the controller may not read Secret {}", spec.secret),
        Trouble::SecretInvalid => format!("Secret {} is not usable", spec.secret),
        Trouble::ApiServerUnavailable => format!("the API server does not answer for Secret {}", spec.secret),
        Trouble::CredentialsRejected => {
            format!("the cloud rejects the credentials in Secret {}", spec.secret)
        }
        Trouble::Forbidden => format!("the credentials in Secret {} lack a permission", spec.secret),
        Trouble::Throttled { .. } => "the cloud asks to slow down".to_owned(),
        Trouble::CloudUnreachable => {
            format!("the cloud in region {} does not answer as it should", spec.region)
        }
        Trouble::EndpointMisconfigured => format!("the endpoint of region {} is not CloudDC's", spec.region),
        Trouble::RegionNotAllowed => format!("this controller may not call region {}", spec.region),
        Trouble::TooManyAccounts => {
            format!(
                "the controller serves as many Secrets as it can, and Secret {} is not among them",
                spec.secret
            )
        }
        Trouble::RequestRefused => "the cloud refuses the request".to_owned(),
    };
    let message = &blocker.message;
    let mut detail = message.text.clone();
    if let Some(code) = &message.code {
        detail = format!("{code} {detail}");
    }
    if let Some(request) = &message.request_id {
        detail += &format!(", request {request}");
    }
    let lead = progress.map(|p| format!("{p}; ")).unwrap_or_default();
    let detail = if detail.is_empty() { String::new() } else { format!(" ({})", detail.trim()) };
    format!("{lead}{what}{detail}; {}", blocker.trouble.reason().advice())
}

fn ended(
    spec: &DeletionSpec,
    ledger: &Ledger,
    summary: &Summary,
    cutoff: Option<Cutoff>,
) -> (Phase, ReadyReason, String) {
    if summary.failed > 0 {
        return ended_badly(ledger, summary, cutoff);
    }
    if !ledger.ever_known() {
        return (Phase::Succeeded, ReadyReason::NothingFound, nothing_found(spec, summary.total));
    }
    let mut message = format!("All {} instances are gone", summary.total);
    if summary.not_found > 0 {
        message += &format!(", {} of them not found at the cloud", summary.not_found);
    }
    if spec.duplicates > 0 {
        message += &format!("; {} repeated ids in the spec count once", spec.duplicates);
    }
    (Phase::Succeeded, ReadyReason::AllTerminated, message)
}

fn ended_badly(ledger: &Ledger, summary: &Summary, cutoff: Option<Cutoff>) -> (Phase, ReadyReason, String) {
    let (total, failed) = (summary.total, summary.failed);
    let of =
        |reason| ledger.failures.iter().filter(|row| row.reason == reason).map(|row| row.count).sum::<u32>();
    let (over, expired) = (of(FailureReason::DeadlineExceeded), of(FailureReason::Expired));
    let (phase, reason, mut why, of_it) = match cutoff {
        _ if over > 0 => (
            Phase::DeadlineExceeded,
            ReadyReason::DeadlineExceeded,
            format!(
                "{over} of {total} instances had no end when activeDeadlineSeconds had passed, and may still end at the cloud"
            ),
            over,
        ),
        Some(Cutoff::NotAfter) => (
            Phase::Expired,
            ReadyReason::Expired,
            format!("{expired} of {total} instances were not gone when notAfter had passed"),
            expired,
        ),
        Some(Cutoff::Deadline) | None => {
            (Phase::Failed, ReadyReason::Failed, format!("{failed} of {total} instances failed"), failed)
        }
    };
    let others = failed.saturating_sub(of_it);
    if others > 0 {
        why += &format!(", {others} failed for other reasons");
    }
    (phase, reason, format!("{why}; {}", reason.advice()))
}

/// The message of an object whose ids the cloud does not know.
#[must_use]
pub fn nothing_found(spec: &DeletionSpec, total: u32) -> String {
    format!(
        "None of {total} ids is known in project {} of region {}; nothing was deleted. Check region and project",
        spec.project, spec.region
    )
}

/// The conditions of an object: `Ready` and `Finished` always; `Stalled` after a bad end; `Reconciling` while work goes on or
/// waits for what `Ready` says.
fn conditions(headline: &Headline, generation: i64, before: &[Condition], now: &Time) -> Vec<Condition> {
    let Headline { phase, reason, message } = headline;
    // An invalid spec ends an object, unless it was valid before.
    let ends = reason.finished().filter(|_| phase.is_end());
    let kind =
        if ends.is_some() || reason.finished().is_none() { reason.kind() } else { ReasonKind::Hindered };
    let mut conditions = vec![("Ready", kind == ReasonKind::GoodEnd, reason.as_str())];
    match kind {
        ReasonKind::BadEnd => conditions.push(("Stalled", true, reason.as_str())),
        // A suspended object stays at rest, also while something stands in the way of looking.
        ReasonKind::Working | ReasonKind::Hindered if *phase != Phase::Suspended => {
            conditions.push(("Reconciling", true, reason.as_str()));
        }
        ReasonKind::Working | ReasonKind::Hindered | ReasonKind::AtRest | ReasonKind::GoodEnd => {}
    }
    conditions.push(("Finished", ends.is_some(), ends.unwrap_or("NotFinished")));
    conditions
        .into_iter()
        .map(|(type_, value, reason)| {
            let status = if value { "True" } else { "False" };
            let unflipped = before.iter().find(|c| c.type_ == type_ && c.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: bounded(message.clone()),
                observed_generation: Some(generation),
                last_transition_time: unflipped
                    .map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Messages hold parts of replies: they are cut to 1 KiB, on a character.
fn bounded(mut message: String) -> String {
    const MAX: usize = 1024;
    if message.len() > MAX {
        let cut = (0..=MAX).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(cut);
    }
    message
}

#[cfg(test)]
pub(in crate::engine::object) mod tests;
