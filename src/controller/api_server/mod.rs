//! The API server: reads and writes of `InstanceDeletion`s, reads of Secrets, and events. Each request has a deadline.

pub mod events;
pub mod failure;
pub mod guards;
pub mod key;
pub mod reads;
mod recorder;
pub mod request_metrics;
pub mod requests;
pub mod undecodable;
pub mod writes;
