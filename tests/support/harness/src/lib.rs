//! What end-to-end tests and the demo share: a namespace on the real control plane, a simulated CloudDC, and the
//! controller as a process of its own under the ServiceAccount and role of `deploy/`.
//!
//! Nothing here uses the controller's code: what a test judges by is the cloud's log and the API server's answers.

mod controller;
mod history;
mod install;
mod manifest;
mod stage;

pub use controller::Controller;
pub use history::History;
pub use install::{base, install, project};
pub use manifest::Manifest;
pub use stage::{PROJECT, Stage, TOKEN, condition, until};
