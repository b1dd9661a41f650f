//! The state of the process: the context of all reconciles, and what is known of each object.

pub mod context;
pub mod objects;
pub mod unrecorded;
