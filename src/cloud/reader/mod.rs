//! Answers looks in bulk: 1,000 objects of one id cost ten reads and not a thousand.
//!
//! One reader for each endpoint, project and Secret. [`coalescer`] gathers looks into calls and answers each once, when every
//! id of it was read or could not be; [`account`] makes the calls of one gathering, each when [`read_queue`] says so.

mod coalesce;
mod fetch;
mod read_queue;
#[cfg(test)]
mod tests;

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub use self::read_queue::ReadRate;
use self::{
    coalesce::{Coalescer, Look},
    fetch::{FetchResult, Fetcher},
};
use super::{
    client::Client,
    credential::{CredentialSource, Identity},
    endpoint::Endpoint,
};
use crate::{
    clock::Clock,
    engine::{
        InstanceId, Mono,
        outcome::{CloudMessage, Trouble},
        state::Seen,
    },
};

/// Gatherings read at once: one that hangs delays no other.
const AT_ONCE: usize = 8;

/// Ids that may wait in looks that are registered in turn: so many calls that none is sent half empty for want of the next
/// look, and few enough to take no room to speak of.
const ROOM: u32 = 2_000;
/// A look needs room for so many at most: two find some, so that the last call of one is filled from the next.
const LARGE: u32 = ROOM / 2;

/// What a read showed of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The instance.
    pub id: InstanceId,
    /// What was seen.
    pub seen: Seen,
    /// Just before the request that brought it was sent.
    pub sent: Mono,
}

/// Why not every id was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFailure {
    /// What stands in the way.
    pub trouble: Trouble,
    /// What was heard.
    pub message: CloudMessage,
    /// The version of the credential that was used.
    pub secret_version: Option<String>,
}

/// The answer to a look: what was read, and what stood in the way of the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// One for each id that was read.
    pub readings: Vec<Reading>,
    /// None if every id was.
    pub failure: Option<ReadFailure>,
}

/// Hears of each reading the moment it is there.
pub type OnReading = Arc<dyn Fn(&Reading) + Send + Sync>;

/// The pace of reads of an identity.
pub type RateOf = Arc<dyn Fn(&Identity) -> Arc<ReadRate> + Send + Sync>;

/// Where looks are registered.
#[derive(Clone)]
pub struct Reader {
    looks: mpsc::UnboundedSender<Look>,
    room: Arc<Semaphore>,
    account: Arc<Fetcher>,
}

impl Reader {
    /// Starts the reader of an account. It ends when its last handle is gone and every look is answered.
    #[must_use]
    pub fn spawn(
        client: Arc<Client>,
        endpoint: Endpoint,
        project: String,
        source: Arc<dyn CredentialSource>,
        rate_of: RateOf,
        clock: Clock,
        on_reading: OnReading,
    ) -> Self {
        let (looks, registered) = mpsc::unbounded_channel();
        let account = Arc::new(Fetcher::new(client, endpoint, project, source, rate_of, clock, on_reading));
        tokio::spawn(work(account.clone(), registered));
        Self { looks, room: Arc::new(Semaphore::new(ROOM as usize)), account }
    }

    /// Whether the cloud answered nothing when it was read last: a 5xx, a timeout, or no connection.
    #[must_use]
    pub fn silent(&self) -> bool {
        self.account.silent()
    }

    /// Registers a look and returns. The receiver fails only if the runtime ends.
    #[must_use]
    pub fn register(&self, ids: Vec<InstanceId>) -> oneshot::Receiver<Answer> {
        self.send(ids, None)
    }

    /// Registers a look once few enough ids of looks in turn wait. All instances of an account may be looked at: they don't wait
    /// at the desk all at once, where each takes memory and stands before whatever a decision waits for.
    pub async fn register_in_turn(&self, ids: Vec<InstanceId>) -> oneshot::Receiver<Answer> {
        let size = u32::try_from(ids.len()).map_or(LARGE, |size| size.min(LARGE));
        // Never closed, so there always is a permit.
        let room = self.room.clone().acquire_many_owned(size).await.ok();
        self.send(ids, room)
    }

    fn send(&self, ids: Vec<InstanceId>, room: Option<OwnedSemaphorePermit>) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        // A reader that is gone drops the look, and the receiver says so.
        let _ = self.looks.send(Look { ids, answer, room });
        answered
    }
}

async fn work(account: Arc<Fetcher>, mut registered: mpsc::UnboundedReceiver<Look>) {
    let mut coalescer = Coalescer::default();
    let mut rounds = JoinSet::new();
    let mut has_handles = true;
    while has_handles || !coalescer.is_done() {
        let due = coalescer.due().filter(|_| rounds.len() < AT_ONCE);
        tokio::select! {
            biased;
            Some(done) = rounds.join_next() => {
                // Panics are caught inside, so that no look is lost with its round.
                if let Ok((wanted, result)) = done {
                    coalescer.answered(wanted, result);
                }
            }
            look = registered.recv(), if has_handles => match look {
                Some(look) => coalescer.register(look, Instant::now()),
                None => has_handles = false,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let wanted = coalescer.take();
                let account = account.clone();
                rounds.spawn(async move {
                    let ids = wanted.iter().map(|(id, _)| *id).collect();
                    let guarded = AssertUnwindSafe(account.read(ids)).catch_unwind().await;
                    (wanted, guarded.unwrap_or_else(|_| FetchResult::cut_off()))
                });
            }
        }
    }
}
