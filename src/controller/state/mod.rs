//! What this process keeps: the context of every reconcile, and what is known of each object.

pub mod context;
pub mod objects;
pub mod unrecorded;
