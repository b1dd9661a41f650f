//! Whether this process leads. The election in `runtime` sets it; everything that only a leader may do asks it first.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio::sync::watch;

use crate::{clock::Deadline, metrics::Registry};

/// Tells whether this process leads now. Clones share the state.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Term>);

#[derive(Clone, Debug)]
enum Term {
    /// Another process leads, or none.
    None,
    /// This process leads until this deadline, unless it renews the lease before.
    Until(Deadline),
    /// Leader election is off.
    Always,
}

impl Leadership {
    /// Leadership without election: the process always leads.
    #[must_use]
    pub fn always() -> Self {
        Self(watch::Sender::new(Term::Always).subscribe())
    }

    /// Whether this process leads.
    ///
    /// Asks both clocks. A process that was stopped, or whose machine slept, for longer than the lease no longer leads from its
    /// first step on, before it has read the Lease again.
    #[must_use]
    pub fn leads(&self) -> bool {
        match &*self.0.borrow() {
            Term::None => false,
            Term::Until(end) => !end.is_over(),
            Term::Always => true,
        }
    }
}

/// Guards the departure of a call: the call may leave before a deadline, and only while this process leads.
#[derive(Clone)]
pub struct DepartureGuard {
    leave_by: Deadline,
    leadership: Leadership,
    barred: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for DepartureGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DepartureGuard").field("leave_by", &self.leave_by).finish_non_exhaustive()
    }
}

impl DepartureGuard {
    /// Lets a call leave until the deadline while `leadership` holds.
    #[must_use]
    pub fn new(leave_by: Deadline, leadership: &Leadership) -> Self {
        Self { leave_by, leadership: leadership.clone(), barred: None }
    }

    /// Lets the call leave only if `barred` says no at that moment.
    #[must_use]
    pub fn unless(self, barred: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { barred: Some(Arc::new(barred)), ..self }
    }

    /// Whether the call may still leave.
    #[must_use]
    pub fn allows(&self) -> bool {
        let barred = || self.barred.as_ref().is_some_and(|barred| barred());
        !self.leave_by.is_over() && self.leadership.leads() && !barred()
    }
}

/// The gauge `leader`: 1 while this process leads, labelled with the name of the Lease.
#[derive(Debug)]
struct Leader {
    lease: String,
    leadership: Leadership,
}

impl Leadership {
    /// Registers the gauge `leader`. `lease` is the name of the Lease, empty without election.
    pub fn register(&self, registry: &mut Registry, lease: &str) {
        let row = Leader { lease: lease.to_owned(), leadership: self.clone() };
        registry.register_collector(Box::new(row));
    }
}

impl Collector for Leader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let leads = ConstGauge::new(i64::from(self.leadership.leads()));
        let help = "Whether this process leads (1) or not (0), by the Lease that it competes for.";
        let mut family = encoder.encode_descriptor("leader", help, None, leads.metric_type())?;
        leads.encode(family.encode_family(&[("lease", self.lease.as_str())])?)
    }
}

/// Sets [`Leadership`]. Dropping it ends the leadership.
#[derive(Debug)]
pub struct LeadershipSetter(watch::Sender<Term>);

impl LeadershipSetter {
    /// A setter and its leadership, which does not hold yet.
    #[must_use]
    pub fn new() -> (Self, Leadership) {
        let (sender, receiver) = watch::channel(Term::None);
        (Self(sender), Leadership(receiver))
    }

    /// Leads until `end`.
    pub fn until(&self, end: Deadline) {
        self.0.send_replace(Term::Until(end));
    }

    /// Stops leading now.
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
        assert_eq!(told(&leadership, "all"), "0", "a kept permit says nothing");
        assert_eq!(told(&Leadership::always(), ""), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn s17_a_call_does_not_leave_once_something_bars_it() {
        let barred = Arc::new(AtomicI64::new(0));
        let read = barred.clone();
        let guard = DepartureGuard::new(Deadline::after(TERM, &Clock::start()), &Leadership::always());
        let guard = guard.unless(move || read.load(Ordering::SeqCst) == 1);
        let later = guard.clone();
        assert!(guard.allows());
        barred.store(1, Ordering::SeqCst);
        assert!(!guard.allows() && !later.allows(), "it is asked each time");
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
        let call = DepartureGuard::new(Deadline::after(Duration::from_mins(1), &clock), &leadership);
        assert!(leadership.leads() && call.allows());
        tokio::time::advance(TERM).await;
        assert!(!leadership.leads() && !call.allows(), "the process was stopped");
        setter.until(Deadline::after(TERM, &clock));
        assert!(leadership.leads() && call.allows(), "renewed");
        wall.fetch_add(10, Ordering::SeqCst);
        assert!(!leadership.leads() && !call.allows(), "the machine slept");
        setter.until(Deadline::after(TERM, &clock));
        setter.end();
        assert!(!leadership.leads() && !call.allows());
        setter.until(Deadline::after(TERM, &clock));
        drop(setter);
        assert!(!leadership.leads() && !call.allows(), "nobody keeps it any more");
        assert!(Leadership::always().leads());
    }
}
