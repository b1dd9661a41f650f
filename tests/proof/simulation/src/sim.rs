//! The simulated world: servers, processes, faults and the record of what happened.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clouddc_simulator::InMemoryCloud;
use fake_api_server::{MemoryApiServer, Place};
use instance_deletion_controller::controller::{Context, Key};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    faults::Faults,
    plan::Plan,
    random::Random,
    record::{Moment, Process, Record, Stored, Writer, text},
    trace::Trace,
    watching::WatchEvent,
};

/// 2026-01-01T00:00:00Z: the wall clock at the start of every run.
pub const EPOCH: i64 = 1_767_225_600;
/// The kind that the controller is for.
pub const PLURAL: &str = "instancedeletions";

/// Whether a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It works.
    Running,
    /// It stands still; its messages wait.
    Frozen,
    /// It is dead; nothing of it has an effect any more.
    Dead,
}

/// A process, as the world sees it.
pub struct Handle {
    /// Whether it lives.
    pub life: watch::Sender<Life>,
    /// How far its wall clock is off, in milliseconds.
    pub wall_off: Arc<AtomicI64>,
    /// Where its watch events go.
    pub events: mpsc::UnboundedSender<WatchEvent>,
    /// Its driver.
    pub driver: Option<AbortHandle>,
    /// What its reconciles share.
    pub context: Weak<Context>,
}

/// Texts of the objects that were sent last: most objects are read more than once.
#[derive(Default)]
pub struct Texts(Vec<(Arc<Value>, Bytes)>);

impl Texts {
    /// The object as text.
    pub fn of(&mut self, object: &Arc<Value>) -> Vec<u8> {
        if let Some((_, text)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, object)) {
            return text.to_vec();
        }
        let text = Bytes::from(object.to_string());
        self.0.insert(0, (object.clone(), text.clone()));
        self.0.truncate(4);
        text.to_vec()
    }
}

/// What changes.
pub struct State {
    /// The API server.
    pub api: MemoryApiServer,
    /// The cloud.
    pub cloud: InMemoryCloud,
    /// Faults.
    pub faults: Faults,
    /// For faults and delays.
    pub random: Random,
    /// What happened.
    pub record: Record,
    /// The log.
    pub trace: Trace,
    /// Processes, by number.
    pub processes: Vec<Handle>,
    /// Versions of the API server that the record has.
    pub pumped: usize,
    /// Effects of all processes, counted.
    pub effects: u64,
    /// The process that has this effect dies of it.
    pub crash_after: Option<u64>,
    /// Objects as text.
    pub texts: Texts,
    /// Tokens that the cloud accepts no longer.
    pub refused: Vec<String>,
    order: u64,
}

impl State {
    /// Whether a token was replaced.
    #[must_use]
    pub fn cloud_refuses(&self, token: &str) -> bool {
        self.refused.iter().any(|refused| refused == token)
    }
}

/// The world.
pub struct Sim {
    /// What the seed has drawn.
    pub plan: Plan,
    start: Instant,
    state: Mutex<State>,
}

