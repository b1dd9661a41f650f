//! What a configuration fixes: sizes, and how often each fault may occur.

use std::{fmt, time::Duration};

use engine_purity::{
    api::{Expect, InstanceDeletionSpec, Moment, NotFoundPolicy, PowerOff, PowerOffWhen, Rollout, SecretRef},
    engine::{
        InstanceId, Settings,
        object::state::spec::{DeletionSpec, Meta},
        state::Live,
    },
};
use k8s_openapi::jiff::Timestamp;

/// What the wall clock shows at the start.
pub const WALL_START: i64 = 1_800_000_000;

/// The name that is expected of each instance.
pub const RIGHT: &str = "right";

/// How often each fault and each edit may occur: the bounds of the search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Crashes of a process, at any step.
    pub crashes: u8,
    /// Stops of a process for any time, at any step.
    pub stops: u8,
    /// Ticks that pass while a process has something to do: it is paused, as all others are.
    pub pauses: u8,
    /// Status writes whose answer is lost, applied or not, at once or late, or which say 409 after success.
    pub lost_writes: u8,
    /// Calls without a reply (reset, timeout, 5xx), with or without effect, at once or late.
    pub lost_calls: u8,
    /// 2xx replies that leave ids out.
    pub partial: u8,
    /// 2xx replies that list ids without any effect on them.
    pub hollow: u8,
    /// Definite refusals that the state of the instances doesn't demand.
    pub refusals: u8,
    /// Looks that fail.
    pub failed_looks: u8,
    /// Ticks that pass while a call or a look is on its way.
    pub slow: u8,
    /// Deletions that fail at the cloud.
    pub failures: u8,
    /// Instances that someone else deletes.
    pub outside: u8,
    /// Changes of `spec.suspend`.
    pub edits: u8,
    /// Deletions of the object, each followed by a new one of the same name.
    pub recreations: u8,
    /// Reconciles without a cause.
    pub spurious: u8,
    /// Waves that another object of the same account gets in the way of, after the decision.
    pub denied: u8,
    /// Jumps of the wall clock to its start.
    pub wall_jumps: u8,
    /// Edits of the guard: it holds or lets go, and protects an instance.
    pub guard_edits: u8,
    /// Instances that someone gives a name that is not as expected.
    pub renames: u8,
    /// Instances that a person powers on.
    pub power_ons: u8,
    /// Instances that a person powers off.
    pub power_offs: u8,
    /// Accepted calls that do not power an instance off.
    pub power_failures: u8,
    /// Instances that fall to an error without a call.
    pub breaks: u8,
    /// Servers of instances that have ended, and that carry others from then on, which the spec does not name.
    pub reassigned: u8,
    /// Instances that go on with another server. Their old one carries another instance from then on.
    pub moves: u8,
}

impl Budget {
    /// Every bound with its name.
    pub fn bounds(&mut self) -> [(&'static str, &mut u8); 25] {
        [
            ("crashes", &mut self.crashes),
            ("stops", &mut self.stops),
            ("pauses", &mut self.pauses),
            ("lost_writes", &mut self.lost_writes),
            ("lost_calls", &mut self.lost_calls),
            ("partial", &mut self.partial),
            ("hollow", &mut self.hollow),
            ("refusals", &mut self.refusals),
            ("failed_looks", &mut self.failed_looks),
            ("slow", &mut self.slow),
            ("failures", &mut self.failures),
            ("outside", &mut self.outside),
            ("edits", &mut self.edits),
            ("recreations", &mut self.recreations),
            ("spurious", &mut self.spurious),
            ("denied", &mut self.denied),
            ("wall_jumps", &mut self.wall_jumps),
            ("guard_edits", &mut self.guard_edits),
            ("renames", &mut self.renames),
            ("power_ons", &mut self.power_ons),
            ("power_offs", &mut self.power_offs),
            ("power_failures", &mut self.power_failures),
            ("breaks", &mut self.breaks),
            ("reassigned", &mut self.reassigned),
            ("moves", &mut self.moves),
        ]
    }

    /// Sets the bound of this name. False if there is none.
    pub fn set(&mut self, name: &str, to: u8) -> bool {
        let mut bounds = self.bounds().into_iter();
        bounds.find(|(own, _)| *own == name).is_some_and(|(_, bound)| {
            *bound = to;
            true
        })
    }
}

/// A mistake in how decisions are carried out. The properties must find each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A call is sent although the write of its intent was not acknowledged.
    NoAcknowledgement,
    /// After a conflict a stored batch of the same number is taken for one's own, whatever its claim.
    ClaimIgnored,
    /// A call leaves without a check of its deadline.
    LeavesLate,
    /// A read is dated by its answer, not by when it was sent.
    LookDatedByAnswer,
    /// Marks don't see the end of a call.
    MarksForget,
    /// A lost answer of a call is taken for a refused connection.
    LostIsRefused,
    /// An outcome counts as recorded when its write is sent.
    RecordedWhenSent,
    /// The process goes on with what it knew of an object of the same name.
    UidIgnored,
    /// The guards are read once, and every later wave rests on that read.
    GuardsCached,
    /// A call leaves however long ago the guards were read that it rests on.
    OldGuards,
    /// A process goes on with the server that its first read showed.
    FirstServer,
    /// An instance counts as off since the call that powered it off.
    OffSinceCall,
}

