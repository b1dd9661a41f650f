//! The headline of a status: phase, reason and message, from the stage and the record.

use super::stage::{Hindrance, Stage};
use crate::{
    api::{FailureReason, Phase, ReadyReason, Summary},
    engine::{
        object::state::{
            blocker::Blocker,
            deadlines::Cutoff,
            ledger::{Ledger, Progress, Row},
            spec::{DeletionSpec, HOLD},
        },
        outcome::Trouble,
    },
};

/// Why no new call is made.
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
pub struct Headline {
    /// The phase.
    pub phase: Phase,
    /// The reason of `Ready`.
    pub reason: ReadyReason,
    /// Its message.
    pub message: String,
}

/// What a stage means, with the record so far.
#[must_use]
pub fn headline(spec: &DeletionSpec, ledger: &Ledger, stage: &Stage, summary: &Summary) -> Headline {
    let mut progress = format!("{} of {} terminated", summary.terminated, summary.total);
    if summary.not_found > 0 {
        progress += &format!(", {} not found", summary.not_found);
    }
    if summary.failed > 0 {
        progress += &format!(", {} failed", summary.failed);
    }
    if summary.powering_off > 0 {
        progress += &format!(", {} being powered off", summary.powering_off);
    }
    if summary.powered_off > 0 {
        progress += &format!(", {} powered off", summary.powered_off);
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
        Stage::Planned(plan) => {
            let message = plan.message.clone().unwrap_or_default();
            (Phase::Planned, ReadyReason::Planned, format!("{message}; {}", ReadyReason::Planned.advice()))
        }
        Stage::Held { guard, reason } => (
            Phase::Suspended,
            ReadyReason::Held,
            format!("{progress}; no new call while DeletionGuard {guard} holds: {reason}"),
        ),
        Stage::LimitReached => (
            Phase::LimitReached,
            ReadyReason::LimitReached,
            format!(
                "{progress}; the first {} ids have their ends; {}",
                spec.limit(),
                ReadyReason::LimitReached.advice()
            ),
        ),
        Stage::Suspended(None) => (
            Phase::Suspended,
            ReadyReason::Suspended,
            format!("{progress}; no new call {}", stopped_by(spec)),
        ),
        Stage::Suspended(Some(blocker)) => {
            let lead = format!("{progress}; no new call {}", stopped_by(spec));
            (Phase::Suspended, blocker.trouble.reason(), trouble(spec, blocker, Some(&lead)))
        }
        Stage::Soaking(_) => (
            Phase::Soaking,
            ReadyReason::Soaking,
            format!(
                "{progress}; each is deleted when it has been off for {} s",
                spec.soak().unwrap_or_default().as_secs()
            ),
        ),
        Stage::Deleting(None) => (Phase::Deleting, ReadyReason::Deleting, progress),
        Stage::Deleting(Some(hindrance)) => hindered(spec, hindrance, &progress),
        Stage::Closing { cutoff, waiting, doubted, blocker } => {
            closing(spec, *cutoff, (*waiting, *doubted), blocker.as_ref(), &progress)
        }
        Stage::Ended(cutoff) => ended(spec, ledger, summary, *cutoff),
        Stage::NotAsExpected(named) => not_as_expected(ledger, summary, named),
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
    let passed = match cutoff {
        Cutoff::Deadline | Cutoff::NotAfter => format!("{} has passed", cutoff.field()),
        Cutoff::MaxFailed => format!("more than {} allows have failed", cutoff.field()),
    };
    let message = format!("{progress}; {passed} and no new call is made; {rest}");
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
            Self::MaxFailed => "rollout.maxFailed",
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
        Hindrance::FactsUnknown { count, named } => (
            Phase::Deleting,
            ReadyReason::FactsUnknown,
            format!(
                "{progress}; {count} instances are not sent, since what spec.expect or a guard asks for was not read, such as {named}; {}",
                ReadyReason::FactsUnknown.advice()
            ),
        ),
        Hindrance::GuardRefused { guard, why } => (
            Phase::Deleting,
            ReadyReason::GuardRefused,
            format!(
                "{progress}; nothing is sent, since DeletionGuard {guard} does not admit the object: {why}; {}",
                ReadyReason::GuardRefused.advice()
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

/// What a trouble is about, what the cloud said, and what a person can do.
#[must_use]
pub fn trouble(spec: &DeletionSpec, blocker: &Blocker, progress: Option<&str>) -> String {
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
        Trouble::GuardUnreadable => "nothing is sent, since the guards can't be read".to_owned(),
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
    let unsent = of(FailureReason::NotSent);
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
        Some(Cutoff::MaxFailed) => (
            Phase::Failed,
            ReadyReason::TooManyFailures,
            format!(
                "{} of {total} instances failed, more than rollout.maxFailed allows, and {unsent} were not sent",
                failed.saturating_sub(unsent)
            ),
            failed,
        ),
        Some(Cutoff::Deadline) | None => {
            (Phase::Failed, ReadyReason::Failed, format!("{failed} of {total} instances failed"), failed)
        }
    };
    let others = failed.saturating_sub(of_it);
    if others > 0 {
        why += &format!(", {others} failed for other reasons");
    }
    let left_off = left_off(ledger);
    if left_off > 0 {
        why += &format!("; {left_off} instances were powered off and are left so");
    }
    (phase, reason, format!("{why}; {}", reason.advice()))
}

/// Number of instances that were off when they were given up.
fn left_off(ledger: &Ledger) -> usize {
    let off = |row: &&Row| matches!(row.progress, Progress::Failed { .. }) && row.powered_off_at.is_some();
    ledger.rows.iter().filter(off).count()
}

/// The end of an object that lists instances which are not what its author says.
fn not_as_expected(ledger: &Ledger, summary: &Summary, named: &str) -> (Phase, ReadyReason, String) {
    let differ = ledger.failures.iter().filter(|row| row.reason == FailureReason::NotAsExpected);
    let count: u32 = differ.map(|row| row.count).sum();
    let message = format!(
        "{count} of {} instances are not as spec.expect says: {named}; {}",
        summary.total,
        ReadyReason::NotAsExpected.advice()
    );
    (Phase::Failed, ReadyReason::NotAsExpected, message)
}

/// The message of an object whose ids the cloud does not know.
fn nothing_found(spec: &DeletionSpec, total: u32) -> String {
    format!(
        "None of {total} ids is known in project {} of region {}; nothing was deleted. Check region and project",
        spec.project, spec.region
    )
}
