//! How many entries this process keeps. None of it grows with time: operators see it in the metrics, and a simulation of weeks
//! compares it.

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use crate::metrics::Registry;

/// Numbers of entries that this process keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Objects that it knows.
    pub objects: usize,
    /// Calls, refusals and waiting ids that it remembers of these objects.
    pub object_entries: usize,
    /// Accounts: an endpoint, a project and a Secret each.
    pub accounts: usize,
    /// Names of identities that it calls as.
    pub identities: usize,
    /// Objects in queues for delete calls.
    pub queued: usize,
    /// Instances that a remembered call names, and calls that records claim.
    pub call_history: usize,
    /// Instances in the schedules of looks.
    pub scheduled: usize,
    /// Users and keys whose last attempts it remembers.
    pub credentials: usize,
}

impl Sizes {
    /// Each with its name in the metrics.
    #[must_use]
    pub fn named(&self) -> [(&'static str, usize); 8] {
        let Self {
            objects,
            object_entries,
            accounts,
            identities,
            queued,
            call_history,
            scheduled,
            credentials,
        } = *self;
        [
            ("objects", objects),
            ("object_entries", object_entries),
            ("accounts", accounts),
            ("identities", identities),
            ("queued", queued),
            ("call_history", call_history),
            ("scheduled", scheduled),
            ("credentials", credentials),
        ]
    }
}

/// Counts at each scrape.
#[derive(Clone)]
struct SizeGauges(Arc<dyn Fn() -> Sizes + Send + Sync>);

impl std::fmt::Debug for SizeGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SizeGauges").finish_non_exhaustive()
    }
}

/// Registers the gauges of what this process keeps, as `sizes` counts it.
pub fn register(registry: &mut Registry, sizes: impl Fn() -> Sizes + Send + Sync + 'static) {
    registry.register_collector(Box::new(SizeGauges(Arc::new(sizes))));
}

impl Collector for SizeGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let sizes = (self.0)();
        let help = "Entries that this process keeps, by kind.";
        let of_type = ConstGauge::new(0_i64).metric_type();
        let mut kept = encoder.encode_descriptor("kept_entries", help, None, of_type)?;
        for (kind, size) in sizes.named() {
            let size = ConstGauge::new(i64::try_from(size).unwrap_or(i64::MAX));
            size.encode(kept.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }
}
