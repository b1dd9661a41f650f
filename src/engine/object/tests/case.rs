//! One row and what is known of it, for tests of single rules.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::{
    api::{BatchStatus, CallKind, InstanceDeletionStatus},
    engine::{
        InstanceId, Mono, Now, ReadTime, Settings,
        account::call_history::CallHistory,
        by_kind::ByKind,
        object::{
            rules::{
                facts::Facts,
                last_call,
                observe::{LiveRead, observe},
            },
            state::{
                ledger::{Ledger, Progress},
                memory::{CallState, CalledId, Memory, OwnCall},
                spec::{DeletionSpec, tests::spec_of},
            },
        },
        outcome::{CallOutcome, Effect, Trouble},
        state::{Live, Seen},
    },
};

/// The least time there is.
pub const MICRO: Duration = Duration::from_micros(1);

/// When the last call ended, or what else the case turns on happened.
pub fn then() -> Mono {
    Mono::at(Duration::from_secs(1000))
}

/// This moment on both clocks, which started together.
pub fn at(mono: Mono) -> Now {
    Now { mono, wall: Timestamp::UNIX_EPOCH + mono.since_start() }
}

/// The moment before a moment.
pub fn just_before(moment: Mono) -> Mono {
    Mono::at(moment.since_start().saturating_sub(MICRO))
}

/// A case of `n` ids whose object has been seen since long.
pub fn case_of(n: u128) -> Case {
    let spec = spec_of(n);
    let ledger = Ledger::read(&spec.ids, &InstanceDeletionStatus::default());
    let memory = Memory::new(&spec, Mono::START);
    Case { spec, ledger, memory, ..Case::pending() }
}

/// One row, and what is known of it.
#[derive(Clone)]
pub struct Case {
    pub spec: DeletionSpec,
    pub ledger: Ledger,
    pub memory: Memory,
    pub call_history: CallHistory,
    pub settings: Settings,
}

impl Case {
    pub fn new(progress: Progress) -> Self {
        let spec = spec_of(1);
        let mut ledger = Ledger::read(&spec.ids, &InstanceDeletionStatus::default());
        ledger.rows[0].progress = progress;
        let memory = Memory::new(&spec, Mono::START);
        Self { spec, ledger, memory, call_history: CallHistory::default(), settings: Settings::default() }
    }

    pub fn pending() -> Self {
        Self::new(Progress::Pending)
    }

    pub fn id(&self) -> InstanceId {
        self.spec.ids[0]
    }

    pub fn seen(self, live: Live, sent: Mono) -> Self {
        self.read(Seen::Live(live), sent)
    }

    pub fn read(mut self, seen: Seen, read: impl Into<ReadTime>) -> Self {
        let read = read.into();
        self.call_history.saw(self.spec.ids[0], &seen, read);
        self.memory.saw(self.spec.ids[0], seen, read);
        self
    }

    /// A call of some object of this process ended.
    pub fn ended(mut self, effect: Effect, before: Live) -> Self {
        let id = self.id();
        assert!(self.call_history.claim(&[(id, before)]));
        self.call_history.release(CallKind::Delete, &[id], then(), |_| Some(effect));
        self
    }

    /// Some object's read, sent then, showed it so.
    pub fn last_call(mut self, seen: &Seen, at: Mono) -> Self {
        self.call_history.saw(self.spec.ids[0], seen, at);
        self
    }

    /// The row's batch is a call of this process.
    pub fn own(mut self, state: CallState) -> Self {
        let call = OwnCall {
            kind: CallKind::Delete,
            claim: "mine".into(),
            ids: vec![CalledId::first(self.id())],
            state,
        };
        self.memory.calls.insert(7, call);
        self.batch("mine", None)
    }

    pub fn batch(mut self, claim: &str, returned: Option<u32>) -> Self {
        self.ledger.batches = vec![BatchStatus {
            number: 7,
            kind: None,
            size: 1,
            returned,
            no_effect: None,
            claim: claim.into(),
            submitted_at: Time(Timestamp::UNIX_EPOCH),
            request_id: None,
        }];
        self
    }

    /// The object is read.
    pub fn observe(&mut self, at: Mono) {
        self.observe_at(Now { mono: at, wall: Timestamp::UNIX_EPOCH });
    }

    pub fn observe_at(&mut self, now: Now) {
        let status = InstanceDeletionStatus::default();
        let read = LiveRead {
            spec: &self.spec,
            status: &status,
            ledger: &self.ledger,
            guards: None,
            evidence: ByKind::default(),
            now: &now,
            cloud_time: None,
            settings: &self.settings,
        };
        observe(&read, &mut self.memory, &mut self.call_history);
    }

    /// A rule judges the case.
    pub fn judge<T>(&mut self, now: Now, rule: impl FnOnce(&mut Ledger, &Facts<'_>) -> T) -> T {
        let Self { spec, ledger, memory, call_history, settings } = self;
        let calls = last_call::gather(ledger, memory, call_history, &spec.meta.namespace);
        let bar = memory.bar(spec);
        rule(ledger, &Facts { spec, memory, calls: &calls, bar: bar.as_ref(), now: &now, settings })
    }
}

/// For how long an account that had no other refusal is closed by this outcome of a call.
pub fn closed_for(outcome: &CallOutcome) -> Option<Duration> {
    match outcome {
        CallOutcome::Refused { trouble: Trouble::Throttled { retry_after }, .. } => *retry_after,
        CallOutcome::Accepted { .. }
        | CallOutcome::Unknown { .. }
        | CallOutcome::Refused { .. }
        | CallOutcome::NotSent(_) => None,
    }
}
