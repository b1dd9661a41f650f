//! The calls of one gathering: by list, and one by one what a list can't tell.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::sync::{Mutex as Queue, MutexGuard as QueueGuard};

use super::{OnReading, RateOf, ReadFailure, ReadRate, Reading, read_queue::PATIENCE};
use crate::{
    clock::Clock,
    cloud::{
        client::{Client, Failure, Page},
        credential::{Credential, CredentialProblem, CredentialSource},
        endpoint::Endpoint,
        retry_after::stated_limit,
    },
    engine::{
        InstanceId, Mono,
        account::rate::SlowDown,
        outcome::{CloudMessage, Trouble},
        state::Seen,
    },
};

/// Pages that 100 ids can fill when each has the least documented size, and a few more.
const PAGES: usize = 16;
/// Instances of one gathering that are read by themselves at once: one that hangs delays no other.
const SINGLES: usize = 8;
/// After so many failures in a row the rest is not asked: it is the cloud, not an instance.
const OUTAGE: usize = SINGLES;

/// A call that is refused for its pace waits for its next turn, so often: a hundred objects may wait for its answer, and each
/// would tell its own people of a refusal that is over within a second.
const THROTTLED: usize = 3;

/// Credentials that may not list are tried again after this, since a permission may be granted at any time, or at once when
/// they change.
const LIST_AGAIN: Duration = Duration::from_mins(5);

/// What one gathering brought.
#[derive(Default)]
pub struct FetchResult {
    /// What was read.
    pub readings: Vec<Reading>,
    /// Why the rest was not.
    pub failure: Option<ReadFailure>,
}

impl FetchResult {
    /// One that ended in a panic.
    pub fn cut_off() -> Self {
        let message = CloudMessage { text: "the read was cut off".to_owned(), ..CloudMessage::default() };
        let failure = ReadFailure { trouble: Trouble::CloudUnreachable, message, secret_version: None };
        Self { readings: Vec::new(), failure: Some(failure) }
    }
}

/// The cloud answers nothing: 5xx, timeouts, no connection.
struct Outage {
    /// Calls that have failed since its beginning.
    failed: u64,
    /// How the last one did.
    failure: ReadFailure,
}

/// Where one reader reads.
pub struct Fetcher {
    client: Arc<Client>,
    endpoint: Endpoint,
    project: String,
    source: Arc<dyn CredentialSource>,
    rate_of: RateOf,
    /// Whoever waits for this reader's turn holds this: readers of one identity take turns, however much each has to read.
    queue: Queue<()>,
    /// The gathering whose instances begin to be read by themselves holds this.
    gate: Queue<()>,
    /// Whoever probes a cloud that answers nothing holds this.
    probe: Queue<()>,
    outage: Mutex<Option<Outage>>,
    /// The version of the credential that may not list, and when that is tried again.
    no_list: Mutex<Option<(String, Mono)>>,
    on_reading: OnReading,
    clock: Clock,
}

impl Fetcher {
    /// An account that has not been called.
    pub fn new(
        client: Arc<Client>,
        endpoint: Endpoint,
        project: String,
        source: Arc<dyn CredentialSource>,
        rate_of: RateOf,
        clock: Clock,
        on_reading: OnReading,
    ) -> Self {
        let (queue, gate, probe) = Default::default();
        let (outage, no_list) = Default::default();
        Self {
            client,
            endpoint,
            project,
            source,
            rate_of,
            queue,
            gate,
            probe,
            outage,
            no_list,
            on_reading,
            clock,
        }
    }

    /// Whether the last call brought no answer.
    pub fn silent(&self) -> bool {
        self.outage().is_some()
    }

    /// While the cloud answers nothing, one call at a time probes it (design: *Outcomes of a delete call*). Whoever waited
    /// while a probe failed has its answer by that.
    async fn probe(&self) -> Result<Option<QueueGuard<'_, ()>>, FailedRead> {
        let failed = |outage: &Option<Outage>| outage.as_ref().map(|outage| outage.failed);
        let before = failed(&self.outage());
        if before.is_none() {
            return Ok(None);
        }
        let guard = self.probe.lock().await;
        match &*self.outage() {
            None => Ok(None),
            Some(outage) if Some(outage.failed) == before => Ok(Some(guard)),
            Some(outage) => Err(FailedRead { failure: outage.failure.clone(), too_large: false }),
        }
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads these ids: by list, and one by one what the list leaves out.
    pub async fn read(&self, ids: Vec<InstanceId>) -> FetchResult {
        let mut result = FetchResult::default();
        let (mut lists, mut single) = (Vec::new(), Vec::new());
        if self.may_not_list().await {
            single = ids;
        } else {
            lists.push(ids);
        }
        while let Some(mut ids) = lists.pop() {
            match self.list(&mut ids, &mut result).await {
                Ok(()) => {
                    single.append(&mut ids);
                }
                Err(missed) if missed.too_large && ids.len() > 1 => {
                    let half = ids.split_off(ids.len() / 2);
                    lists.extend([half, ids]);
                }
                // One may be readable where a list is not: listing is a permission of its own, one unknown id may have
                // the whole list refused (no page says whether it is left out), and one fits under the cap.
                Err(missed)
                    if missed.too_large
                        || matches!(missed.failure.trouble, Trouble::Forbidden | Trouble::RequestRefused) =>
                {
                    self.remember(&missed);
                    single.append(&mut ids);
                }
                Err(missed) => {
                    result.failure = Some(missed.failure);
                    return result;
                }
            }
        }
        self.read_singly(single, &mut result).await;
        result
    }

