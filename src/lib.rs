//! A Kubernetes controller that deletes CloudDC bare-metal instances listed in a manifest.
//!
//! In reading order:
//!
//! - [`api`]: the custom resource, what users write and read;
//! - [`engine`]: pure decisions: the next step of an object, and how fast an account is called;
//! - [`cloud`]: the client of the CloudDC API; it knows nothing of Kubernetes;
//! - [`scope`]: which objects this process works on;
//! - [`controller`]: carries out the decisions; the only place where Kubernetes and the cloud meet;
//! - [`runtime`]: the process: flags, logs, health, metrics, leader election, signals;
//! - [`clock`], [`random`], [`leadership`], [`lock`], [`metrics`], [`supervise`] and [`text`]: what all of these share.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod api;
pub mod clock;
pub mod cloud;
pub mod controller;
pub mod engine;
pub mod leadership;
pub mod lock;
pub mod metrics;
pub mod random;
pub mod runtime;
pub mod scope;
pub mod supervise;
pub mod text;
