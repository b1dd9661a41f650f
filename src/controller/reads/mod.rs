//! Looks at instances: those that a decision asks for, and those of the account's schedule.

pub mod requested;
pub mod scheduled;