    /// Whether these credentials were refused a list lately: asking at each gathering would be a call in vain each time.
    async fn may_not_list(&self) -> bool {
        let now = self.clock.mono();
        let known = self.no_list().clone().filter(|(_, until)| now < *until);
        let Some((version, _)) = known else { return false };
        self.source.read().await.is_ok_and(|credential| credential.version == version)
    }

    fn remember(&self, missed: &FailedRead) {
        if missed.failure.trouble == Trouble::Forbidden {
            let version = missed.failure.secret_version.clone().unwrap_or_default();
            *self.no_list() = Some((version, self.clock.mono() + LIST_AGAIN));
        }
    }

    fn no_list(&self) -> MutexGuard<'_, Option<(String, Mono)>> {
        self.no_list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads each by itself. What stands in the way of one instance keeps no other from being read, unless it stands in
    /// the way of all.
    async fn read_singly(&self, ids: Vec<InstanceId>, result: &mut FetchResult) {
        if ids.is_empty() {
            return;
        }
        let place = Mutex::new(Some(self.gate.lock().await));
        let gate = &SinglesGate { left: AtomicUsize::new(ids.len()), place };
        let mut shows = stream::iter(ids)
            .map(|id| async move { (id, self.show(id, gate).await) })
            .buffer_unordered(SINGLES);
        let mut unread = 0;
        while let Some((id, shown)) = shows.next().await {
            let failure = match shown {
                Ok((seen, sent)) => {
                    unread = 0;
                    self.enter(result, Reading { id, seen, sent });
                    continue;
                }
                Err(missed) => missed.failure,
            };
            let of_all = match failure.trouble {
                Trouble::RequestRefused | Trouble::CloudUnreachable => {
                    unread += 1;
                    unread >= OUTAGE
                }
                _ => true,
            };
            if of_all {
                result.failure = Some(failure);
                return;
            }
            result.failure.get_or_insert(failure);
        }
    }

    /// Each reading is told at once: a look is answered only when all of its reads are over.
    fn enter(&self, result: &mut FetchResult, reading: Reading) {
        (self.on_reading)(&reading);
        result.readings.push(reading);
    }

    /// Lists these ids, page by page, and leaves those of which no page tells. What the pages before a failure told was
    /// read.
    async fn list(&self, ids: &mut Vec<InstanceId>, result: &mut FetchResult) -> Result<(), FailedRead> {
        let asked = ids.clone();
        let (mut marker, mut markers) = (None, HashSet::new());
        for _ in 0..PAGES {
            let (page, sent) = self.page(&asked, marker.as_deref()).await?;
            for (id, seen) in page.rows {
                ids.retain(|other| *other != id);
                // An instance may change between two pages: the row read last is the newest.
                self.enter(result, Reading { id, seen, sent });
            }
            match page.next {
                // A repeated marker would go round for ever; what is missing is read one by one.
                Some(next) if !ids.is_empty() && markers.insert(next.clone()) => marker = Some(next),
                _ => break,
            }
        }
        Ok(())
    }

    async fn page(&self, ids: &[InstanceId], marker: Option<&str>) -> Result<(Page, Mono), FailedRead> {
        let _probe = self.probe().await?;
        let mut tries = Tries::default();
        loop {
            let (credential, sent) = self.turn_counted().await?;
            let read = self.client.list_page(&self.endpoint, &self.project, &credential, ids, marker).await;
            if let Some(told) = self.told(read, &credential, &mut tries) {
                return told.map(|page| (page, sent));
            }
        }
    }

    async fn show(&self, id: InstanceId, gate: &SinglesGate<'_>) -> Result<(Seen, Mono), FailedRead> {
        let _probe = self.probe().await?;
        let mut tries = Tries::default();
        let mut turn = self.turn_counted().await?;
        gate.begun();
        loop {
            let (credential, sent) = turn;
            let read = self.client.show_instance_status(&self.endpoint, &self.project, &credential, id).await;
            if let Some(told) = self.told(read, &credential, &mut tries) {
                return told.map(|seen| (seen, sent));
            }
            turn = self.turn_counted().await?;
        }
    }

