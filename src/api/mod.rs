//! The custom resource `InstanceDeletion`: what users write, what they read, and the CRD made from both.
//!
//! Types only. What they mean is decided in [`crate::engine`].

mod crd;
mod moment;
mod named;
mod reason;
#[allow(clippy::duplicated_attributes, reason = "two printer columns may have the same type")]
mod spec;
mod status;

pub use self::{
    crd::{crd, crd_yaml},
    moment::Moment,
    reason::{EventReason, ReadyReason, ReasonEvent, ReasonKind},
    spec::{InstanceDeletion, InstanceDeletionSpec, MAX_IDS, NotFoundPolicy, SecretRef},
    status::{
        BatchStatus, FailureReason, FailureStatus, InstanceDeletionStatus, InstancePhase, InstanceStatus,
        PassedStatus, Phase, PlanStatus, Summary,
    },
};

/// Name of this controller: in events, in the User-Agent and as field manager.
pub const CONTROLLER_NAME: &str = "instance-deletion-controller";
