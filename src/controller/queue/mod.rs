//! The work queue: which object is worked on next, by four workers at once.
//!
//! [`work_queue`] is the order, a pure state machine; [`delays`] holds what is to be worked on later; [`Dispatcher`] runs both.
//! It alone owns them, so that nothing is locked.

mod delays;
mod dispatcher;
mod metrics;
#[cfg(test)]
mod testing;
mod work_queue;

pub use dispatcher::{Dispatcher, Work};
pub use metrics::QueueMetrics;
