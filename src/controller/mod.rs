//! Carries the decisions of [`crate::engine`] out: the only place where Kubernetes and the cloud meet.
//!
//! [`watch`] says which object to look at; [`reconcile`] reads it live, lets the engine decide, and writes; [`calls`] and
//! [`looks`] run beside it and leave what they heard in [`objects`], which wakes the object; so does [`schedule`], which looks
//! at what is on its way for all objects of an account. [`drain`] ends it all; [`metrics`] counts it.
//!
//! [`run`] is the driver of production: kube's watch and its queue. Another one, such as a simulation's, calls
//! [`reconcile`](reconcile()) once at a time for a key, again when the returned time is over, for each key of the context's wakes and for
//! each change of a spec, and [`forget_if_gone`] for a key that has left its watch.

mod accounts;
mod api_server;
mod deletes;
mod drain;
mod metrics;
mod reads;
mod reconcile;
mod slots;
mod state;
mod watch;

pub use api_server::{ApiServer, Key, Live, ReadError, Unavailable, WriteError};
pub use drain::drain;
pub use reconcile::{forget_if_gone, reconcile};
pub use state::context::{Context, Options};
pub use watch::{WatchError, listable, run};
