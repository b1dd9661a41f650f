//! Decisions about one cloud account: how fast to call, and whose turn it is.

pub mod pace;
pub mod permits;
