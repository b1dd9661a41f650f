//! The controller, in reading order.

pub mod api;
pub mod clock;
pub mod engine;
