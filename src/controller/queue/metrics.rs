//! The work queue, counted as client-go counts its own: how many keys wait, and for how long.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use super::work_queue::Priority;
use crate::metrics::{Durations, Family, Labels, Registry, Unit, durations, observe};

/// Metrics of the work queue, by priority.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    depth: Family<Labels<1>, Gauge>,
    wait: Durations<1>,
}

fn row(priority: Priority) -> Labels<1> {
    [("priority", priority.name())]
}

impl Default for QueueMetrics {
    fn default() -> Self {
        let depth = Family::default();
        for priority in Priority::ALL {
            drop(depth.get_or_create(&row(priority)));
        }
        Self { depth, wait: durations(Priority::ALL.map(row)) }
    }
}

impl QueueMetrics {
    /// Under the registry's own prefix.
    pub fn register(&self, registry: &mut Registry) {
        let depth = "Objects that wait for a pass, by whether they have calls to make";
        registry.register("workqueue_depth", depth, self.depth.clone());
        let wait = "How long objects waited for a pass, from when they were first added to the queue";
        registry.register_with_unit("workqueue_queue_duration", wait, Unit::Seconds, self.wait.clone());
    }

    /// So many keys wait now.
    pub fn depth(&self, priority: Priority, depth: usize) {
        self.depth.get_or_create(&row(priority)).set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Observes how long a key waited before its pass started.
    pub fn started(&self, priority: Priority, waited: Duration) {
        observe(&self.wait.get_or_create(&row(priority)), waited);
    }
}
