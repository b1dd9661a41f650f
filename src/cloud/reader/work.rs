//! The task of one reader: takes looks in, makes calls, and hands out what they bring.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Fuse, FusedFuture},
    stream::FuturesUnordered,
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep_until},
};

use super::{
    call::{Call, Cause, FailedCall, Fetched, Purpose, ReadRequest},
    coalesce::{Coalescer, Finished},
    fetch::Fetcher,
    look::Look,
    read::HOPELESS,
    read_queue::{Opening, ReadQueue},
    read_rate::ReadRate,
};
use crate::{
    engine::{
        account::outage::{Contact, Outage},
        outcome::LookFailure,
    },
    lock::lock,
    supervise::caught,
};

/// Bound on the calls of one reader in flight. The default of `--read-rate`, ten a second, needs ten where the cloud takes
/// a second to answer; the rest is for calls that hang until `--request-timeout`. Sixteen replies at the cap of a list
/// (4 MiB) take 64 MiB.
const AT_ONCE: usize = 16;

type FinishedCall = (Call, Result<Fetched, FailedCall>);

/// The state of one reader.
pub struct Worker {
    fetcher: Arc<Fetcher>,
    coalescer: Coalescer,
    queue: ReadQueue,
    outage: Arc<Mutex<Outage>>,
    /// Calls in a row that the cloud did not answer.
    unanswered: usize,
    /// Outages found since the cloud answered last: one for each probe that failed.
    outages: usize,
}

impl Worker {
    /// A reader without looks.
    pub fn new(fetcher: Arc<Fetcher>, outage: Arc<Mutex<Outage>>) -> Self {
        let (coalescer, queue) = Default::default();
        Self { fetcher, coalescer, queue, outage, unanswered: 0, outages: 0 }
    }

    /// Works until the last handle is gone and every look is over.
    pub async fn run(mut self, registered: &mut UnboundedReceiver<Look>) {
        let mut calls = FuturesUnordered::new();
        // One call at a time waits for its turn. Which one it is, is decided when the turn has come.
        let mut turn = Fuse::terminated();
        let mut has_handles = true;
        while has_handles || !self.coalescer.is_done() {
            let ready = self.ready().filter(|_| calls.len() < AT_ONCE && turn.is_terminated());
            tokio::select! {
                biased;
                Some((call, end)) = calls.next() => self.ended(call, end),
                look = registered.recv(), if has_handles => match look {
                    Some(look) => self.coalescer.register(look, Instant::now()),
                    None => has_handles = false,
                },
                granted = &mut turn, if !turn.is_terminated() => calls.extend(self.start(granted)),
                () = sleep_until(ready.unwrap_or_else(Instant::now)), if ready.is_some() => {
                    let fetcher = self.fetcher.clone();
                    turn = async move { fetcher.turn().await }.boxed().fuse();
                }
                else => break,
            }
        }
    }

    /// When the next call may be made; `None` until a call ends or a look is registered.
    fn ready(&self) -> Option<Instant> {
        let allowed = lock(&self.outage).allowed() > 0;
        if allowed { self.queue.ready().or_else(|| self.coalescer.due()) } else { None }
    }

    /// Takes the next call. A read begins only when no call of an earlier one waits.
    fn next(&mut self) -> Option<Call> {
        let ready = self.ready().filter(|ready| *ready <= Instant::now())?;
        if self.queue.ready().is_none() {
            // In an outage, every other probe names one id alone: it is perhaps an id of the list why that fails.
            let scout = self.outages > 0 && self.outages.is_multiple_of(2);
            let opening = if scout { Opening::Scout } else { Opening::List };
            self.queue.begin(self.coalescer.take(), opening, ready);
        }
        self.queue.next()
    }

    /// Makes the next call, or fails it where the cloud asks for a long wait.
    fn start(
        &mut self,
        granted: Result<Arc<ReadRate>, Duration>,
    ) -> Option<BoxFuture<'static, FinishedCall>> {
        let call = self.next();
        match (call, granted) {
            (Some(mut call), Ok(rate)) => {
                let mut outage = lock(&self.outage);
                call.probe = outage.is_silent();
                outage.started(1);
                let fetcher = self.fetcher.clone();
                let call = async move {
                    // A panic fails its own read and no other.
                    let made = caught(fetcher.make(&call, rate)).await;
                    (call, made.unwrap_or(Err(FailedCall::cut_off())))
                };
                Some(call.boxed())
            }
            (Some(call), Err(left)) => {
                lock(&self.outage).started(1);
                self.ended(call, Err(FailedCall::closed(left)));
                None
            }
            // An outage that began while the call waited for its turn holds it back.
            (None, Ok(rate)) => {
                rate.rate().give_back(1);
                None
            }
            (None, Err(_)) => None,
        }
    }

    /// Hands out what a call brought, and queues what follows from it.
    fn ended(&mut self, call: Call, end: Result<Fetched, FailedCall>) {
        let contact = call.contact(&end);
        lock(&self.outage).ended(contact);
        match contact {
            Contact::Answered => (self.unanswered, self.outages) = (0, 0),
            Contact::Silent => self.unanswered += 1,
            Contact::NotSent => {}
        }
        for reading in end.iter().flat_map(|fetched| &fetched.readings) {
            self.coalescer.tell(self.queue.read(&call, reading.id), reading);
        }
        let outage = end.as_ref().err().filter(|failed| self.is_outage(&call, failed));
        let outage = outage.map(|failed| failed.failure.clone());
        let split = matches!(call.purpose, Purpose::Scout { .. } | Purpose::Part).then_some(call.read);
        self.queue.ended(call, end);
        if let Some(failure) = outage {
            self.outages += 1;
            self.give_up(&failure);
        }
        for finished in self.queue.finished() {
            self.coalescer.over(finished);
        }
        if let Some(read) = split {
            self.coalescer.delayed(&self.queue.delayed(read));
        }
    }

    /// Whether this failure of a probe shows that the cloud answers nothing. One instance may be the reason why a call for
    /// it fails: that takes a list of another one alone, or several calls in a row.
    fn is_outage(&self, call: &Call, failed: &FailedCall) -> bool {
        let shows = match (&call.request, &call.purpose) {
            (_, Purpose::Scout { .. }) => true,
            (ReadRequest::List { .. }, _) => failed.cause == Cause::Other || self.outages > 0,
            (ReadRequest::Show(_), _) => self.unanswered >= HOPELESS,
        };
        failed.contact == Contact::Silent && call.probe && shows
    }

    /// Ends every look with the failure of a probe: each would otherwise wait for one of its own, up to
    /// `--request-timeout` after the other.
    fn give_up(&mut self, failure: &LookFailure) {
        self.queue.give_up(failure);
        while !self.coalescer.is_empty() {
            let targets = self.coalescer.take();
            self.coalescer.over(Finished { targets, failure: Some(failure.clone()) });
        }
    }
}
