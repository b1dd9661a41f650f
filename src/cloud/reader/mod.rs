//! Reads instances for all objects of one account: 1,000 objects of one id each cost ten reads, not a thousand.
//!
//! There is one reader per endpoint, project and Secret. Its task ([`work`]) does the following:
//!
//! 1. [`coalesce`] gathers looks into reads of up to 100 ids.
//! 2. [`read_queue`] holds the calls of the reads that have begun, in the order in which the reads began.
//! 3. [`read_rate`] grants one call after the other, in the order in which the readers of one identity ask.
//! 4. [`fetch`] makes a call. Its readings go at once to each look that wants them, through [`LookHandler::reading`]; there is
//!    no other way from a reply to an object.
//! 5. [`read`] decides which calls follow from the end of a call: it splits a list that fails.

mod call;
mod coalesce;
mod fetch;
mod list_size;
mod look;
mod read;
mod read_queue;
mod read_rate;
mod suspects;
#[cfg(test)]
mod tests;
mod work;

use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, mpsc};
use tracing::error;

use self::{
    fetch::Fetcher,
    look::{Look, own_failure},
    work::Worker,
};
pub use self::{
    look::{LookHandler, Reading},
    read_rate::{RateOf, ReadRate},
};
use super::{client::Client, credential::CredentialSource, endpoint::Endpoint};
use crate::{
    clock::Clock,
    engine::{InstanceId, account::outage::Outage, outcome::Trouble},
    lock::lock,
    supervise::{self, caught},
};

/// Bound on the ids of scheduled looks that wait in a reader. All ids of an account may be due at once: without a bound
/// they would take memory and delay the looks that decisions wait for. 2,000 are twenty calls, so the next look always
/// arrives before a call has to leave half empty.
const ROOM: u32 = 2_000;
/// Most room that one look takes, whatever its size: two large looks fit, so the last call of one is filled from the next.
const LARGE: u32 = ROOM / 2;

/// Handle to the reader of an account.
#[derive(Clone)]
pub struct Reader {
    looks: mpsc::UnboundedSender<Look>,
    room: Arc<Semaphore>,
    outage: Arc<Mutex<Outage>>,
}

impl Reader {
    /// Starts the reader of an account. It ends when its last handle is gone and every look is over.
    #[must_use]
    pub fn spawn(
        client: Arc<Client>,
        endpoint: Endpoint,
        project: String,
        source: Arc<dyn CredentialSource>,
        rate_of: RateOf,
        clock: Clock,
    ) -> Self {
        let (looks, mut registered) = mpsc::unbounded_channel();
        let outage = Arc::<Mutex<Outage>>::default();
        let fetcher = Arc::new(Fetcher::new(client, endpoint, project, source, rate_of, clock));
        let shared = outage.clone();
        supervise::task("reader", async move {
            // A panic ends the looks that the worker had, each with a failure. The next worker serves those that come.
            while caught(Worker::new(fetcher.clone(), shared.clone()).run(&mut registered)).await.is_none() {
                error!(task = "reader", "a task panicked; the reads under way have failed, and others go on");
                *lock(&shared) = Outage::default();
            }
        });
        Self { looks, room: Arc::new(Semaphore::new(ROOM as usize)), outage }
    }

    /// Whether the cloud did not answer the last read: a 5xx, a timeout, or no connection.
    #[must_use]
    pub fn silent(&self) -> bool {
        lock(&self.outage).is_silent()
    }

    /// Registers a look that a decision waits for.
    pub fn register(&self, ids: Vec<InstanceId>, handler: Box<dyn LookHandler>) {
        self.send(Look { ids, handler, room: None });
    }

    /// Registers a look of the schedule, once fewer than [`ROOM`] ids of such looks wait.
    pub async fn register_in_turn(&self, ids: Vec<InstanceId>, handler: Box<dyn LookHandler>) {
        let size = u32::try_from(ids.len()).map_or(LARGE, |size| size.min(LARGE));
        // The semaphore is never closed, so this always brings a permit.
        let room = self.room.clone().acquire_many_owned(size).await.ok();
        self.send(Look { ids, handler, room });
    }

    fn send(&self, look: Look) {
        if let Err(mpsc::error::SendError(look)) = self.looks.send(look) {
            look.handler.ended(Some(own_failure(Trouble::CloudUnreachable, "the reader has ended")));
        }
    }
}
