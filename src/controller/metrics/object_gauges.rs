//! Gauges of all known objects by phase, and of what blocks them. Each object has a row, and a scrape copies the totals
//! without visiting the objects.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use k8s_openapi::jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use crate::{
    api::{
        FailureReason, InstanceDeletionSpec, InstanceDeletionStatus, InstancePhase, InstanceStatus, Phase,
        ReadyReason, ReasonKind, Summary,
    },
    clock::Clock,
    engine::object::report::stuck::Stuck,
    lock::lock,
    metrics::{Registry, Unit},
};

/// The row of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// When work on it began, or on what is left of it after a soak, in seconds since 1970; `None` while it is not expected to
    /// go on.
    since: Option<i64>,
    /// When the first soak ends, if it waits for that.
    soak_end: Option<i64>,
    failed: [u32; FailureReason::ALL.len()],
    instances: [u32; InstancePhase::ALL.len()],
    phase: Phase,
    /// What blocks it.
    hindrance: Option<ReadyReason>,
    stuck: bool,
}

/// What the spec of an object says of its soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soak {
    seconds: i64,
    /// Instances that may be sent, from the beginning of the list.
    limit: usize,
}

impl Soak {
    /// The soak of this spec; none if it asks for none.
    #[must_use]
    pub fn of(spec: &InstanceDeletionSpec) -> Option<Self> {
        let seconds = spec.power_off?.soak_seconds?.into();
        let limit = spec.rollout.and_then(|rollout| rollout.limit).and_then(|limit| limit.try_into().ok());
        Some(Self { seconds, limit: limit.unwrap_or(usize::MAX) })
    }

    /// Since when work goes on with an instance of this row: since the end of its soak, be it to come; else since `start`.
    fn since(self, row: &InstanceStatus, start: i64) -> i64 {
        let off = row.powered_off_at.as_ref().map(|at| at.0.as_second().saturating_add(self.seconds));
        off.map_or(start, |end| end.max(start))
    }

    /// The same of the object: the earliest of its open instances.
    fn since_of_all(self, status: &InstanceDeletionStatus, start: i64) -> i64 {
        let open = status.instances.iter().take(self.limit).filter(|row| is_open(row.phase));
        open.map(|row| self.since(row, start)).min().unwrap_or(start)
    }
}

const fn is_open(phase: InstancePhase) -> bool {
    match phase {
        InstancePhase::Pending
        | InstancePhase::PoweringOff
        | InstancePhase::PoweredOff
        | InstancePhase::Submitted
        | InstancePhase::Accepted => true,
        InstancePhase::Terminated | InstancePhase::NotFound | InstancePhase::Failed => false,
    }
}

impl ObjectRow {
    /// The row of an object with this status, created at this time.
    #[must_use]
    pub fn of(status: &InstanceDeletionStatus, created: Option<i64>, soak: Option<Soak>) -> Self {
        let phase = status.phase.unwrap_or(Phase::Pending);
        let sum = status.summary.unwrap_or_default();
        let goes_on = goes_on(phase);
        let start = status.start_time.as_ref().map(|t| t.0.as_second()).or(created).filter(|_| goes_on);
        let since = start.map(|start| soak.map_or(start, |soak| soak.since_of_all(status, start)));
        let next = status.next_action_time.as_ref().filter(|_| phase == Phase::Soaking);
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let reason = ready.and_then(|ready| ReadyReason::parse(&ready.reason));
        Self {
            since,
            soak_end: next.map(|at| at.0.as_second()),
            failed: FailureReason::ALL.map(|reason| failed(status, reason)),
            instances: InstancePhase::ALL.map(|phase| instances(&sum, phase)),
            phase,
            hindrance: reason.filter(|reason| reason.kind() == ReasonKind::Hindered),
            stuck: goes_on && Stuck::is_said(status),
        }
    }
}

impl ObjectRow {
    /// The row of an object that this version can't decode: nothing is known of it.
    #[must_use]
    pub fn undecodable() -> Self {
        let hindrance = Some(ReadyReason::Undecodable);
        Self { hindrance, ..Self::of(&InstanceDeletionStatus::default(), None, None) }
    }
}

/// Whether an object in this phase is expected to go on without a wait that its author asked for.
const fn goes_on(phase: Phase) -> bool {
    match phase {
        Phase::Pending | Phase::Planning | Phase::Deleting | Phase::Throttled => true,
        Phase::Planned
        | Phase::LimitReached
        | Phase::Suspended
        | Phase::Soaking
        | Phase::Succeeded
        | Phase::Failed
        | Phase::DeadlineExceeded
        | Phase::Expired
        | Phase::InvalidSpec => false,
    }
}

/// Number of instances that were given up for this reason.
#[must_use]
pub fn failed(status: &InstanceDeletionStatus, reason: FailureReason) -> u32 {
    status
        .failures
        .iter()
        .filter(|row| row.reason == reason)
        .map(|row| row.count)
        .fold(0, u32::saturating_add)
}

fn instances(sum: &Summary, phase: InstancePhase) -> u32 {
    match phase {
        InstancePhase::Pending => sum.pending,
        InstancePhase::PoweringOff => sum.powering_off,
        InstancePhase::PoweredOff => sum.powered_off,
        InstancePhase::Submitted => sum.submitted,
        InstancePhase::Accepted => sum.accepted,
        InstancePhase::Terminated => sum.terminated,
        InstancePhase::NotFound => sum.not_found,
        InstancePhase::Failed => sum.failed,
    }
}

