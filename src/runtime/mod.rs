//! The process around the controller.
//!
//! - [`args`]: the command line; `values` and `durations` parse its values, [`environment`] gives each flag a variable, and
//!   [`configuration`] says where each value comes from;
//! - [`check`]: what `run` would do, and what is in its way;
//! - [`cluster`]: the client of the API server, and the proxies;
//! - [`logs`]: log lines, and the filter that keeps secrets out of them;
//! - [`election`]: leader election;
//! - [`health`]: `/healthz` and `/readyz`; [`metrics`]: `/metrics`, with what `process` reads from `/proc`; [`server`] serves them, each on a port of its own;
//! - [`panics`]: what is logged and counted of panics;
//! - [`signals`]: SIGTERM and SIGINT.

pub mod args;
pub mod check;
pub mod cluster;
pub mod configuration;
mod durations;
pub mod election;
pub mod environment;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod panics;
mod process;
pub mod server;
pub mod signals;
mod values;
