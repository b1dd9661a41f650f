//! The work queue: which object is worked on next, by four workers at once.
//!
//! [`WorkQueue`] is the order, a pure state machine; [`Delays`] holds what is to be worked on later; [`Dispatcher`] runs both:
//! the only task that owns them, so that nothing is locked.

mod delays;
mod dispatcher;
mod metrics;
mod work_queue;

use delays::Delays;
pub use dispatcher::{Dispatcher, Work};
pub use metrics::QueueMetrics;
pub use work_queue::{Priority, WorkQueue};
