//! Measures the controller's binary on a real kube-apiserver with the simulated CloudDC, in real time. Each run also measures
//! a plain script, and computes the least that is possible.
//!
//! In reading order: [`figure`], what is measured; [`scenario`], the conditions and bounds; [`run`], one run of the controller
//! and one of the [`baseline`]; [`cloud_log`], [`ends`], [`stored`] and [`process`], the sources of figures; [`report`], what
//! is printed.

pub mod baseline;
pub mod cloud_log;
pub mod ends;
mod error;
pub mod figure;
mod finish;
pub mod process;
pub mod report;
pub mod run;
pub mod scenario;
pub mod stored;

pub use error::BenchError;