impl Sim {
    /// A world without processes, objects and instances.
    #[must_use]
    pub fn new(plan: Plan, faults: Faults, keep_trace: bool) -> Arc<Self> {
        let started = u64::try_from(EPOCH).unwrap_or(0) * 1000;
        let state = State {
            api: MemoryApiServer::new(),
            cloud: InMemoryCloud::new(&plan.cloud, started),
            faults,
            random: Random::new(plan.seed, 2),
            record: Record::default(),
            trace: Trace::new(keep_trace),
            processes: Vec::new(),
            pumped: 0,
            effects: 0,
            crash_after: None,
            texts: Texts::default(),
            refused: Vec::new(),
            order: 0,
        };
        Arc::new(Self { plan, start: Instant::now(), state: Mutex::new(state) })
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Reads or changes the state.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads or changes the state at a moment of its own.
    pub fn at<T>(&self, act: impl FnOnce(&mut State, Moment) -> T) -> T {
        let at = self.now();
        self.with(|state| {
            state.order += 1;
            let moment = Moment { order: state.order, at };
            act(state, moment)
        })
    }

    /// Adds a line to the log.
    pub fn say(&self, what: std::fmt::Arguments<'_>) {
        let at = self.now();
        self.with(|state| state.trace.add(at, what));
    }

    /// The wall clock of a process that is off by so many milliseconds.
    #[must_use]
    pub fn wall(&self, off_ms: i64) -> Timestamp {
        let elapsed = i64::try_from(self.now().as_millis()).unwrap_or(0);
        Timestamp::from_millisecond(EPOCH * 1000 + elapsed + off_ms).unwrap_or_default()
    }

    /// The wall clock of a process, in seconds.
    #[must_use]
    pub fn wall_of(&self, process: usize) -> i64 {
        let off = self.with(|s| s.processes.get(process).map_or(0, |h| h.wall_off.load(Ordering::SeqCst)));
        self.wall(off).as_second()
    }

    /// Does something at the API server, and records and tells the versions that come of it.
    pub fn at_api<T>(self: &Arc<Self>, writer: Writer, act: impl FnOnce(&mut MemoryApiServer) -> T) -> T {
        let now = self.wall(0).to_string();
        let done = self.with(|state| {
            state.api.set_time(now);
            act(&mut state.api)
        });
        self.pump(writer);
        done
    }

    fn pump(self: &Arc<Self>, writer: Writer) {
        let new = self.at(|state, moment| {
            let new: Vec<_> = state.api.history().get(state.pumped..).unwrap_or_default().to_vec();
            state.pumped += new.len();
            let ours = new.into_iter().filter(|version| version.place.plural == PLURAL);
            let stored = ours.map(|version| Stored {
                moment,
                key: key_of(&version.place),
                change: version.change,
                writer,
                object: version.object,
            });
            let stored: Vec<_> = stored.collect();
            state.record.versions.extend(stored.iter().cloned());
            for version in &stored {
                let Stored { key, change, object, .. } = version;
                let status = object.pointer("/status/summary").map(ToString::to_string).unwrap_or_default();
                let rows = rows_in_short(object);
                state.trace.add(
                    moment.at,
                    format_args!(
                        "   = {} {} rv {} gen {} {} {}: {} {} {rows}",
                        change.word(),
                        key.name,
                        text(object, "/metadata/resourceVersion"),
                        object["metadata"]["generation"],
                        text(object, "/status/phase"),
                        text(object, "/status/conditions/0/reason"),
                        text(object, "/status/conditions/0/message"),
                        status
                    ),
                );
            }
            stored
        });
        for version in new {
            crate::watching::tell(self, &version);
        }
    }

    /// Notes an effect of a process, which may be the one that it dies of.
    pub fn effect(self: &Arc<Self>, process: usize) {
        let dies = self.with(|state| {
            state.effects += 1;
            state.crash_after == Some(state.effects)
        });
        if dies {
            crate::machines::crash(self, process, Duration::from_secs(1));
        }
    }

    /// Registers a process; its number is returned.
    pub fn enter(&self, handle: Handle) -> usize {
        self.at(|state, moment| {
            state.processes.push(handle);
            state.record.processes.push(Process { started: moment, died: None, frozen: Vec::new() });
            state.trace.add(moment.at, format_args!("process {} starts", state.processes.len() - 1));
            state.processes.len() - 1
        })
    }
}

/// The first rows of an object, and the batches that they are in.
fn rows_in_short(object: &Value) -> String {
    let rows = crate::record::list(object, "/status/instances").iter().take(4);
    let short = |row: &Value| {
        let phase = text(row, "/phase").get(..4).unwrap_or_default();
        format!("{phase} {} {} {}", row["batch"], row["attempts"], row["resent"])
    };
    rows.map(short).collect::<Vec<_>>().join("; ").replace(" null", "")
}

/// Namespace and name of an object.
#[must_use]
pub fn key_of(place: &Place) -> Key {
    Key { namespace: place.namespace.clone(), name: place.name.clone() }
}

/// Where the object with this key is.
#[must_use]
pub fn place_of(key: &Key) -> Place {
    Place {
        group: "clouddc.dev".to_owned(),
        plural: PLURAL.to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Where the Secret with this key is.
#[must_use]
pub fn secret_place(key: &Key) -> Place {
    Place {
        group: String::new(),
        plural: "secrets".to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Waits until the process runs; for ever once it is dead.
pub async fn runs(life: &mut watch::Receiver<Life>) {
    loop {
        let now = *life.borrow_and_update();
        match now {
            Life::Running => return,
            Life::Dead => return std::future::pending().await,
            Life::Frozen => {}
        }
        if life.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
