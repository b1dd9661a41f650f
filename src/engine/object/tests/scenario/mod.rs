//! Tests of whole decisions: the engine against a cloud and a record that the test holds in its
//! hand.

mod bisection;
mod checks;
mod damaged;
mod deadlines;
mod ends;
mod outcomes;
mod power_off;
mod reads;
mod rules;
mod waves;
mod weeks;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::{CallKind, InstanceDeletionStatus, InstancePhase, Phase},
    engine::{
        InstanceId, Mono, Now, ServerId, Settings,
        account::{
            batch_size::BatchSize, call_history::CallHistory, delete_queue::PermitAnswer,
            outage::AccountCalls, schedule::Schedule,
        },
        instance_facts::InstanceFacts,
        object::{
            decide::{Decision, GuardsRead, Input, Next, prepare},
            report::events::Event,
            state::{
                guards::{Guard, Guards},
                ledger::{Ledger, Progress},
                memory::{CallEnd, LookEnd, Memory},
                spec::{DeletionSpec, tests::spec_of},
                wave::{Batch, Wave},
            },
        },
        outcome::{CallOutcome, CloudMessage, LookFailure, Refusal, Trouble, Unsent},
        settings::BATCH_SIZE,
        state::{Live, Seen},
    },
};

const SETTINGS: Settings = Settings {
    parallel_calls: 4,
    poll_min: Duration::from_secs(5),
    poll_max: Duration::from_mins(2),
    settle: Duration::from_secs(30),
    retry_min: Duration::from_secs(1),
    retry_max: Duration::from_mins(5),
    request_timeout: Duration::from_secs(30),
    stuck_after: Duration::from_hours(1),
};

/// One process, one object, one cloud. Looks are answered at once; calls when the test says so.
struct World {
    spec: DeletionSpec,
    status: InstanceDeletionStatus,
    memory: Option<Memory>,
    call_history: CallHistory,
    now: Mono,
    cloud: HashMap<InstanceId, Seen>,
    /// The names of the instances; a read tells no fact of one without.
    names: HashMap<InstanceId, String>,
    /// The servers of the instances, where they are not called after them.
    servers: HashMap<InstanceId, &'static str>,
    /// Power-offs are accepted and have no effect.
    stays_on: bool,
    guards: Vec<Guard>,
    /// Looks bring nothing.
    blind: bool,
    /// Ids whose own read always fails.
    unreadable: HashSet<InstanceId>,
    waves: u32,
    writes: Vec<InstanceDeletionStatus>,
    looked: Vec<InstanceId>,
    calls: Vec<Batch>,
    other_bytes: usize,
    delete_calls: AccountCalls,
    told: Vec<Event>,
    batch_size: BatchSize,
    /// By how much the wall clock has gained on the monotonic one.
    slept: Duration,
    parallel: usize,
    cloud_time: Option<Timestamp>,
    schedule: Schedule<()>,
}

/// What a process knows.
struct Known {
    memory: Memory,
    call_history: CallHistory,
    delete_calls: AccountCalls,
}

const LATER: Duration = Duration::from_hours(1);

fn earlier(moment: Mono) -> Mono {
    Mono::at(moment.since_start().saturating_sub(LATER))
}

impl World {
    fn new(n: usize) -> Self {
        let ids: Vec<_> = (1..=n).map(|i| InstanceId::from_u128(i as u128)).collect();
        let cloud = ids.iter().map(|id| (*id, Seen::Live(Live::Running))).collect();
        let spec = spec_of(n as u128);
        Self {
            spec,
            status: InstanceDeletionStatus::default(),
            memory: None,
            call_history: CallHistory::default(),
            now: Mono::START + Duration::from_secs(1000),
            cloud,
            names: ids.iter().map(|id| (*id, "rack-12".to_owned())).collect(),
            servers: HashMap::new(),
            stays_on: false,
            guards: Vec::new(),
            blind: false,
            unreadable: HashSet::new(),
            waves: 0,
            writes: Vec::new(),
            looked: Vec::new(),
            calls: Vec::new(),
            other_bytes: 0,
            delete_calls: AccountCalls::default(),
            told: Vec::new(),
            batch_size: BatchSize::default(),
            slept: Duration::ZERO,
            parallel: SETTINGS.parallel_calls,
            cloud_time: None,
            schedule: Schedule::new(&SETTINGS),
        }
    }

    fn id(&self, position: usize) -> InstanceId {
        self.spec.ids[position]
    }

    fn phase(&self, position: usize) -> InstancePhase {
        self.status.instances.get(position).map_or(InstancePhase::Pending, |r| r.phase)
    }

    fn ready(&self) -> (String, String) {
        let ready = self.status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        (ready.reason.clone(), ready.message.clone())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + self.now.since_start() + self.slept
    }

