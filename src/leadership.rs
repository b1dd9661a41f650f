//! Whether this process leads: kept by [`crate::runtime::election`], asked before everything that only a leader may do.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio::sync::watch;

use crate::{clock::Deadline, metrics::Registry};

/// Whether this process leads at this moment. Clones see the same.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Term>);

#[derive(Clone, Debug)]
enum Term {
    /// Somebody else leads, or nobody.
    None,
    /// Until then, if it is not renewed before.
    Until(Deadline),
    /// Without election.
    Always,
}

impl Leadership {
    /// That of a process which takes part in no election: it always leads.
    #[must_use]
    pub fn always() -> Self {
        Self(watch::Sender::new(Term::Always).subscribe())
    }

    /// Whether this process leads. Both clocks are asked: a process that was stopped, or a machine that slept, for longer than
    /// the lease leads no more when it goes on, before it has heard of anything.
    #[must_use]
    pub fn leads(&self) -> bool {
        match &*self.0.borrow() {
            Term::None => false,
            Term::Until(end) => !end.is_over(),
            Term::Always => true,
        }
    }
}

/// A row of `leader`: whether this process leads, by the name of the Lease.
#[derive(Debug)]
struct Leader {
    lease: String,
    leadership: Leadership,
}

impl Leadership {
    /// Under the registry's own prefix. Without election the name of the Lease is empty.
    pub fn register(&self, registry: &mut Registry, lease: &str) {
        let row = Leader { lease: lease.to_owned(), leadership: self.clone() };
        registry.register_collector(Box::new(row));
    }
}

impl Collector for Leader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let leads = ConstGauge::new(i64::from(self.leadership.leads()));
        let help = "Whether this process leads, by the Lease for which it stands.";
        let mut family = encoder.encode_descriptor("leader", help, None, leads.metric_type())?;
        leads.encode(family.encode_family(&[("lease", self.lease.as_str())])?)
    }
}

/// Says who leads. When it is dropped, this process leads no more.
#[derive(Debug)]
pub struct LeadershipSetter(watch::Sender<Term>);

impl LeadershipSetter {
    /// A process that does not lead yet.
    #[must_use]
    pub fn new() -> (Self, Leadership) {
        let (sender, receiver) = watch::channel(Term::None);
        (Self(sender), Leadership(receiver))
    }

    /// It leads until then.
    pub fn until(&self, end: Deadline) {
        self.0.send_replace(Term::Until(end));
    }

    /// It leads no more, from now on.
    pub fn end(&self) {
        self.0.send_replace(Term::None);
    }
}

impl Drop for LeadershipSetter {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
        time::Duration,
    };

    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::clock::Clock;

    const TERM: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_is_told_by_the_lease() {
        let told = |leadership: &Leadership, lease: &str| {
            let text = crate::metrics::testing::scraped(|registry| leadership.register(registry, lease));
            crate::metrics::testing::sample(&text, &format!("leader{{lease=\"{lease}\"}}")).to_string()
        };
        let (setter, leadership) = LeadershipSetter::new();
        assert_eq!(told(&leadership, "all"), "0");
        setter.until(Deadline::after(TERM, &Clock::start()));
        assert_eq!(told(&leadership, "all"), "1");
        tokio::time::advance(TERM).await;
        assert_eq!(told(&leadership, "all"), "0", "whoever kept it says nothing");
        assert_eq!(told(&Leadership::always(), ""), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn r06_it_ends_by_either_clock_or_by_a_word() {
        let wall = Arc::new(AtomicI64::new(1_800_000_000));
        let read = wall.clone();
        let clock =
            Clock::with_wall(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap_or_default());
        let (setter, leadership) = LeadershipSetter::new();
        assert!(!leadership.leads(), "not before its first term");
        setter.until(Deadline::after(TERM, &clock));
        let call = Deadline::after(Duration::from_mins(1), &clock).while_leading(&leadership);
        assert!(leadership.leads() && !call.is_over());
        tokio::time::advance(TERM).await;
        assert!(!leadership.leads() && call.is_over(), "the process was stopped");
        setter.until(Deadline::after(TERM, &clock));
        assert!(leadership.leads() && !call.is_over(), "renewed");
        wall.fetch_add(10, Ordering::SeqCst);
        assert!(!leadership.leads() && call.is_over(), "the machine slept");
        setter.until(Deadline::after(TERM, &clock));
        setter.end();
        assert!(!leadership.leads() && call.is_over());
        setter.until(Deadline::after(TERM, &clock));
        drop(setter);
        assert!(!leadership.leads() && call.is_over(), "nobody keeps it any more");
        assert!(Leadership::always().leads());
    }
}
