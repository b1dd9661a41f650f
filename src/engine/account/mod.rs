//! Decisions about one cloud account: how fast to call, whose turn it is, when to look, and whether it answers at all.

pub mod call_history;
pub mod delete_queue;
pub mod outage;
pub mod rate;
pub mod schedule;
