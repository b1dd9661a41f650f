//! A Kubernetes controller that deletes CloudDC bare-metal instances listed in a manifest.
//!
//! In reading order:
//!
//! - [`api`]: the custom resource, what users write and read;
//! - [`engine`]: pure decisions, of an object (ledger, batches, attempts, next step) and of an account (how fast to call);
//! - [`cloud`]: the CloudDC API, which knows nothing of Kubernetes;

pub mod api;
pub mod clock;
pub mod cloud;
pub mod engine;
