//! The commands, one module each.

pub mod completion;
pub mod explain;
pub mod generate;
pub mod hold;
pub mod plan;
pub mod report;
pub mod retry;
pub mod start;
pub mod watch;
