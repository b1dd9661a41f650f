//! The part of the object that the controller writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::named::named;

/// What the controller did and saw. Programs read `conditions`; the rest is for people and for the controller itself,
/// which goes on from this record after a restart.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
// A new object is never taken for finished: without this default kstatus calls an object without status Current.
#[schemars(extend("default" = serde_json::json!({"observedGeneration": -1})))]
pub struct InstanceDeletionStatus {
    /// Generation of the spec that this status describes; -1 before the controller has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Where the deletion stands, for people and the printer column; programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// When work started: the first status write while dryRun and suspend were both off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the object ended, well or badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// Limits of the spec that have passed, as two readings of the clock agree. While the spec holds one of these values, no
    /// new call is made, whatever a clock says later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<PassedStatus>,

    /// Instances terminated or absent, of all: 120/150.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub progress: Option<String>,

    /// Number of instances in each phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,

    /// The value of the annotation reconcile.fluxcd.io/requestedAt for which the controller looked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub last_handled_reconcile_at: Option<String>,

    /// When the controller goes on by itself; only set for waits longer than its --poll-max.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action_time: Option<Time>,

    /// One row for each call, the newest 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub batches: Vec<BatchStatus>,

    /// One row for each instance, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5000))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub instances: Vec<InstanceStatus>,

    /// Why instances were given up, at most 20 rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub failures: Vec<FailureStatus>,

    /// What a deletion would do; only on objects with dryRun: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,

    /// Ready and Finished always; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

named! {
    /// Where the deletion stands.
    #[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Phase {
        /// Seen, nothing done yet.
        Pending,
        /// dryRun: the plan is being made.
        Planning,
        /// dryRun: the plan is in status.plan.
        Planned,
        /// The first spec.rollout.limit ids have their ends; the object rests until the limit is raised or removed.
        LimitReached,
        /// No new call is made: spec.suspend is true, or an annotation or a guard holds the object.
        Suspended,
        /// Work is going on, or waits for what the condition Ready says.
        Deleting,
        /// Every open instance is powered off, and waits until it has been off for spec.powerOff.soakSeconds.
        Soaking,
        /// The cloud asked to slow down.
        Throttled,
        /// Every instance is gone.
        Succeeded,
        /// Every instance has an end, and some were given up.
        Failed,
        /// The deadline passed before the end.
        DeadlineExceeded,
        /// notAfter passed before the end.
        Expired,
        /// The stored spec is one that the present schema refuses; nothing is sent.
        InvalidSpec,
    }
}

impl Phase {
    /// Whether an object in this phase has its end, good or bad.
    #[must_use]
    pub const fn is_end(self) -> bool {
        match self {
            Self::Pending
            | Self::Planning
            | Self::Planned
            | Self::LimitReached
            | Self::Suspended
            | Self::Deleting
            | Self::Soaking
            | Self::Throttled => false,
            Self::Succeeded | Self::Failed | Self::DeadlineExceeded | Self::Expired | Self::InvalidSpec => {
                true
            }
        }
    }
}

/// Number of instances in each phase; the parts add up to `total`.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Distinct ids in the spec.
    #[schemars(extend("format" = "int32"))]
    pub total: u32,
    /// No call names them yet.
    #[schemars(extend("format" = "int32"))]
    pub pending: u32,
    /// A call that powers them off may have been sent, and no read has shown them off.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("format" = "int32"))]
    pub powering_off: u32,
    /// They are off, and no delete call names them yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("format" = "int32"))]
    pub powered_off: u32,
    /// A delete call that names them may have been sent; its outcome is not recorded yet.
    #[schemars(extend("format" = "int32"))]
    pub submitted: u32,
    /// The cloud accepted their deletion.
    #[schemars(extend("format" = "int32"))]
    pub accepted: u32,
    /// The cloud says terminated.
    #[schemars(extend("format" = "int32"))]
    pub terminated: u32,
    /// The cloud does not know them (any more).
    #[schemars(extend("format" = "int32"))]
    pub not_found: u32,
    /// Given up; see status.failures.
    #[schemars(extend("format" = "int32"))]
    pub failed: u32,
}

/// So that an object without spec.powerOff shows no counts of it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Limits of the spec that have passed, each with the value for which it has.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassedStatus {
    /// The notAfter that has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// The activeDeadlineSeconds that have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32"))]
    pub active_deadline_seconds: Option<u32>,
}

named! {
    /// What a call asks the cloud for.
    #[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum CallKind {
        /// To delete instances.
        Delete,
        /// To power off the servers of instances.
        PowerOff,
    }
}

/// One call.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchStatus {
    /// Number of the call, counted from 1.
    #[schemars(extend("format" = "int32"))]
    pub number: u32,
    /// What the call asks for. An absent field means Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CallKind>,
    /// Ids in the call.
    #[schemars(extend("format" = "int32"))]
    pub size: u32,
    /// Ids that the cloud accepted; absent until a reply that lists ids is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32"))]
    pub returned: Option<u32>,
    /// True if the call certainly had no effect: the cloud refused it, or it was never sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_effect: Option<bool>,
    /// Random token of the process and wave that stored this row before its call.
    #[schemars(length(max = 32))]
    pub claim: String,
    /// When the row was stored. For people: no rule depends on it.
    pub submitted_at: Time,
    /// The cloud's id of the call, to quote to the vendor.
    #[serde(default, rename = "requestID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub request_id: Option<String>,
}

