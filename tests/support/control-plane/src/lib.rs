//! A real etcd, kube-apiserver and kubectl for tests and the demo, built from Go modules.
//!
//! [`programs`] finds or builds the programs; [`ControlPlane`] runs the servers; [`kubectl`] runs kubectl; [`process`] stops
//! every process that a test has started, the controller under test too, when the test ends. All functions block.

mod error;
mod flags;
mod go;
pub mod kubectl;
mod leash;
pub mod process;
pub mod programs;
mod read;
mod server;

pub use error::Error;
pub use kubectl::{Kubectl, Output};
pub use leash::Folder;
pub use process::{Signal, Supervised};
pub use server::ControlPlane;
