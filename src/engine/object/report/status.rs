//! The status that people and tools read: phase, progress and conditions, as kstatus, Flux and Argo CD expect them.
//!
//! `Ready` and `Finished` are always there; `Reconciling` and `Stalled` only while True, never both, and `Ready` is False
//! while one of them is there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{InstanceDeletionStatus, Phase, ReadyReason, ReasonKind, Summary},
    engine::{
        object::{
            report::{
                headline::{Headline, headline},
                stage::Stage,
                stuck::Stuck,
            },
            state::{
                ledger::Ledger,
                spec::{DeletionSpec, Meta},
            },
        },
        time::Now,
    },
};

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
    let held = matches!(stage, Stage::Held { .. });
    if status.start_time.is_none() && !spec.suspend && !spec.dry_run && !held {
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
