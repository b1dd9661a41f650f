//! Decisions about one cloud account: how fast to call, which object calls next, when to look, whether the cloud answers.

pub mod batch_size;
pub mod call_history;
pub mod delete_queue;
pub mod outage;
pub mod rate;
pub mod schedule;
