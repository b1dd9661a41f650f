//! Carries the decisions of [`crate::engine`] out: the only place where Kubernetes and the cloud meet.
//!
//! [`watch`] says which object to look at; [`reconcile`] reads it live, lets the engine decide, and writes; [`calls`] and
//! [`looks`] run beside it and leave what they heard in [`objects`], which wakes the object. [`drain`] ends it all.

mod accounts;
mod api_server;
mod calls;
mod context;
mod drain;
mod events;
mod exchange;
mod looks;
mod objects;
mod reconcile;
mod renewal;
mod secrets;
mod watch;

pub use api_server::{ApiServer, Live, ReadError, WriteError};
pub use context::{Context, Options};
pub use exchange::Unavailable;
pub use watch::{Scope, WatchError, run};
