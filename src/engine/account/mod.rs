//! Decisions about one cloud account: how fast to call, whose turn it is, when to look, and whether it answers at all.

pub mod health;
pub mod pace;
pub mod permits;
pub mod schedule;
