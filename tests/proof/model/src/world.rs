//! The state of the model: the API server's object, the cloud, the processes, the messages between them, and what the judge
//! remembers.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use engine_purity::{
    api::{CallKind, InstanceDeletionStatus},
    engine::{
        Mono,
        account::{call_history::CallHistory, outage::AccountCalls},
        object::state::{memory::Memory, wave::Wave},
        outcome::CallOutcome,
        state::Seen,
    },
};

use crate::{
    configuration::Budget,
    digest::digest,
    facts::{Facts, Known},
};

/// Everything.
#[derive(Clone, Hash)]
pub struct World {
    /// The monotonic clock of every process.
    pub now: Mono,
    /// Ticks of the wall clock since the start. It stands still where no rule reads it, which property S15 allows.
    pub wall: u8,
    /// What the API server holds.
    pub object: Option<Object>,
    /// uid of the newest object.
    pub uid: u8,
    /// The cloud.
    pub instances: Vec<Instance>,
    /// Servers that carry an instance which the spec does not name.
    pub foreign: Vec<Foreign>,
    /// Controllers. All believe that they lead.
    pub processes: Vec<Process>,
    /// Status writes on their way to the API server.
    pub writes: Vec<Write>,
    /// Calls that wait to leave, are on their way, or wait for their reply to be read.
    pub calls: Vec<Call>,
    /// What the guard says.
    pub guard: Guard,
    /// Faults and edits that may still happen.
    pub budget: Budget,
    /// What the judge knows of each id.
    pub facts: Vec<Facts>,
}

/// The guard, and since when it says so.
#[derive(Clone, Debug, Hash)]
pub struct Guard {
    /// It holds everything.
    pub held: Option<Mono>,
    /// It protects these instances, by position.
    pub protected: Vec<Option<Mono>>,
}

/// A version of a status, with a digest of all of it.
#[derive(Debug)]
pub struct Stored {
    /// The status.
    pub status: InstanceDeletionStatus,
    digest: u128,
}

impl Stored {
    /// This version.
    #[must_use]
    pub fn new(status: InstanceDeletionStatus) -> Arc<Self> {
        // A status always serialises. If it did not, two versions would still be different.
        let text = serde_json::to_string(&status).unwrap_or_else(|_| format!("{status:?}"));
        Arc::new(Self { status, digest: digest(&text) })
    }
}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// The custom resource. Its resourceVersion is not counted: each copy in the hands of a process knows whether it is still
/// the newest, which is all that compare-and-swap asks.
#[derive(Clone, Debug, Hash)]
pub struct Object {
    /// `metadata.uid`.
    pub uid: u8,
    /// `metadata.generation`.
    pub generation: i64,
    /// `spec.suspend`.
    pub suspend: bool,
    /// `spec.rollout.limit`.
    pub limit: Option<u8>,
    /// Has a deletionTimestamp.
    pub leaving: bool,
    /// Its status.
    pub stored: Arc<Stored>,
}

/// A read of the object in the hands of a process.
#[derive(Clone, Debug, Hash)]
pub struct Read {
    /// What was read.
    pub object: Object,
    /// Whether nothing was written since.
    pub fresh: bool,
}

/// One instance at the cloud.
#[derive(Clone, Debug, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each may be so whatever the others are")]
pub struct Instance {
    /// Its state.
    pub state: Seen,
    /// A state before the last delete call that reads may still show.
    pub old: Option<Old>,
    /// Its deletion began, and failed.
    pub failed: bool,
    /// A call that names it is refused without saying so.
    pub bad: bool,
    /// Its name is as expected.
    pub right: bool,
    /// The server that it runs on.
    pub server: u8,
    /// A call that powers it off was accepted, and it is still on.
    pub powering_off: bool,
}

/// A server that carries an instance which the spec does not name.
#[derive(Clone, Debug, Hash)]
pub struct Foreign {
    /// The server.
    pub server: u8,
    /// Since when.
    pub since: Mono,
}

/// What a read may show for a while after a call.
#[derive(Clone, Debug, Hash)]
pub struct Old {
    /// The state before the call.
    pub state: Seen,
    /// The last moment at which a read may show it; none while the call has no end.
    pub until: Option<Mono>,
    /// Number of the call in the judge's count.
    pub call: u8,
}

/// One controller.
#[derive(Clone, Hash)]
pub struct Process {
    /// Whether it runs.
    pub up: bool,
    /// It was stopped (SIGSTOP, a pause of the machine): time passes, and it does nothing.
    pub stopped: bool,
    /// uid that its memory is about.
    pub uid: u8,
    /// The engine's memory of the object.
    pub memory: Option<Memory>,
    /// The engine's marks of the account.
    pub call_history: CallHistory,
    /// The engine's view of the account.
    pub account_calls: AccountCalls,
    /// How far its reconcile is.
    pub step: Step,
    /// When it looks again; none: never, unless woken.
    pub due: Option<Mono>,
    /// It heard something.
    pub woken: bool,
    /// Looks that it asked for.
    pub looks: Vec<Look>,
    /// What it has on the account's schedule,
    pub watch: Vec<usize>,
    /// which looks at it then; none: now.
    pub look_at: Option<Mono>,
    /// For the judge: when it last read that calls are closed, or a generation for the first time.
    pub closed_at: Option<Mono>,
    /// For the judge: the generation that it read last.
    pub generation: i64,
    /// What the judge knows that it knows of each id.
    pub known: Vec<Known>,
}

