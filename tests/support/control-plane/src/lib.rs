//! A real etcd, kube-apiserver and kubectl for tests and the demo, built from Go modules, and surely stopped.
//!
//! [`programs`] finds or builds the three; [`ControlPlane`] runs them; [`kubectl`] is the real one; [`process`] keeps every
//! process that a test starts on a leash, the controller under test too. Everything blocks: async callers have threads
//! for it.

mod error;
mod flags;
mod go;
pub mod kubectl;
mod leash;
pub mod process;
pub mod programs;
mod server;

pub use error::Error;
pub use kubectl::{Kubectl, Output};
pub use process::{Signal, Supervised};
pub use server::ControlPlane;
