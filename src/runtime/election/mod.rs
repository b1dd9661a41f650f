//! Leader election by a Lease: of several processes that work on the same, one does.
//!
//! It saves work and is never what makes this controller safe: two that both believe they lead do no harm
//! (`docs/guarantees.md`, S9). [`decide`] says what to do next; `lease` does it at the API server; `name` names the Lease;
//! [`Election`] carries it out around the work and says through [`Leadership`] whether this process leads.
//!
//! A leader that loses the lease ends with an error, and whoever started it starts it again as a standby. Nothing of what it
//! knew can be used again, and no task of it can be forgotten.

pub mod decide;
mod lease;
mod name;

use std::time::Duration;

use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    decide::{Candidate, Loss, Next, TIMES},
    lease::{LeaseError, Leases},
};
use super::health::Health;
use crate::{
    clock::{Clock, Deadline},
    leadership::{Leadership, LeadershipSetter},
    random::Random,
    scope::Scope,
};

/// For one request: two fit into the time in which a leader must have written.
const REQUEST: Duration = Duration::from_secs(5);
/// To give the lease back, at the end of a drain.
const RELEASE: Duration = Duration::from_secs(5);

/// This process led and leads no more. It must end: what it knows, another process may have overtaken.
#[derive(Debug, thiserror::Error)]
#[error("the lease {namespace}/{name} is lost: {why}; this process ends, to begin again as a standby")]
pub struct Lost {
    namespace: String,
    name: String,
    why: Loss,
}

/// This process's part in the election.
pub struct Election {
    namespace: String,
    name: String,
    identity: String,
    leases: Leases,
    candidate: Candidate,
    setter: LeadershipSetter,
    clock: Clock,
    random: Random,
    /// Of whom it was said that it leads.
    told: Option<String>,
}

impl Election {
    /// A candidate for the Lease of this scope in this namespace, and whether it leads. None if the system gives no random
    /// numbers: without them it has no name of its own.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: String,
        scope: &Scope,
        clock: Clock,
        random: Random,
    ) -> Option<(Self, Leadership)> {
        let (name, identity) = (name::lease_name(scope), name::identity(&random)?);
        let leases = Leases::new(client, &namespace, name.clone(), identity.clone(), TIMES.lease);
        let candidate = Candidate::new(identity.clone(), TIMES);
        let (setter, leadership) = LeadershipSetter::new();
        let told = None;
        let this = Self { namespace, name, identity, leases, candidate, setter, clock, random, told };
        Some((this, leadership))
    }

    /// The name of the Lease.
    #[must_use]
    pub fn lease(&self) -> &str {
        &self.name
    }

    /// Does the work as long as this process leads: waits until it is `able` to, and for the lease, then keeps it until the work
    /// has ended, then gives it back. None if it was stopped before it led. The work itself must end when `stop` is cancelled.
    pub async fn lead<T>(
        mut self,
        health: &Health,
        able: impl Future<Output = ()>,
        work: impl Future<Output = T>,
        stop: &CancellationToken,
    ) -> Result<Option<T>, Lost> {
        info!(
            lease = self.name,
            namespace = self.namespace,
            identity = self.identity,
            "waiting for the lease"
        );
        health.set(Some("may not list InstanceDeletions yet"));
        tokio::select! {
            () = able => {}
            () = stop.cancelled() => return Ok(None),
        }
        health.set(Some("waiting for the lease"));
        if !self.elected(health, stop).await {
            return Ok(None);
        }
        health.set(Some("leads; waiting for the first list of InstanceDeletions"));
        info!(lease = self.name, namespace = self.namespace, identity = self.identity, "leading");
        let done = tokio::select! {
            biased;
            lost = self.lost() => {
                self.setter.end();
                return Err(lost);
            }
            done = work => done,
        };
        self.setter.end();
        self.release().await;
        Ok(Some(done))
    }

    /// Waits until this process leads. False if it was stopped before.
    async fn elected(&mut self, health: &Health, stop: &CancellationToken) -> bool {
        loop {
            match self.candidate.next(self.clock.mono()) {
                // A write in flight is waited for: a lease that was taken unheard would be held by nobody.
                _ if stop.is_cancelled() => return false,
                Next::Wait(moment) => tokio::select! {
                    () = sleep_until(self.clock.instant(moment)) => {}
                    () = stop.cancelled() => return false,
                },
                step => self.ask(step).await,
            }
            if self.candidate.until().is_some() {
                return true;
            }
            let holder = self.candidate.other_holder().map(str::to_owned);
            if holder.is_some() {
                // Ready as a standby: it would take over. Rollouts and disruption budgets count on that.
                health.set(None);
            }
            if holder.is_some() && holder != self.told {
                let leader = holder.as_deref();
                info!(
                    lease = self.name,
                    namespace = self.namespace,
                    leader,
                    "standing by: another process leads"
                );
                self.told = holder;
            }
        }
    }

    /// Keeps the lease for as long as that goes.
    async fn lost(&mut self) -> Lost {
        loop {
            match self.candidate.next(self.clock.mono()) {
                Next::Wait(moment) => sleep_until(self.clock.instant(moment)).await,
                Next::Lost(why) => {
                    return Lost { namespace: self.namespace.clone(), name: self.name.clone(), why };
                }
                step => self.ask(step).await,
            }
        }
    }

    /// Makes one request and takes note of what it brought.
    async fn ask(&mut self, step: Next) {
        let sent = self.clock.mono();
        // Counted from before the request leaves, on both clocks.
        let term = Deadline::after(TIMES.renew, &self.clock);
        let limit = self.candidate.until().map_or(REQUEST, |until| REQUEST.min(until - sent));
        let asked = match &step {
            Next::Read => self.leases.read(limit).await.map(|lease| {
                self.candidate.read(lease, self.clock.mono(), self.random.jitter());
            }),
            Next::Write(write) => self.leases.write(write, self.clock.wall(), limit).await.map(|lease| {
                self.candidate.written(lease, sent);
                self.setter.until(term);
            }),
            Next::Wait(_) | Next::Lost(_) => Ok(()),
        };
        let (now, random) = (self.clock.mono(), self.random.jitter());
        match asked {
            Ok(()) => {}
            Err(LeaseError::Conflict) => self.candidate.conflict(now, random),
            Err(LeaseError::Gone) => self.candidate.gone(now),
            Err(LeaseError::Failed(error)) => {
                self.candidate.failed(now, random);
                let leads = self.candidate.until().is_some();
                warn!(
                    lease = self.name,
                    namespace = self.namespace,
                    leads,
                    error,
                    "the lease was not answered for; tried again"
                );
            }
        }
    }

    /// Gives the lease back, so that the next one need not wait for its end. A write of this process that was cut off may
    /// still arrive meanwhile: then once more.
    async fn release(&mut self) {
        let released = async {
            loop {
                match self.leases.release(self.clock.wall(), RELEASE).await {
                    Err(LeaseError::Conflict) => sleep(Duration::from_millis(100)).await,
                    done => return done,
                }
            }
        };
        let lease = &self.name.clone();
        match tokio::time::timeout(RELEASE, released).await {
            Ok(Ok(true)) => info!(lease, "gave the lease back"),
            Ok(Ok(false) | Err(LeaseError::Gone)) => info!(lease, "the lease is no longer this process's"),
            Ok(Err(error)) => {
                warn!(lease, %error, "the lease was not given back; the next leader waits for its end");
            }
            Err(_) => warn!(lease, "the lease was not given back in time; the next leader waits for its end"),
        }
    }
}
