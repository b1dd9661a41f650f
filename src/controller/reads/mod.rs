//! Reads of instances: those that a decision asked for, and those of the account's schedule.

pub mod requested;
pub mod scheduled;
