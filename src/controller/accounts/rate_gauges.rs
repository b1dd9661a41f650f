//! Gauges of the rates at which the cloud may be called and of the size of calls, read at each scrape. No label names an
//! identity.

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use super::{Accounts, governors::InForce};
use crate::metrics::Registry;

/// Reads the accounts and their governors at each scrape.
#[derive(Clone)]
pub struct RateGauges(pub Arc<Accounts>);

impl std::fmt::Debug for RateGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateGauges").finish_non_exhaustive()
    }
}

impl RateGauges {
    /// Registers them with the prefix `cloud_`.
    pub fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("cloud").register_collector(Box::new(self.clone()));
    }
}

impl Collector for RateGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let InForce { identities, delete, read } = self.0.governors().in_force();
        let kinds = [("delete", delete), ("read", read)];
        let all = ConstGauge::new(count(identities));
        let help = "Identities that the cloud was called by, each with a pace of its own.";
        all.encode(encoder.encode_descriptor("identities", help, None, all.metric_type())?)?;
        let help = "Identities that the cloud holds below the ceiling of --delete-rate or --read-rate.";
        let mut slowed = encoder.encode_descriptor("identities_slowed", help, None, all.metric_type())?;
        for (kind, rate) in kinds {
            ConstGauge::new(count(rate.slowed)).encode(slowed.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Calls per second granted to the identity that is granted least.";
        let mut lowest = encoder.encode_descriptor("lowest_rate", help, None, all.metric_type())?;
        for (kind, rate) in kinds {
            ConstGauge::new(rate.lowest).encode(lowest.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Most ids in one delete call of the account that may name fewest: 50, unless the cloud refuses larger calls.";
        let size = ConstGauge::new(count(self.0.lowest_batch_size()));
        size.encode(encoder.encode_descriptor("lowest_batch_size", help, None, size.metric_type())?)?;
        Ok(())
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