    /// Whether a read was refused for a credential or a clock that could be renewed.
    fn renewed<T>(&self, read: &Result<T, Failure>, credential: &Credential) -> bool {
        read.as_ref().is_err_and(|failure| {
            failure.trouble == Trouble::CredentialsRejected
                && (failure.clock_set || self.source.refused(credential))
        })
    }

    async fn turn_counted(&self) -> Result<(Credential, Mono), FailedRead> {
        let asked = self.clock.mono();
        let (credential, now) = self.turn().await?;
        self.client.metrics().read_waited(now - asked);
        Ok((credential, now))
    }

    /// Waits for a call's turn, then reads the credential: a rotation takes effect at the next call. One of another identity
    /// waits for that one's turn.
    async fn turn(&self) -> Result<(Credential, Mono), FailedRead> {
        let mut read_queue = (self.rate_of)(&self.source.identity());
        loop {
            let first = self.queue.lock().await;
            read_queue.turn(&self.clock).await.map_err(FailedRead::throttled)?;
            drop(first);
            let credential = self.source.read().await.map_err(|problem| {
                read_queue.rate().give_back(1);
                let CredentialProblem { trouble, message, version } = problem;
                let failure = ReadFailure { trouble, message, secret_version: version };
                FailedRead { failure, too_large: false }
            })?;
            let own = self.rate_of(&credential);
            if !Arc::ptr_eq(&own, &read_queue) {
                read_queue.rate().give_back(1);
                if own.rate().take(1, self.clock.mono()) == 0 {
                    read_queue = own;
                    continue;
                }
            }
            let sent = own.leave(&self.clock).await;
            return Ok((credential, sent));
        }
    }

    /// Tells the pace how a call ended. None if it is made once more.
    fn told<T>(
        &self,
        read: Result<T, Failure>,
        credential: &Credential,
        tries: &mut Tries,
    ) -> Option<Result<T, FailedRead>> {
        if !tries.renewed && self.renewed(&read, credential) {
            tries.renewed = true;
            self.rate_of(credential).rate().over();
            return None;
        }
        let told = self.ended(read, credential);
        match &told {
            Err(FailedRead {
                failure: ReadFailure { trouble: Trouble::Throttled { retry_after }, .. },
                ..
            }) if tries.throttled < THROTTLED && retry_after.is_none_or(|wait| wait <= PATIENCE) => {
                tries.throttled += 1;
                None
            }
            _ => Some(told),
        }
    }

    fn ended<T>(&self, read: Result<T, Failure>, credential: &Credential) -> Result<T, FailedRead> {
        let now = self.clock.mono();
        let answered =
            read.as_ref().err().is_none_or(|f| f.too_large || f.trouble != Trouble::CloudUnreachable);
        if answered {
            *self.outage() = None;
        }
        let read_queue = self.rate_of(credential);
        let mut rate = read_queue.rate();
        read.inspect(|_| rate.accepted()).map_err(|failure| {
            let Failure { mut trouble, message, too_large, unavailable, .. } = failure;
            match &mut trouble {
                Trouble::Throttled { retry_after } => {
                    let limit = stated_limit(&message.text);
                    rate.refused(SlowDown::TooManyRequests { retry_after: *retry_after, limit }, now);
                    *retry_after = rate.closed(now);
                }
                _ if unavailable => rate.refused(SlowDown::Unavailable, now),
                _ => rate.over(),
            }
            let secret_version = Some(credential.version.clone());
            let failure = ReadFailure { trouble, message, secret_version };
            if !answered {
                let mut outage = self.outage();
                let failed = outage.as_ref().map_or(0, |outage| outage.failed) + 1;
                *outage = Some(Outage { failed, failure: failure.clone() });
            }
            FailedRead { failure, too_large }
        })
    }

    fn rate_of(&self, credential: &Credential) -> Arc<ReadRate> {
        (self.rate_of)(&credential.identity)
    }
}

/// The place of a gathering whose instances are read by themselves. The next one begins when all of its reads have begun: read
/// in turns, each would take as long as all, and what was read first would be too old for a call when the last was read.
struct SinglesGate<'a> {
    left: AtomicUsize,
    place: Mutex<Option<QueueGuard<'a, ()>>>,
}

impl SinglesGate<'_> {
    /// Another read of this gathering has begun.
    fn begun(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

/// Why one call was made more than once.
#[derive(Default)]
struct Tries {
    renewed: bool,
    throttled: usize,
}

struct FailedRead {
    failure: ReadFailure,
    too_large: bool,
}

impl FailedRead {
    /// Not asked, since the cloud asks for so long a wait.
    fn throttled(left: Duration) -> Self {
        let trouble = Trouble::Throttled { retry_after: Some(left) };
        // What was heard then may have been another Secret's answer: it is not passed on.
        let message = CloudMessage { text: "it said so earlier".to_owned(), ..CloudMessage::default() };
        let failure = ReadFailure { trouble, message, secret_version: None };
        Self { failure, too_large: false }
    }
}
