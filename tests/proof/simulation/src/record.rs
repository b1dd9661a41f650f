//! What a judge may know of a run: messages with their times, and versions of objects.

use std::{sync::Arc, time::Duration};

use clouddc_simulator::Operation;
use fake_api_server::Change;
use instance_deletion_controller::controller::Key;
use serde_json::Value;

/// A moment. The order counts all that happens, so that two moments differ even at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Place in the order of everything.
    pub order: u64,
    /// Virtual time.
    pub at: Duration,
}

/// A read of an object whose reply came to a process.
#[derive(Clone, Debug)]
pub struct Get {
    /// The process.
    pub process: usize,
    /// What was read.
    pub key: Key,
    /// When the reply came.
    pub answered: Moment,
    /// None: it does not exist.
    pub object: Option<Arc<Value>>,
    /// The wall clock of the process then, in seconds.
    pub wall: i64,
}

/// A write of a status.
#[derive(Clone, Debug)]
pub struct Put {
    /// Who wrote.
    pub process: usize,
    /// What was written.
    pub key: Key,
    /// uid in the body.
    pub uid: String,
    /// resourceVersion in the body.
    pub based_on: String,
    /// When it was sent.
    pub sent: Moment,
    /// When it arrived, and the resourceVersion that it made, if it was applied.
    pub applied: Option<(Moment, String)>,
    /// When the reply came to its sender, and its code.
    pub answered: Option<(Moment, u16)>,
    /// The status in the body.
    pub status: Arc<Value>,
}

impl Put {
    /// When its sender knew that it is stored.
    #[must_use]
    pub fn acknowledged(&self) -> Option<Moment> {
        self.answered.filter(|(_, code)| *code == 200).map(|(moment, _)| moment)
    }
}

/// A read of a Secret whose reply came to a process.
#[derive(Clone, Debug)]
pub struct SecretRead {
    /// The process.
    pub process: usize,
    /// Namespace and name.
    pub key: Key,
    /// When the reply came.
    pub answered: Moment,
    /// Its token, if it has one.
    pub token: Option<String>,
}

/// What the caller came to know of its call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A reply.
    Reply(CloudReply),
    /// No connection.
    NotSent,
    /// It was too late to send.
    TooLate,
    /// The connection was reset.
    Reset,
    /// Nothing within the deadline.
    Deadline,
}

/// A reply of the cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudReply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl CloudReply {
    /// The body, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// `error_code` of the body.
    #[must_use]
    pub fn code(&self) -> String {
        self.json().and_then(|v| v["error_code"].as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A call to the cloud.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls.
    pub process: usize,
    /// What for.
    pub operation: Operation,
    /// Project of the path.
    pub project: String,
    /// `X-Auth-Token`.
    pub token: String,
    /// Ids in the request: of servers, if it changes their power, else of instances.
    pub ids: Vec<String>,
    /// When the caller began.
    pub started: Moment,
    /// When the request left.
    pub left: Option<Moment>,
    /// When it arrived at the cloud.
    pub arrived: Option<Moment>,
    /// Instances whose deletion it began, or whose power it began to change.
    pub applied: Vec<String>,
    /// What the caller came to know, and when.
    pub outcome: Option<(Moment, Outcome)>,
}

/// Who made a version of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// A user, or another controller.
    Other,
    /// A process, by a write: its place in `puts`.
    Put(usize),
    /// A process, otherwise (a deletion).
    Process(usize),
}

/// A version of an object.
#[derive(Clone, Debug)]
pub struct Stored {
    /// When.
    pub moment: Moment,
    /// Which object.
    pub key: Key,
    /// What led to it.
    pub change: Change,
    /// Who wrote it.
    pub writer: Writer,
    /// The object.
    pub object: Arc<Value>,
}

/// The guards from a moment on.
#[derive(Clone, Debug)]
pub struct Guards {
    /// From when on.
    pub moment: Moment,
    /// Their specs.
    pub specs: Vec<Value>,
}

/// One process, from its start.
#[derive(Clone, Debug)]
pub struct Process {
    /// When it started.
    pub started: Moment,
    /// When it died.
    pub died: Option<Moment>,
    /// When it stood still, and until when.
    pub frozen: Vec<(Moment, Duration)>,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Record {
    /// Reads of objects.
    pub gets: Vec<Get>,
    /// Writes.
    pub puts: Vec<Put>,
    /// Reads of Secrets.
    pub secrets: Vec<SecretRead>,
    /// Calls.
    pub calls: Vec<Call>,
    /// Versions of `InstanceDeletions`.
    pub versions: Vec<Stored>,
    /// Processes.
    pub processes: Vec<Process>,
    /// Servers that got an instance which no object lists, and when.
    pub reused: Vec<(Moment, String)>,
    /// The guards, each time that one changed.
    pub guards: Vec<Guards>,
    /// Requests to the API server other than reads.
    pub writes: u64,
    /// When faults stopped and everything was healed.
    pub healed: Option<Moment>,
    /// When everything was over and silence was to begin.
    pub quiet: Option<Moment>,
    /// Objects that could not end, at the latest moment at which they should have.
    pub open: Vec<String>,
    /// Something of a token in a place where none may be.
    pub leaks: Vec<String>,
}

/// Text of a JSON value at a pointer; empty if there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// An array at a pointer; empty if there is none.
#[must_use]
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
