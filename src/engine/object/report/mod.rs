//! What people and tools read of an object: its status and its events.

pub mod events;
pub mod headline;
pub mod stage;
pub mod status;
pub mod stuck;