/// How far a reconcile is.
#[derive(Clone, Hash)]
pub enum Step {
    /// Between two.
    Idle,
    /// The object was read.
    HasRead(Read),
    /// A write is to be sent, or its answer waited for.
    Writing(Box<Writing>),
}

/// A decision whose write is being made.
#[derive(Clone, Hash)]
pub struct Writing {
    /// The read that it rests on.
    pub read: Read,
    /// What is written.
    pub stored: Arc<Stored>,
    /// The wave whose intent that is.
    pub wave: Option<Wave>,
    /// Batches whose outcome it holds.
    pub records: Vec<u32>,
    /// Whether it holds ends found by looking.
    pub holds_ends: bool,
    /// What is looked at afterwards.
    pub look: Vec<usize>,
    /// Whether that is the regular look.
    pub regular: bool,
    /// What is on the account's schedule afterwards.
    pub watch: Vec<usize>,
    /// When to decide again.
    pub wake: Option<Mono>,
    /// When it was first sent; none: not yet.
    pub sent: Option<Mono>,
    /// The answer.
    pub answer: Option<WriteAnswer>,
    /// For the judge: ids whose ended calls it records.
    pub settles: Vec<usize>,
    /// For the judge: the wall clock at the decision.
    pub wall: u8,
}

/// What a process hears of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteAnswer {
    /// 200.
    Stored,
    /// 409.
    Conflict,
    /// Nothing.
    Lost,
}

/// A status write on its way.
#[derive(Clone, Hash)]
pub struct Write {
    /// The process that waits for the answer.
    pub owner: Option<usize>,
    /// uid in its body.
    pub uid: u8,
    /// Whether its resourceVersion is the newest.
    pub fresh: bool,
    /// The status.
    pub stored: Arc<Stored>,
    /// For the judge: acceptance that the writer knows of, by id.
    pub base: Vec<Option<Mono>>,
    /// For the judge: process and ids whose ended calls it records.
    pub settles: Vec<usize>,
}

/// A look that was asked for.
#[derive(Clone, Hash)]
pub struct Look {
    /// Positions of its ids.
    pub ids: Vec<usize>,
    /// When its read was sent.
    pub sent: Option<Mono>,
    /// What it read, by position in `ids`; empty: nothing yet.
    pub seen: Vec<Seen>,
    /// Whether their names were as expected.
    pub right: Vec<bool>,
    /// The servers that it showed.
    pub servers: Vec<u8>,
    /// For the judge: what the wall clock showed when its read was sent; 0 where no soak asks for it.
    pub wall: u8,
    /// For the judge: whether an `error` that it read came after a deletion had begun.
    pub failed: Vec<bool>,
}

impl Look {
    /// A look at these ids that was not sent yet.
    #[must_use]
    pub fn new(ids: Vec<usize>) -> Self {
        let (seen, right, servers, failed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { ids, sent: None, seen, right, servers, wall: 0, failed }
    }
}

/// A call.
#[derive(Clone, Hash)]
pub struct Call {
    /// What it asks for.
    pub kind: CallKind,
    /// Number in the judge's count of calls; 0 until it left.
    pub serial: u8,
    /// The process that waits for the reply.
    pub owner: Option<usize>,
    /// uid of its object.
    pub uid: u8,
    /// Batch number.
    pub number: u32,
    /// Its claim.
    pub claim: String,
    /// Positions of its ids.
    pub ids: Vec<usize>,
    /// The servers that it names, one for each id; none if it deletes.
    pub servers: Vec<u8>,
    /// When the write of its intent was first sent.
    pub intent_sent: Mono,
    /// When the look it rests on is too old.
    pub leave_by: Mono,
    /// For the judge: the acknowledged version that holds its intent.
    pub intent: Option<Arc<Stored>>,
    /// For the judge: the object at its decision read.
    pub based_on: Object,
    /// For the judge: the wall clock at the decision.
    pub wall: u8,
    /// For the judge: its process read meanwhile that calls are closed.
    pub closed: bool,
    /// For the judge: a repeat of it is accounted for, since its process was stopped after its last check (property S8).
    pub accounted: bool,
    /// When its process took it for ended; it may still be on its way.
    pub ended: Option<Mono>,
    /// How far it is.
    pub state: CallState,
}

/// How far a call is.
#[derive(Clone, Hash)]
pub enum CallState {
    /// Its task has not passed its last check.
    Waiting,
    /// It left, and has not reached the cloud.
    Wire {
        /// When it left.
        left: Mono,
    },
    /// The cloud answered.
    Answered {
        /// When it left.
        left: Mono,
        /// With this.
        reply: CallOutcome,
    },
}
