//! The process around the controller.
//!
//! - [`args`]: the command line; `values` and `durations` parse its values;
//! - [`logs`]: log lines, and the filter that keeps secrets out of them;
//! - [`election`]: leader election;
//! - [`health`]: `/healthz`, `/readyz` and the server for them and for `/metrics` ([`metrics`]); `connections` bounds it;
//! - [`panics`]: the counter of panics;
//! - [`signals`]: SIGTERM and SIGINT.

pub mod args;
mod connections;
mod durations;
pub mod election;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod panics;
pub mod signals;
mod values;
