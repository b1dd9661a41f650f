//! The API server: reads and writes of `InstanceDeletion`s, reads of Secrets, and events. Each request has a deadline.

pub mod events;
pub mod failure;
pub mod key;
pub mod reads;
pub mod request_metrics;
pub mod requests;
pub mod writes;