    fn pass(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    fn decide(&mut self, permitted: usize) -> Decision {
        let now = Now { mono: self.now, wall: self.wall() };
        let mut twin = self.later();
        let memory = self.memory.get_or_insert_with(|| Memory::new(&self.spec, now.mono));
        let mut known = Known {
            memory: memory.clone(),
            call_history: self.call_history.clone(),
            delete_calls: self.delete_calls,
        };
        self.waves += 1;
        assert!(self.waves < 100_000, "it never comes to rest");
        let decision = self.decide_with(&mut known, permitted, &now);
        (self.memory, self.call_history, self.delete_calls) =
            (Some(known.memory), known.call_history, known.delete_calls);
        if let Some(twin) = &mut twin {
            let now = Now { mono: now.mono + LATER, wall: now.wall };
            let mut same = self.decide_with(twin, permitted, &now);
            same.wake = same.wake.map(earlier);
            if let Next::Submit(wave) = &mut same.next {
                wave.look_sent = earlier(wave.look_sent);
                wave.guards_read = earlier(wave.guards_read);
            }
            assert_eq!(same, decision, "the same an hour later, when all that is known is an hour younger");
        }
        decision
    }

    /// What is known, every moment of it an hour later: to every rule it is the same. Not of a
    /// machine that slept, whose two clocks are compared.
    fn later(&self) -> Option<Known> {
        let memory = self.memory.clone().filter(|_| self.slept.is_zero() && self.waves < 50)?;
        let mut known =
            Known { memory, call_history: self.call_history.clone(), delete_calls: self.delete_calls };
        let mut later = |moment: &mut Mono| *moment = *moment + LATER;
        known.memory.moments(&mut later);
        known.memory.turning_points(&mut later);
        known.call_history.moments(&mut later);
        known.delete_calls.moments(&mut later);
        Some(known)
    }

    fn decide_with(&self, known: &mut Known, permitted: usize, now: &Now) -> Decision {
        let Known { memory, call_history, delete_calls } = known;
        let guards = Guards::of(self.guards.clone(), &BTreeMap::new()).unwrap();
        let guards = GuardsRead { guards: Arc::new(guards), at: now.mono };
        let input = Input {
            spec: &self.spec,
            status: &self.status,
            other_bytes: self.other_bytes,
            guards: Some(&guards),
            evidence: delete_calls.evidence(),
            batch_size: self.batch_size.in_force(self.now),
            may_start: true,
            claim: &format!("claim-{}", self.waves),
            now,
            cloud_time: self.cloud_time,
            settings: &Settings { parallel_calls: self.parallel, ..SETTINGS },
        };
        prepare(input, memory, call_history).conclude(Some(match permitted {
            0 => PermitAnswer::Soon { calls: self.parallel, at: None },
            permitted => PermitAnswer::Now(permitted),
        }))
    }

    /// Decides and carries out until nothing is left to do now. Returns the wave that was
    /// submitted, with its calls in flight, and the moment at which something is due.
    fn run(&mut self) -> (Option<Wave>, Option<Mono>) {
        for _ in 0..100 {
            self.now = self.now + Duration::from_millis(1);
            let decision = self.decide(SETTINGS.parallel_calls);
            if let Some(write) = decision.write {
                assert!(self.writes.len() < 20_000, "it never stops writing");
                self.writes.push(write.clone());
                self.status = write;
                if decision.holds_ends {
                    self.memory.as_mut().unwrap().ends_written = Some(self.now);
                }
            }
            self.told.extend(decision.events);
            self.memory.as_mut().unwrap().recorded(&decision.records);
            let looked = !decision.look.is_empty();
            self.look(&decision.look, decision.regular);
            self.schedule.watch(&(), &decision.watch, self.now);
            let scheduled = self.look_on_schedule();
            let wake = [decision.wake, self.schedule.next()].into_iter().flatten().min();
            if let Next::Submit(wave) = decision.next {
                self.start(&wave);
                return (Some(wave), wake);
            }
            if !looked && !scheduled && decision.wake.is_none_or(|at| at > self.now) {
                return (None, wake);
            }
        }
        panic!("never comes to rest");
    }

    /// Looks at what the schedule has due. Returns whether there was anything.
    fn look_on_schedule(&mut self) -> bool {
        let due = self.schedule.next().is_some_and(|at| at <= self.now);
        let random = u64::try_from(self.now.since_start().as_micros()).unwrap();
        let ids = if due {
            self.schedule.take(self.now, random).remove(&()).unwrap_or_default()
        } else {
            Vec::new()
        };
        if !ids.is_empty() {
            self.look(&ids, false);
            let over = |id: &InstanceId| self.cloud.get(id).is_none_or(Seen::is_an_end) && self.reads(id);
            let over: Vec<_> = ids.iter().copied().filter(over).collect();
            self.schedule.answered(&(), &ids, &over);
        }
        !ids.is_empty()
    }

    fn look(&mut self, ids: &[InstanceId], regular: bool) {
        let memory = self.memory.as_mut().unwrap();
        memory.looking(ids, regular, self.now, &SETTINGS);
        self.looked.extend(ids);
        self.now = self.now + Duration::from_millis(1);
        let now = Now { mono: self.now, wall: self.wall() };
        let memory = self.memory.as_mut().unwrap();
        let sent = self.now;
        let (read, missed): (Vec<_>, Vec<_>) =
            ids.iter().partition(|id| !self.blind && !self.unreadable.contains(id));
        for id in read {
            let seen = self.cloud.get(id).cloned().unwrap_or(Seen::NotFound);
            self.call_history.saw(*id, &seen, sent);
            let server =
                self.servers.get(id).map_or_else(|| format!("on-{id}"), |server| (*server).to_owned());
            let facts = |name: &String| InstanceFacts {
                name: Some(name.clone()),
                server_id: ServerId::parse(&server).ok(),
                ..InstanceFacts::default()
            };
            let named = self.names.get(id).map(|name| Arc::new(facts(name)));
            memory.saw_facts(*id, seen, sent.into(), named.as_ref());
        }
        let trouble = Trouble::CloudUnreachable;
        let message = CloudMessage { text: "HTTP 500".to_owned(), ..CloudMessage::default() };
        let failure = (!missed.is_empty()).then_some(LookFailure { trouble, message, secret_version: None });
        memory.look_answered(ids, LookEnd { failure, now: &now, settings: &SETTINGS, random: 0 });
    }

    fn reads(&self, id: &InstanceId) -> bool {
        !self.blind && !self.unreadable.contains(id)
    }

    fn start(&mut self, wave: &Wave) {
        let ids: Vec<_> =
            wave.batches.iter().flat_map(|b| b.members.iter().map(|m| (m.id, m.live))).collect();
        assert!(self.call_history.claim(&ids), "an id is in one call at a time");
        for batch in &wave.batches {
            let stored = self.status.batches.iter().find(|b| b.number == batch.number).unwrap();
            assert_eq!(stored.claim, wave.claim, "S3: no call without its claim in the record");
            assert!((1..=BATCH_SIZE).contains(&batch.members.len()), "S2");
            self.calls.push(batch.clone());
        }
        let memory = self.memory.as_mut().unwrap();
        memory.claimed(wave);
        self.delete_calls.started(wave.batches.len());
    }

    fn end(&mut self, batch: &Batch, outcome: &CallOutcome) {
        let ids = batch.ids();
        self.call_history.release(batch.kind, &ids, self.now, |id| outcome.effect(id));
        self.delete_calls.ended(batch.kind, outcome, self.now);
        let now = Now { mono: self.now, wall: self.wall() };
        let evidence = *self.delete_calls.evidence().of(batch.kind);
        let settings = &SETTINGS;
        let closed_for = crate::engine::object::tests::case::closed_for(outcome);
        let end =
            CallEnd { outcome, secret_version: "1", closed_for, evidence, now: &now, settings, random: 0 };
        let memory = self.memory.as_mut().unwrap();
        memory.call_ended(batch.number, &end);
        if let Some(too_large) = memory.refusals.delete.bisection.take_too_large() {
            self.batch_size.too_large(too_large, self.now);
        }
        if let (CallKind::Delete, CallOutcome::Accepted { ids, .. }) = (batch.kind, outcome) {
            self.batch_size.accepted(ids.len(), self.now);
        }
    }

    /// The cloud accepts everything.
    fn accept(&mut self, wave: &Wave) {
        for batch in &wave.batches {
            let ids = batch.ids();
            let becomes = match batch.kind {
                CallKind::Delete => Some(Seen::ShuttingDown),
                CallKind::PowerOff => Some(Seen::Live(Live::Stopped)).filter(|_| !self.stays_on),
            };
            for id in &ids {
                self.cloud.extend(becomes.clone().map(|becomes| (*id, becomes)));
            }
            self.end(batch, &CallOutcome::Accepted { ids, foreign: 0, message: CloudMessage::default() });
        }
    }

    fn finish_all(&mut self) {
        for seen in self.cloud.values_mut() {
            *seen = Seen::Terminated;
        }
    }

    /// Runs on while time passes, accepting every call, until the object has ended or `cutoff` has
    /// passed.
    fn run_to_rest(&mut self, cutoff: Duration) {
        let until = self.now + cutoff;
        while self.now < until {
            let (wave, wake) = self.run();
            match (wave, wake) {
                (Some(wave), _) => self.accept(&wave),
                (None, Some(wake)) => self.now = wake,
                (None, None) => return,
            }
        }
    }

    fn restart(&mut self) {
        self.memory = None;
        self.call_history = CallHistory::default();
    }

    fn named(&self, id: InstanceId) -> usize {
        self.calls.iter().filter(|b| b.ids().contains(&id)).count()
    }
}

fn unknown() -> CallOutcome {
    CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage::default(),
    }
}

fn refused(trouble: Trouble) -> CallOutcome {
    CallOutcome::Refused { refusal: Refusal::Whole, trouble, message: CloudMessage::default() }
}
