//! The stage of an object: what its status tells.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::PlanStatus,
    engine::object::state::{blocker::Blocker, deadlines::Cutoff},
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
    /// A guard holds the object.
    Held {
        /// Its name.
        guard: String,
        /// Its reason.
        reason: String,
    },
    /// The first `spec.rollout.limit` ids have their ends.
    LimitReached,
    /// Every open instance is off, and waits until it has been so for long enough: the first one until this moment.
    Soaking(Time),
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
    /// Every id has its end, since these instances, with what differs, are not what `spec.expect` says.
    NotAsExpected(String),
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
    /// Ids that were not read with the facts that a check asks for.
    FactsUnknown {
        /// How many.
        count: usize,
        /// The first of them, with the fact.
        named: String,
    },
    /// A guard does not admit the object.
    GuardRefused {
        /// Its name.
        guard: String,
        /// Why not.
        why: String,
    },
    /// The status that would record a full reply would not fit into the API server's store.
    StatusTooLarge {
        /// Bytes that the object would take.
        bytes: usize,
    },
}
