//! One decision about one object, as often as it takes to measure it: how its time grows with the ids of the object, and
//! with the parts that a bisection sends apart. It is made under the lock of the object.

use std::{fmt, sync::Arc, time::Duration};

use engine_purity::{
    api::{InstanceDeletionSpec, InstanceDeletionStatus, SecretRef},
    engine::{
        InstanceId, Mono, Now, Settings,
        account::{call_history::CallHistory, delete_queue::PermitAnswer},
        by_kind::ByKind,
        object::{
            decide::{GuardsRead, Input, prepare},
            state::{
                memory::Memory,
                spec::{DeletionSpec, InvalidSpec, Meta},
            },
        },
        settings::BATCH_SIZE,
        state::{Live, Seen},
    },
};
use k8s_openapi::jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// What is decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Ids of the object, all of them ready to be sent.
    pub ids: usize,
    /// Parts that are sent apart.
    pub parts: usize,
}

/// Cases from few ids and parts to many.
pub const CASES: [Case; 6] = [
    Case { ids: 500, parts: 0 },
    Case { ids: 5_000, parts: 0 },
    Case { ids: 500, parts: 10 },
    Case { ids: 5_000, parts: 10 },
    Case { ids: 500, parts: 500 },
    Case { ids: 5_000, parts: 5_000 },
];

/// The processor time of one decision.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// About what.
    pub case: Case,
    /// The shortest of several runs: what else the machine does only makes a run longer.
    pub took: Duration,
}

impl Measured {
    /// The time for each id.
    #[must_use]
    pub fn each(&self) -> Duration {
        self.took / u32::try_from(self.case.ids).unwrap_or(u32::MAX).max(1)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { ids, parts } = self.case;
        let (ms, each) = (self.took.as_secs_f64() * 1e3, self.each().as_secs_f64() * 1e6);
        write!(f, "| {ids} | {parts} | {ms:.2} ms | {each:.2} µs |")
    }
}

/// The heads of the columns.
pub const HEAD: &str = "| ids | parts | a decision | for each id |\n|---|---|---|---|";

/// Measures one decision. Returns the shortest of `runs` runs.
pub fn measure(case: Case, runs: usize) -> Result<Measured, InvalidSpec> {
    let spec = spec_of(case.ids)?;
    let memory = memory_of(&spec, case.parts);
    let mut took = Duration::MAX;
    for _ in 0..runs.max(1) {
        let (mut memory, mut call_history) = (memory.clone(), CallHistory::default());
        let started = processor_time();
        let decided = decide(&spec, &mut memory, &mut call_history);
        took = took.min(processor_time().saturating_sub(started));
        // Dropped here, so that its memory is not freed within the measured time.
        drop(decided);
    }
    Ok(Measured { case, took })
}

/// The processor time of this thread: on a busy machine it runs on as little as the thread does.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn spec_of(ids: usize) -> Result<DeletionSpec, InvalidSpec> {
    let spec = InstanceDeletionSpec {
        region: "r".into(),
        project_id: "0123456789abcdef0123456789abcdef".into(),
        credentials_secret_ref: SecretRef { name: "s".into() },
        instance_ids: (0..ids).map(|n| InstanceId::from_u128(n as u128).to_string()).collect(),
        suspend: None,
        dry_run: None,
        not_found_policy: None,
        backoff_limit_per_instance: None,
        active_deadline_seconds: None,
        not_after: None,
        ttl_seconds_after_finished: None,
        expect: None,
        rollout: None,
        power_off: None,
    };
    DeletionSpec::parse(&spec, Meta { generation: 1, ..Meta::default() })
}

fn later(seconds: u64) -> Mono {
    Mono::at(Duration::from_secs(seconds))
}

/// Memory of an object whose ids were all just read, and are halved until they make `parts` parts.
fn memory_of(spec: &DeletionSpec, parts: usize) -> Memory {
    let mut memory = Memory::new(spec, later(1));
    for id in &spec.ids {
        memory.saw(*id, Seen::Live(Live::Running), later(2));
    }
    if let Some(size) = spec.ids.len().checked_div(parts) {
        for pair in spec.ids.chunks(size.max(1) * 2).take(parts.div_ceil(2)) {
            memory.refusals.delete.bisection.halve(pair);
        }
    }
    memory
}

fn decide(
    spec: &DeletionSpec,
    memory: &mut Memory,
    call_history: &mut CallHistory,
) -> engine_purity::engine::object::decide::Decision {
    let mono = later(3);
    let now = Now { mono, wall: Timestamp::UNIX_EPOCH + mono.since_start() };
    let (status, settings) = (InstanceDeletionStatus::default(), Settings::default());
    let guards = GuardsRead { guards: Arc::default(), at: mono };
    let input = Input {
        spec,
        status: &status,
        other_bytes: 0,
        guards: Some(&guards),
        evidence: ByKind::default(),
        batch_size: BATCH_SIZE,
        may_start: true,
        claim: "claim",
        now: &now,
        cloud_time: None,
        settings: &settings,
    };
    prepare(input, memory, call_history).conclude(Some(PermitAnswer::Now(settings.parallel_calls)))
}