/// `spec.powerOff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOffFirst {
    /// `when: IfRefused`.
    IfRefused,
    /// `when: Always`.
    Always {
        /// `soakSeconds`, in ticks.
        soak: u8,
    },
}

/// How the cloud refuses to delete what is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusesRunning {
    /// 400 or 409 that names what is running.
    Named,
    /// 400 with a code of a state that names none.
    Unnamed,
    /// 409 that names none.
    UnnamedConflict,
    /// 400 without a word about states.
    Silent,
}

/// One configuration.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Configuration {
    /// Its name.
    pub name: &'static str,
    /// Ids in the object.
    pub ids: usize,
    /// Processes.
    pub processes: usize,
    /// Most ids in a call.
    pub batch_size: usize,
    /// Seconds that pass at a time, at least 5: a process that waits a tick is too late for its intent. Within a tick events have an
    /// order, and no distance. A long one sees fewer moments, and makes room for more faults.
    pub tick: u32,
    /// `settle` and `request_timeout`, in seconds.
    pub settle: u32,
    /// Calls in flight.
    pub parallel_calls: usize,
    /// `backoffLimitPerInstance`.
    pub backoff_limit: u32,
    /// `notFoundPolicy: Fail`.
    pub fail_not_found: bool,
    /// `spec.expect` asks for a name.
    pub expect: bool,
    /// `spec.rollout.limit` at the start. The user may remove it.
    pub limit: Option<u8>,
    /// `spec.rollout.maxInFlight`.
    pub max_in_flight: Option<u8>,
    /// `spec.rollout.maxFailed`.
    pub max_failed: Option<u8>,
    /// `notAfter`, in ticks from the start.
    pub not_after: Option<u8>,
    /// `activeDeadlineSeconds`, in ticks.
    pub deadline: Option<u8>,
    /// `spec.powerOff`.
    pub power_off: Option<PowerOffFirst>,
    /// The state of each instance at the start; those beyond the list run.
    pub starts: &'static [Live],
    /// The cloud refuses to delete what is running, and how.
    pub refuses_running: Option<RefusesRunning>,
    /// Positions of ids for which the cloud refuses each delete call, without saying which.
    pub bad: &'static [usize],
    /// No call with a higher batch number is answered: bounds what goes on for ever, such as slow retries.
    pub most_batches: u32,
    /// Instances may be gone at once, not only shown as terminated.
    pub vanish: bool,
    /// Read, decision, write and going on with its answer are steps of their own, and so are the sending and the making of a
    /// read; else a process that is not stopped goes on until it waits for someone.
    pub fine: bool,
    /// A read is answered as soon as it is made.
    pub whole_looks: bool,
    /// Only the first process is stopped, and only with a write or a call in hand that has not left.
    pub stops_in_hand: bool,
    /// Also a request whose decision read came before, but which leaves after its process has read that calls are closed,
    /// breaks S13. It rests on an intent less than 5 s old, and the controller allows it.
    pub strict_gates: bool,
    /// Faults.
    pub budget: Budget,
    /// Whether L1 is checked from every state.
    pub liveness: bool,
    /// A mistake.
    pub mistake: Option<Mistake>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            name: "unnamed",
            ids: 1,
            processes: 1,
            batch_size: 2,
            tick: 50,
            settle: 10,
            parallel_calls: 1,
            backoff_limit: 1,
            fail_not_found: false,
            expect: false,
            limit: None,
            max_in_flight: None,
            max_failed: None,
            not_after: None,
            deadline: None,
            power_off: None,
            starts: &[],
            refuses_running: None,
            bad: &[],
            most_batches: u32::MAX,
            vanish: false,
            fine: false,
            whole_looks: false,
            stops_in_hand: false,
            strict_gates: false,
            budget: Budget::default(),
            liveness: true,
            mistake: None,
        }
    }
}

impl Configuration {
    /// The step in which time passes.
    #[must_use]
    pub fn tick(&self) -> Duration {
        Duration::from_secs(self.tick.into())
    }

