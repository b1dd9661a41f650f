//! The rules of a decision, one a file.

pub mod batch;
pub mod close;
pub mod look_first;
pub mod plan;
pub mod poll;
pub mod record;
pub mod write_ahead;