/// One instance.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Id as in the spec.
    #[schemars(length(max = 36))]
    pub id: String,
    /// How far its deletion is; it goes only forward.
    pub phase: InstancePhase,
    /// Number of the last call that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32"))]
    pub batch: Option<u32>,
    /// Delete attempts used. An absent field means none or one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32"))]
    pub attempts: Option<u32>,
    /// Attempts used to power it off, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32"))]
    pub power_offs: Option<u32>,
    /// When a read first showed it off, on rows that are not terminated. It is off since then at the latest, as far as reads
    /// have shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub powered_off_at: Option<Time>,
    /// True while the outcome of a further call for an accepted instance is not recorded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent: Option<bool>,
    /// State that the cloud reported last, where the phase doesn't imply it; of a NotFound instance that no call named, the
    /// state in which it was seen before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cloud_state: Option<String>,
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// When its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
}

named! {
    /// How far the deletion of one instance is.
    #[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum InstancePhase {
        /// No call names it yet.
        Pending,
        /// A call that powers it off may have been sent.
        PoweringOff,
        /// A read showed it off, and no delete call names it yet.
        PoweredOff,
        /// A delete call that names it may have been sent.
        Submitted,
        /// A reply returned it, or a read showed it shutting down.
        Accepted,
        /// The cloud says terminated.
        Terminated,
        /// The cloud does not know it, confirmed by two reads.
        NotFound,
        /// Given up, see the row's reason.
        Failed,
    }
}

named! {
    /// Why an instance was given up.
    #[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum FailureReason {
        /// The cloud refuses the deletion, although reads show the instance alive.
        Conflict,
        /// The cloud accepted the deletion, and it failed there; or the instance fell to an error while it was off.
        InstanceError,
        /// Given by earlier versions only: the cloud refused the id with a code that they took for a bad id.
        InvalidRequest,
        /// The cloud's replies accepted other ids of the calls and left this one out.
        NotAccepted,
        /// The cloud does not know it, no call deleted it, and the policy calls that a failure.
        NotFound,
        /// No reply ever told the outcome of its calls; it may still end at the cloud.
        OutcomeUnknown,
        /// It is not what spec.expect says.
        NotAsExpected,
        /// A DeletionGuard protects it.
        Protected,
        /// Someone powered it on again after it was powered off: it is wanted.
        PoweredOnAgain,
        /// It was still running after every attempt to power it off.
        PowerOffFailed,
        /// The object ended before a delete call named it.
        NotSent,
        /// notAfter passed.
        Expired,
        /// The deadline passed; it may still end at the cloud.
        DeadlineExceeded,
    }
}

/// Instances given up for one reason.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// Why.
    pub reason: FailureReason,
    /// The cloud's error code, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub code: Option<String>,
    /// The cloud's message, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
    /// How many instances.
    #[schemars(extend("format" = "int32"))]
    pub count: u32,
}

/// What a deletion would do, by what the cloud said when it was made. The counts add up to `total`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Distinct ids in the spec.
    #[schemars(extend("format" = "int32"))]
    pub total: u32,
    /// Instances that would be named in delete calls.
    #[schemars(extend("format" = "int32"))]
    pub to_delete: u32,
    /// Of these, running instances that would be powered off first.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("format" = "int32"))]
    pub to_power_off: u32,
    /// Instances that are shutting down already.
    #[schemars(extend("format" = "int32"))]
    pub on_their_way: u32,
    /// Instances that are terminated already.
    #[schemars(extend("format" = "int32"))]
    pub terminated: u32,
    /// Ids that the cloud does not know, confirmed by two reads: mistyped, of another project, or gone for long.
    #[schemars(extend("format" = "int32"))]
    pub not_found: u32,
    /// Instances that could not be read, whose state allows neither sending nor ending, or whose reads lack a fact that
    /// spec.expect or a guard asks for. They would wait.
    #[schemars(extend("format" = "int32"))]
    pub unreadable: u32,
    /// Instances that are not what spec.expect says. If there is one, nothing would be sent for any.
    #[schemars(extend("format" = "int32"))]
    pub not_as_expected: u32,
    /// Instances that a DeletionGuard protects. They would not be sent.
    #[schemars(extend("format" = "int32"))]
    pub protected: u32,
    /// What would happen, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The instances, at most 1000: first those that need attention, then those that would be deleted, then the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub instances: Vec<PlannedInstance>,
}

/// One instance of a plan.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedInstance {
    /// Id as in the spec.
    #[schemars(length(max = 36))]
    pub id: String,
    /// Its name at the cloud, if that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub name: Option<String>,
    /// Id of its server, if that was read.
    #[serde(default, rename = "serverID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub server_id: Option<String>,
    /// Its state at the cloud, if that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub state: Option<String>,
    /// Why it would not be deleted; absent if it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<PlanVerdict>,
    /// What is not as expected, or by which guard and why it is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub detail: Option<String>,
}

named! {
    /// Why an instance of a plan would not be deleted.
    #[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum PlanVerdict {
        /// It is not what spec.expect says.
        NotAsExpected,
        /// A DeletionGuard protects it.
        Protected,
        /// What spec.expect or a guard asks for was not read.
        FactsUnknown,
        /// It could not be read, or its state allows neither sending nor ending.
        Unreadable,
        /// The cloud does not know it, confirmed by two reads.
        NotFound,
        /// It is shutting down already.
        OnItsWay,
        /// It is terminated already.
        Terminated,
    }
}
