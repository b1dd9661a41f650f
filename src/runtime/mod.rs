//! The process around the controller.
//!
//! - [`args`]: the command line; `values` and `durations` parse its values;
//! - [`cluster`]: the client of the API server, and the proxies;
//! - [`logs`]: log lines, and the filter that keeps secrets out of them;
//! - [`election`]: leader election;
//! - [`health`]: `/healthz` and `/readyz`; [`metrics`]: `/metrics`; [`server`] serves them, each on a port of its own;
//! - [`panics`]: what is logged and counted of panics;
//! - [`signals`]: SIGTERM and SIGINT.

pub mod args;
pub mod cluster;
mod durations;
pub mod election;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod panics;
pub mod server;
pub mod signals;
mod values;
