//! Carries the decisions of [`crate::engine`] out: the only place where Kubernetes and the cloud meet.
//!
//! [`watch`] says which object changed, and [`queue`] which is worked on next; [`reconcile`] reads it live, lets the engine
//! decide, and writes. [`calls`] and [`reads`] run beside it, keep what they heard in [`state`] and wake the object. [`drain`]
//! ends it all; [`metrics`] counts it.
//!
//! [`run`] is the driver of production. Another one, such as a simulation's, calls [`reconcile`](reconcile()) once at a time for a
//! key: when the returned time is over, for each key that the context adds, and for each object that was changed or deleted.

mod accounts;
mod api_server;
mod calls;
mod drain;
mod metrics;
mod queue;
mod reads;
mod reconcile;
mod run;
mod state;
mod watch;

pub use api_server::{
    failure::Unavailable,
    key::Key,
    reads::{LiveObject, ReadError},
    requests::ApiServer,
    writes::WriteError,
};
pub use drain::drain;
pub use metrics::sizes::Sizes;
pub use reconcile::reconcile;
pub use run::{WatchError, run, sweep};
pub use state::context::{Context, Options};
pub use watch::listable;
