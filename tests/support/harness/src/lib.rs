//! What end-to-end tests and the demo share: a namespace on a real control plane, a simulated CloudDC, and the controller
//! as a process of its own, with the ServiceAccount and role of `deploy/`.
//!
//! Nothing here uses the controller's code: tests judge by the cloud's log and by the API server's answers.

mod controller;
mod history;
mod install;
mod manifest;
mod stage;

pub use controller::Controller;
pub use history::History;
pub use install::{cluster_wide, install, install_definitions, project};
pub use manifest::Manifest;
pub use stage::{OwnControlPlane, PROJECT, Stage, TOKEN, condition, until};