/// Numbers of objects and instances, each at the index of its phase or reason in `ALL`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Totals {
    objects: [u32; Phase::ALL.len()],
    hindered: [u32; ReadyReason::ALL.len()],
    instances: [u32; InstancePhase::ALL.len()],
    failed: [u32; FailureReason::ALL.len()],
    stuck: u32,
    /// Number of objects that go on, by when work on them began.
    since: BTreeMap<i64, u32>,
    /// Number of objects that wait for a soak, by when the first one ends.
    soak_ends: BTreeMap<i64, u32>,
}

impl Default for Totals {
    // Arrays of more than 32 elements have no default.
    fn default() -> Self {
        Self {
            objects: [0; Phase::ALL.len()],
            hindered: [0; ReadyReason::ALL.len()],
            instances: [0; InstancePhase::ALL.len()],
            failed: [0; FailureReason::ALL.len()],
            stuck: 0,
            since: BTreeMap::new(),
            soak_ends: BTreeMap::new(),
        }
    }
}

impl Totals {
    /// Adds a row, or takes it out, as `change` says.
    fn count(&mut self, row: &ObjectRow, change: fn(u32, u32) -> u32) {
        let add = |total: Option<&mut u32>, n: u32| {
            if let Some(total) = total {
                *total = change(*total, n);
            }
        };
        add(self.objects.get_mut(row.phase as usize), 1);
        add(row.hindrance.and_then(|reason| self.hindered.get_mut(reason as usize)), 1);
        add(Some(&mut self.stuck), u32::from(row.stuck));
        for (total, n) in self.instances.iter_mut().zip(row.instances) {
            add(Some(total), n);
        }
        for (total, n) in self.failed.iter_mut().zip(row.failed) {
            add(Some(total), n);
        }
        for (times, time) in [(&mut self.since, row.since), (&mut self.soak_ends, row.soak_end)] {
            let Some(time) = time else { continue };
            add(Some(times.entry(time).or_default()), 1);
            if times.get(&time) == Some(&0) {
                times.remove(&time);
            }
        }
    }
}

/// The gauges of objects. Clones share them.
#[derive(Clone, Debug)]
pub struct ObjectGauges {
    totals: Arc<Mutex<Totals>>,
    clock: Clock,
}

/// The entry of an object. Dropping it takes the object out of the gauges.
#[derive(Debug)]
pub struct Counted {
    totals: Arc<Mutex<Totals>>,
    row: ObjectRow,
}

impl Drop for Counted {
    fn drop(&mut self) {
        lock(&self.totals).count(&self.row, u32::saturating_sub);
    }
}

impl ObjectGauges {
    /// Creates gauges without an object.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { totals: Arc::default(), clock }
    }

    /// Enters the row of an object in place of its former one.
    pub fn enter(&self, counted: &mut Option<Counted>, row: ObjectRow) {
        let mut totals = lock(&self.totals);
        totals.count(&row, u32::saturating_add);
        match counted {
            Some(counted) => totals.count(&std::mem::replace(&mut counted.row, row), u32::saturating_sub),
            None => *counted = Some(Counted { totals: self.totals.clone(), row }),
        }
    }

    /// Registers them without a further prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &'static str,
    rows: impl Iterator<Item = (&'static str, u32)>,
) -> Result<(), std::fmt::Error> {
    let gauge = |value: u32| ConstGauge::new(i64::from(value));
    let mut family = encoder.encode_descriptor(name, help, None, gauge(0).metric_type())?;
    for (value, n) in rows {
        gauge(n).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

impl Collector for ObjectGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let totals = lock(&self.totals).clone();
        let objects = Phase::ALL.map(Phase::as_str).into_iter().zip(totals.objects);
        let help = "InstanceDeletions by phase, finished ones too, as long as they exist.";
        family(&mut encoder, ("objects", help), "phase", objects)?;
        let help = "Unfinished InstanceDeletions whose condition Ready says what stands in their way.";
        let hindered = ReadyReason::ALL.into_iter().zip(totals.hindered);
        let hindered = hindered.filter(|(reason, _)| reason.kind() == ReasonKind::Hindered);
        let hindered = hindered.map(|(reason, n)| (reason.as_str(), n));
        family(&mut encoder, ("objects_hindered", help), "reason", hindered)?;
        let help = "Instances by phase; one that two objects name counts twice.";
        let instances = InstancePhase::ALL.map(InstancePhase::as_str).into_iter().zip(totals.instances);
        family(&mut encoder, ("instances", help), "phase", instances)?;
        let help = "Instances of these that were given up, by why.";
        let failed = FailureReason::ALL.map(FailureReason::as_str).into_iter().zip(totals.failed);
        family(&mut encoder, ("instances_failed", help), "reason", failed)?;
        let stuck = ConstGauge::new(i64::from(totals.stuck));
        let help = "Objects with instances that are open for longer than --stuck-after.";
        stuck.encode(encoder.encode_descriptor("objects_stuck", help, None, stuck.metric_type())?)?;
        let oldest = totals.since.keys().next();
        let age = oldest
            .map_or(0, |since| (self.clock.wall() - Timestamp::UNIX_EPOCH).get_seconds().max(*since) - since);
        let age = ConstGauge::new(age);
        let help = "Time since work on the oldest object began, or went on after a soak, that is neither finished nor suspended nor soaking nor a plan; 0 if there is none.";
        let metric = encoder.encode_descriptor(
            "oldest_unfinished_age",
            help,
            Some(&Unit::Seconds),
            age.metric_type(),
        )?;
        age.encode(metric)?;
        let soak = ConstGauge::new(totals.soak_ends.keys().next().copied().unwrap_or_default());
        let help = "When the first soak ends for which an object in phase Soaking waits, in Unix time; 0 if none waits.";
        let metric = encoder.encode_descriptor(
            "first_soak_end_timestamp",
            help,
            Some(&Unit::Seconds),
            soak.metric_type(),
        )?;
        soak.encode(metric)
    }
}

#[cfg(test)]
mod tests;
