//! The process: what surrounds the work.
//!
//! - [`args`]: the command line; `values` and `durations` parse what it holds;
//! - [`logs`]: log lines, and what may never be in one;
//! - [`election`]: which of several processes works;
//! - [`health`]: `/healthz` and `/readyz`, on `connections` that are few and short; there too `/metrics` of [`metrics`];
//! - [`panics`]: counted, whoever catches them;
//! - [`signals`]: the beginning of the end.

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
