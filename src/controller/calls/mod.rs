//! Delete calls, from a stored intent to a recorded outcome.

pub mod send;
pub mod submit;
