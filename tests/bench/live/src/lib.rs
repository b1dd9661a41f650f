//! Measures the controller's binary on a real kube-apiserver, against the simulated CloudDC, in real time; and beside it,
//! in the same run, what people script today and the least that is possible.
//!
//! In reading order: [`figure`], what is measured; [`scenario`], under which conditions and what must hold; [`run`], one
//! run of the controller and one of the [`baseline`]; [`cloud_log`], [`ends`], [`stored`] and [`process`], where figures
//! come from; [`report`], what is printed.

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
