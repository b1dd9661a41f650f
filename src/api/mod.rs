//! The custom resources `InstanceDeletion` and `DeletionGuard`: what users write, what they read, and the CRDs made from both.
//!
//! Types only. What they mean is decided in [`crate::engine`].

mod crd;
mod expect;
mod guard;
mod moment;
mod named;
mod power_off;
mod reason;
mod rollout;
#[allow(clippy::duplicated_attributes, reason = "two printer columns may have the same type")]
mod spec;
mod status;

pub use self::{
    crd::{crds, crds_yaml},
    expect::{Expect, MAX_PATTERN, MAX_TAGS},
    guard::{
        DeletionGuard, DeletionGuardSpec, GuardHold, MAX_PROTECTED, NamespaceSelector, Operator, Protected,
        ProtectedInstance, Requirement,
    },
    moment::Moment,
    power_off::{MAX_SOAK, PowerOff, PowerOffWhen},
    reason::{EventReason, ReadyReason, ReasonEvent, ReasonKind},
    rollout::Rollout,
    spec::{InstanceDeletion, InstanceDeletionSpec, MAX_IDS, NotFoundPolicy, SecretRef},
    status::{
        BatchStatus, CallKind, FailureReason, FailureStatus, InstanceDeletionStatus, InstancePhase,
        InstanceStatus, PassedStatus, Phase, PlanStatus, PlanVerdict, PlannedInstance, Summary,
    },
};

/// Name of this controller: in events, in the User-Agent and as field manager.
pub const CONTROLLER_NAME: &str = "instance-deletion-controller";