    /// The flags of the process.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            parallel_calls: self.parallel_calls,
            poll_min: Duration::from_secs(5),
            poll_max: self.tick() * 2,
            settle: Duration::from_secs(self.settle.into()),
            retry_min: Duration::from_secs(5),
            retry_max: self.tick() * 2,
            request_timeout: Duration::from_secs(self.settle.into()),
            stuck_after: Duration::from_hours(1),
        }
    }

    /// The id at a position.
    #[must_use]
    pub fn id(position: usize) -> InstanceId {
        InstanceId::from_u128(position as u128 + 1)
    }

    /// The spec as the engine sees it, at generation 1.
    pub fn spec(&self) -> Result<DeletionSpec, String> {
        let not_after = self.not_after.and_then(|ticks| {
            Timestamp::from_second(WALL_START + i64::from(ticks) * i64::from(self.tick)).ok()
        });
        let spec = InstanceDeletionSpec {
            region: "r".into(),
            project_id: "0123456789abcdef0123456789abcdef".into(),
            credentials_secret_ref: SecretRef { name: "s".into() },
            instance_ids: (0..self.ids).map(|p| Self::id(p).to_string()).collect(),
            suspend: None,
            dry_run: None,
            not_found_policy: self.fail_not_found.then_some(NotFoundPolicy::Fail),
            backoff_limit_per_instance: Some(self.backoff_limit),
            active_deadline_seconds: self.deadline.map(|ticks| u32::from(ticks) * self.tick),
            not_after: not_after.map(Moment),
            ttl_seconds_after_finished: None,
            expect: self.expect.then(|| Expect { name: Some(RIGHT.into()), ..Expect::default() }),
            rollout: self.rollout(self.limit),
            power_off: self.power_off.map(|first| match first {
                PowerOffFirst::IfRefused => PowerOff { when: PowerOffWhen::IfRefused, soak_seconds: None },
                PowerOffFirst::Always { soak } => {
                    PowerOff { when: PowerOffWhen::Always, soak_seconds: Some(u32::from(soak) * self.tick) }
                }
            }),
        };
        DeletionSpec::parse(&spec, Meta { generation: 1, ..Meta::default() }).map_err(|e| e.to_string())
    }

    /// `spec.rollout` with this limit.
    #[must_use]
    pub fn rollout(&self, limit: Option<u8>) -> Option<Rollout> {
        let rollout = Rollout {
            limit: limit.map(u32::from),
            max_in_flight: self.max_in_flight.map(u32::from),
            max_failed: self.max_failed.map(u32::from),
        };
        (rollout != Rollout::default()).then_some(rollout)
    }

    /// `soakSeconds` in ticks, with `when: Always`.
    #[must_use]
    pub fn soak(&self) -> Option<u8> {
        match self.power_off {
            Some(PowerOffFirst::Always { soak }) => Some(soak),
            Some(PowerOffFirst::IfRefused) | None => None,
        }
    }

    /// Whether a rule reads the wall clock all the time. For a soak it is read from the call on that powers an instance off.
    #[must_use]
    pub fn wall_moves(&self) -> bool {
        self.not_after.is_some() || self.deadline.is_some()
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ids, processes, batch_size, tick, settle, parallel_calls, backoff_limit, .. } = self;
        write!(
            f,
            "{processes} process(es), {ids} id(s), batches of {batch_size}, {parallel_calls} at once, backoffLimit {backoff_limit}, settle {settle} s, time in steps of {tick} s"
        )?;
        for (what, bound) in { self.budget }.bounds() {
            if *bound > 0 {
                write!(f, ", {} ≤ {bound}", what.replace('_', " "))?;
            }
        }
        if self.most_batches < u32::MAX {
            write!(f, ", batch numbers ≤ {}", self.most_batches)?;
        }
        match self.power_off {
            None => {}
            Some(PowerOffFirst::IfRefused) => f.write_str(", powered off if refused")?,
            Some(PowerOffFirst::Always { soak }) => write!(f, ", powered off first, soak {soak} ticks")?,
        }
        if let Some(how) = self.refuses_running {
            write!(f, ", the cloud refuses to delete what is running ({how:?})")?;
        }
        if !self.starts.is_empty() {
            write!(f, ", at the start {:?}", self.starts)?;
        }
        f.write_str(if self.fine { ", fine steps" } else { ", coarse steps" })?;
        if self.stops_in_hand && self.budget.stops > 0 {
            f.write_str(", stops of the first process only, with something in hand")?;
        }
        if self.whole_looks {
            f.write_str(", looks in one step")?;
        }
        f.write_str(if self.liveness { ", L1 from every state" } else { ", L1 not checked" })
    }
}
