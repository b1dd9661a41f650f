//! Every request and what became of it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// `POST /v1/{project}/instances/batch-delete`
    DeleteInstances,
    /// `GET /v1/{project}/instances/{id}/status`
    ShowInstanceStatus,
    /// `GET /v1/{project}/instances`
    ListInstances,
    /// `PUT /v1/{project}/physicalservers/power-state`
    ChangeServerPowerState,
    /// `GET /v1/{project}/physicalservers`
    ListServers,
    /// `GET /v1/{project}/physicalservers/{id}`
    ShowServer,
    /// `POST /v3/auth/tokens` of IAM; no operation of CloudDC.
    CreateToken,
    /// Anything else.
    Other,
}

/// What became of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Not yet replied.
    Pending,
    /// Handed to a connection that was still open.
    Delivered,
    /// A fault closed the connection.
    Dropped,
    /// The client had closed the connection before the reply was ready.
    ClientGone,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1, 2, … in the order of arrival; a reset does not start it again.
    pub seq: u64,
    /// Milliseconds from the start of the simulator to the arrival of the whole request.
    pub received_ms: u64,
    /// The same as wall clock, in Unix milliseconds.
    pub received_unix_ms: u64,
    /// What was asked for.
    pub operation: Operation,
    /// HTTP method.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// Project of the path.
    pub project: Option<String>,
    /// Label of the token or access key, or name of the user; `None` for a missing or unknown one. It says who the
    /// request claims to come from, also if it is refused.
    pub token: Option<String>,
    /// Ids asked for, as sent: of servers in ChangeServerPowerState and ShowServer, else of instances.
    pub ids: Vec<String>,
    /// `action` of ChangeServerPowerState, as sent.
    pub action: Option<String>,
    /// The instances that were on the servers of ChangeServerPowerState when it arrived.
    pub instance_ids: Vec<String>,
    /// Name of the fault it met.
    pub fault: Option<String>,
    /// When the operation was carried out or refused, before the reply; `None` if it never was.
    pub effect_ms: Option<u64>,
    /// Whether it changed anything.
    pub applied: bool,
    /// The instances that went to shutting-down.
    pub applied_ids: Vec<String>,
    /// The instances whose power ChangeServerPowerState began to change. When each changed is told by
    /// [`Simulator::power_courses`](crate::Simulator::power_courses).
    pub powered_ids: Vec<String>,
    /// Status of the reply; also known of a reply that was dropped after the effect.
    pub status: Option<u16>,
    /// `error_code` of the reply.
    pub error_code: Option<String>,
    /// Ids in the reply.
    pub returned_ids: Vec<String>,
    /// `X-Request-Id` of the reply.
    pub request_id: String,
    /// When the reply was ready or the connection was closed.
    pub finished_ms: Option<u64>,
    /// What became of the reply.
    pub delivery: Delivery,
}

impl Entry {
    /// Whether the reply was sent, or never will be.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished_ms.is_some()
    }
}

/// A condition that did not come true in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not within {waited:?}: {what}")]
pub struct TimedOut {
    /// What was waited for, or what was there instead.
    pub what: String,
    /// How long it was waited.
    pub waited: Duration,
}

#[derive(Debug)]
pub(crate) struct Log {
    kept: Mutex<Kept>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    entries: VecDeque<Entry>,
    next_seq: u64,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::new(Kept { entries: VecDeque::new(), next_seq: 1 }),
            changes: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number the entry got.
    pub(crate) fn begin(&self, mut entry: Entry) -> u64 {
        let seq = {
            let mut kept = self.lock();
            let seq = kept.next_seq;
            kept.next_seq += 1;
            entry.seq = seq;
            kept.entries.push_back(entry);
            seq
        };
        self.changes.send_modify(|version| *version += 1);
        seq
    }

    /// Nothing happens when a reset has removed the entry.
    pub(crate) fn change(&self, seq: u64, change: impl FnOnce(&mut Entry)) {
        {
            let mut kept = self.lock();
            let first = kept.entries.front().map_or(0, |entry| entry.seq);
            let at = seq.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            if let Some(entry) = at.and_then(|at| kept.entries.get_mut(at)) {
                change(entry);
            }
        }
        self.changes.send_modify(|version| *version += 1);
    }

    pub(crate) fn clear(&self) {
        self.lock().entries.clear();
        self.changes.send_modify(|version| *version += 1);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
    }

    /// Waits until `condition` is true of all entries, and returns them.
    pub(crate) async fn wait(
        &self,
        mut condition: impl FnMut(&[Entry]) -> bool,
        timeout: Duration,
    ) -> Result<Vec<Entry>, TimedOut> {
        let mut changes = self.changes.subscribe();
        let coming_true = async {
            loop {
                changes.borrow_and_update();
                {
                    let mut kept = self.lock();
                    let entries = kept.entries.make_contiguous();
                    if condition(entries) {
                        return entries.to_vec();
                    }
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let result = tokio::time::timeout(timeout, coming_true).await;
        result.map_err(|_| TimedOut { what: self.summary(), waited: timeout })
    }

    fn summary(&self) -> String {
        let kept = self.lock();
        let last: Vec<String> = kept.entries.iter().rev().take(5).rev().map(short).collect();
        format!("the log has {} entries, the last: [{}]", kept.entries.len(), last.join("; "))
    }
}

fn short(entry: &Entry) -> String {
    let Entry { seq, operation, ids, status, delivery, fault, .. } = entry;
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let fault = fault.as_deref().unwrap_or("no fault");
    format!("#{seq} {operation:?} of {} ids: {status}, {delivery:?}, {fault}", ids.len())
}
