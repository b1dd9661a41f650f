//! A Kubernetes controller that deletes CloudDC bare-metal instances listed in a manifest.
//!
//! In reading order:
//!
//! - [`api`]: the custom resource, what users write and read;
//! - [`engine`]: pure decisions, of an object (ledger, batches, attempts, next step) and of an account (how fast to call);
//! - [`cloud`]: the CloudDC API, which knows nothing of Kubernetes;
//! - [`controller`]: carries the decisions out, the only place where Kubernetes and the cloud meet;
//! - [`runtime`]: the process, its flags, logs, health, metrics, election and end; [`clock`], [`random`] and [`leadership`] are
//!   read for all of them, and all of them count with [`metrics`].

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
