//! What people and tools read: phase, progress, conditions (the table *Phase to surface* of the Kubernetes conventions
//! that kstatus, Flux and Argo CD follow).
//!
//! `Ready` and `Finished` are always there; `Reconciling` and `Stalled` only while True, never both, and `Ready` is False
//! whenever one of them is.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{FailureReason, InstanceDeletionStatus, Phase, PlanStatus, Summary},
    engine::{
        object::state::{
            blocker::Blocker,
            deadlines::Cutoff,
            ledger::Ledger,
            spec::{DeletionSpec, HOLD, Meta},
        },
        reply::Trouble,
        time::Now,
    },
};

/// Where an object stands.
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
    /// A limit has passed: no new call, and these many instances are still looked at.
    Closing {
        /// The limit.
        cutoff: Cutoff,
        /// Instances of which a look is still to say how they end.
        waiting: usize,
        /// What stands in the way of looking.
        blocker: Option<Blocker>,
    },
    /// Every id has its end; the limit had passed before.
    Ended(Option<Cutoff>),
}

/// Ids that are open for longer than `--stuck-after`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stuck {
    /// How many.
    pub count: usize,
    /// One of them, with what the last read of it showed.
    pub example: String,
    /// `--stuck-after`.
    pub after: Duration,
}

/// Why a deletion does not go on as it should.
#[derive(Clone, Debug, PartialEq)]
pub enum Hindrance {
    /// Something stands in the way.
    Trouble(Blocker),
    /// Ids whose state allows neither sending nor ending.
    StateUnknown {
        /// How many.
        count: usize,
        /// One of them, with its state.
        example: String,
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
    (long_wait, stuck): (Option<&Time>, Option<&Stuck>),
) -> InstanceDeletionStatus {
    let summary = ledger.summary();
    let mut face = face(spec, ledger, stage, &summary);
    if let Some(stuck) = stuck {
        face.message += &stuck.message();
    }
    let mut status = InstanceDeletionStatus {
        observed_generation: Some(spec.meta.generation),
        phase: Some(face.phase),
        start_time: before.start_time.clone(),
        completion_time: before.completion_time.clone(),
        progress: Some(format!("{}/{}", summary.terminated + summary.not_found, summary.total)),
        summary: Some(summary),
        next_action_time: long_wait.cloned(),
        last_handled_reconcile_at: handled(&spec.meta, before),
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
    if face.finished.is_some() && status.completion_time.is_none() {
        status.completion_time = Some(now.time());
    }
    status.conditions = conditions(&face, spec.meta.generation, &before.conditions, &now.time());
    status
}

/// The status of an object whose stored spec the schema refuses. The record is left as it is.
#[must_use]
pub fn invalid_spec(
    why: &str,
    meta: &Meta,
    before: &InstanceDeletionStatus,
    now: &Now,
) -> InstanceDeletionStatus {
    let face = Face {
        phase: Phase::InvalidSpec,
        ready: false,
        reason: "InvalidSpec",
        message: format!("Nothing is sent: {why}. Delete this object and create a valid one"),
        activity: Activity::Stalled,
        finished: Some("InvalidSpec"),
    };
    let mut status = before.clone();
    status.observed_generation = Some(meta.generation);
    status.last_handled_reconcile_at = handled(meta, before);
    status.phase = Some(face.phase);
    status.next_action_time = None;
    status.completion_time.get_or_insert_with(|| now.time());
    status.conditions = conditions(&face, meta.generation, &before.conditions, &now.time());
    status
}

/// A finished object after a spec edit or a request to look: that it was seen is all that is written.
#[must_use]
pub fn observed(before: &InstanceDeletionStatus, meta: &Meta) -> InstanceDeletionStatus {
    let mut status = before.clone();
    status.observed_generation = Some(meta.generation);
    status.last_handled_reconcile_at = handled(meta, before);
    for condition in &mut status.conditions {
        condition.observed_generation = Some(meta.generation);
    }
    status
}

/// What was asked for last.
fn handled(meta: &Meta, before: &InstanceDeletionStatus) -> Option<String> {
    meta.requested_at.clone().or_else(|| before.last_handled_reconcile_at.clone())
}

/// Whether someone asked to look since the status was written.
#[must_use]
pub fn look_requested(meta: &Meta, before: &InstanceDeletionStatus) -> bool {
    handled(meta, before) != before.last_handled_reconcile_at
}

fn stopped_by(spec: &DeletionSpec) -> String {
    if spec.meta.held { format!("the annotation {HOLD} is there") } else { "spec.suspend is true".to_owned() }
}

enum Activity {
    Reconciling,
    Stalled,
    None,
}

/// One row of the table.
struct Face {
    phase: Phase,
    ready: bool,
    reason: &'static str,
    message: String,
    activity: Activity,
    finished: Option<&'static str>,
}

fn face(spec: &DeletionSpec, ledger: &Ledger, stage: &Stage, summary: &Summary) -> Face {
    let gone = summary.terminated + summary.not_found;
    let mut progress = format!("{gone} of {} terminated", summary.total);
    if summary.failed > 0 {
        progress += &format!(", {} failed", summary.failed);
    }
    if spec.duplicates > 0 {
        progress += &format!("; {} repeated ids in the spec count once", spec.duplicates);
    }
    let open = |phase, reason, message, activity| Face {
        phase,
        ready: false,
        reason,
        message,
        activity,
        finished: None,
    };
    match stage {
        Stage::Planning(None) => open(
            Phase::Planning,
            "Planning",
            format!("Looking at {} instances to make the plan; nothing is sent", summary.total),
            Activity::Reconciling,
        ),
        Stage::Planning(Some(blocker)) => open(
            Phase::Planning,
            blocker.trouble.reason(),
            trouble(spec, blocker, None),
            Activity::Reconciling,
        ),
        Stage::Planned(plan) => open(
            Phase::Planned,
            "Planned",
            format!(
                "Would delete {} of {} instances ({} on their way, {} gone, {} unknown); write dryRun: false to start",
                plan.to_delete, plan.total, plan.on_their_way, plan.gone, plan.unknown
            ),
            Activity::None,
        ),
        Stage::Suspended(None) => open(
            Phase::Suspended,
            "Suspended",
            format!("{progress}; no new delete call while {}", stopped_by(spec)),
            Activity::None,
        ),
        Stage::Suspended(Some(blocker)) => open(
            Phase::Suspended,
            blocker.trouble.reason(),
            trouble(spec, blocker, Some(&progress)),
            Activity::None,
        ),
        Stage::Deleting(None) => open(Phase::Deleting, "Deleting", progress, Activity::Reconciling),
        Stage::Deleting(Some(hindrance)) => {
            let (phase, reason, message) = hindered(spec, hindrance, &progress);
            open(phase, reason, message, Activity::Reconciling)
        }
        Stage::Closing { cutoff, waiting, blocker } => {
            let (phase, reason, activity) = if spec.suspend {
                (Phase::Suspended, "Suspended", Activity::None)
            } else {
                (Phase::Deleting, "Deleting", Activity::Reconciling)
            };
            let rest = match waiting {
                0 => "those on their way are followed to their end".to_owned(),
                _ => format!("waiting for a look at {waiting} instances"),
            };
            let mut message =
                format!("{progress}; {} has passed and no new delete call is made; {rest}", cutoff.field());
            let reason = blocker.as_ref().map_or(reason, |blocker| blocker.trouble.reason());
            if let Some(blocker) = blocker {
                message = trouble(spec, blocker, Some(&message));
            }
            open(phase, reason, message, activity)
        }
        Stage::Ended(cutoff) => ended(spec, ledger, summary, *cutoff),
    }
}

impl Stuck {
    const SIGN: &str = " open for more than ";

    fn message(&self) -> String {
        let Self { count, example, after } = self;
        format!(
            "; {count} instances{}{} s, such as {example}: ask the vendor, looking goes on",
            Self::SIGN,
            after.as_secs()
        )
    }

    /// Whether a status says so already.
    #[must_use]
    pub fn is_said(status: &InstanceDeletionStatus) -> bool {
        status.conditions.iter().any(|c| c.type_ == "Ready" && c.message.contains(Self::SIGN))
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

fn hindered(spec: &DeletionSpec, hindrance: &Hindrance, progress: &str) -> (Phase, &'static str, String) {
    match hindrance {
        Hindrance::Trouble(blocker) => {
            let phase = match blocker.trouble {
                Trouble::Throttled { .. } => Phase::Throttled,
                _ => Phase::Deleting,
            };
            (phase, blocker.trouble.reason(), trouble(spec, blocker, Some(progress)))
        }
        Hindrance::StateUnknown { count, example } => (
            Phase::Deleting,
            "StateUnknown",
            format!(
                "{progress}; {count} instances are in a state that allows neither sending nor ending, such as {example}; ask the vendor, looking goes on"
            ),
        ),
        Hindrance::StatusTooLarge { bytes } => (
            Phase::Deleting,
            "StatusTooLarge",
            format!(
                "{progress}; nothing is sent, since the object would grow to {bytes} bytes; remove large annotations or split it into smaller objects"
            ),
        ),
    }
}

fn trouble(spec: &DeletionSpec, blocker: &Blocker, progress: Option<&str>) -> String {
    let what = match blocker.trouble {
        Trouble::SecretNotFound => format!("Secret {} does not exist", spec.secret),
        Trouble::SecretForbidden => format!("the controller may not read Secret {}", spec.secret),
        Trouble::SecretInvalid => format!("Secret {} is not usable", spec.secret),
        Trouble::CredentialsRejected => {
            format!("the cloud rejects the credentials in Secret {}", spec.secret)
        }
        Trouble::Forbidden => format!("the credentials in Secret {} lack a permission", spec.secret),
        Trouble::Throttled { .. } => "the cloud asks to slow down".to_owned(),
        Trouble::CloudUnreachable => {
            format!("the cloud in region {} does not answer as it should", spec.region)
        }
        Trouble::EndpointMisconfigured => format!("the endpoint of region {} is not CloudDC's", spec.region),
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
    format!("{lead}{what}{detail}; {}", blocker.trouble.advice())
}

fn ended(spec: &DeletionSpec, ledger: &Ledger, summary: &Summary, cutoff: Option<Cutoff>) -> Face {
    if summary.failed > 0 {
        let over = ledger.failures.iter().find(|f| f.reason == FailureReason::DeadlineExceeded);
        let (phase, reason, why) = match (over, cutoff) {
            (Some(over), _) => (
                Phase::DeadlineExceeded,
                "DeadlineExceeded",
                format!(
                    "{} of {} instances had no end when activeDeadlineSeconds had passed, and may still end at the cloud",
                    over.count, summary.total
                ),
            ),
            (None, Some(Cutoff::NotAfter)) => (
                Phase::Expired,
                "Expired",
                format!(
                    "{} of {} instances were not gone when notAfter had passed",
                    summary.failed, summary.total
                ),
            ),
            (None, Some(Cutoff::Deadline) | None) => {
                (Phase::Failed, "Failed", format!("{} of {} instances failed", summary.failed, summary.total))
            }
        };
        return Face {
            phase,
            ready: false,
            reason,
            message: format!(
                "{why}, see status.failures; to try again, create a new InstanceDeletion with the failed ids"
            ),
            activity: Activity::Stalled,
            finished: Some(reason),
        };
    }
    if !ledger.ever_known() {
        return Face {
            phase: Phase::Succeeded,
            ready: true,
            reason: "NothingFound",
            message: nothing_found(spec, summary.total),
            activity: Activity::None,
            finished: Some("NothingFound"),
        };
    }
    let mut message = format!("All {} instances are gone", summary.total);
    if summary.not_found > 0 {
        message += &format!(", {} of them not found at the cloud", summary.not_found);
    }
    if spec.duplicates > 0 {
        message += &format!("; {} repeated ids in the spec count once", spec.duplicates);
    }
    Face {
        phase: Phase::Succeeded,
        ready: true,
        reason: "AllTerminated",
        message,
        activity: Activity::None,
        finished: Some("Succeeded"),
    }
}

/// The warning of an object of which the cloud knew no id.
#[must_use]
pub fn nothing_found(spec: &DeletionSpec, total: u32) -> String {
    format!(
        "None of {total} ids is known in project {} of region {}; nothing was deleted. Check region and project",
        spec.project, spec.region
    )
}

fn conditions(face: &Face, generation: i64, before: &[Condition], now: &Time) -> Vec<Condition> {
    let mut conditions = vec![("Ready", face.ready, face.reason, face.message.clone())];
    match face.activity {
        Activity::Reconciling => conditions.push(("Reconciling", true, face.reason, face.message.clone())),
        Activity::Stalled => conditions.push(("Stalled", true, face.reason, face.message.clone())),
        Activity::None => {}
    }
    let (finished, reason) = face.finished.map_or((false, "NotFinished"), |reason| (true, reason));
    conditions.push(("Finished", finished, reason, face.message.clone()));
    conditions
        .into_iter()
        .map(|(type_, value, reason, message)| {
            let status = if value { "True" } else { "False" };
            let unflipped = before.iter().find(|c| c.type_ == type_ && c.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: bounded(message),
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
