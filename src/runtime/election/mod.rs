//! Leader election by a Lease: one of several processes with the same scope works.
//!
//! It saves work and is never what makes this controller safe: two processes that both believe they lead do no harm.
//! [`decide`] decides the next step, `lease` carries it out at the API server, `name` names the Lease, and [`Election`] runs
//! the work while this process leads and sets [`Leadership`].
//!
//! A leader that loses the lease ends with an error, and kubelet starts it again as a standby. So nothing that it knew is used
//! again, and no task of it keeps running.

pub mod decide;
mod lease;
mod name;

use std::time::Duration;

pub use name::lease_name;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    decide::{Candidate, Loss, NextStep, TIMES},
    lease::{LeaseError, Leases},
};
use super::health::Health;
use crate::{
    clock::{Clock, Deadline},
    leadership::{Leadership, LeadershipSetter},
    random::Random,
    scope::Scope,
};

/// Limit for one request: two fit into the time in which a leader must have written.
const REQUEST: Duration = Duration::from_secs(5);
/// Limit for releasing the lease at the end of a drain.
const RELEASE: Duration = Duration::from_secs(5);

/// This process lost the lease. It must end, since another process may have overtaken what it knows.
#[derive(Debug, thiserror::Error)]
#[error(
    "lost the lease {namespace}/{name}: {why}; this process ends and is to be started again as a standby"
)]
pub struct Lost {
    namespace: String,
    name: String,
    why: Loss,
}

/// The election as this process sees it.
pub struct Election {
    namespace: String,
    name: String,
    identity: String,
    leases: Leases,
    candidate: Candidate,
    setter: LeadershipSetter,
    clock: Clock,
    random: Random,
    /// The holder that was logged last.
    told: Option<String>,
}

impl Election {
    /// Makes a candidate for the Lease of this scope, and its leadership. `None` if the system gives no random numbers: without
    /// them the process has no unique identity.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: String,
        scope: &Scope,
        clock: Clock,
        random: Random,
    ) -> Option<(Self, Leadership)> {
        let (name, identity) = (lease_name(scope), name::identity(&random)?);
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

    /// Runs `work` while this process leads. Waits until the process is `able` to work and for the lease, keeps the lease until the
    /// work has ended, then releases it. Returns `None` if it was stopped before it led. `work` must end when `stop` is cancelled.
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

    /// Waits until this process leads; returns false if it was stopped before.
    async fn elected(&mut self, health: &Health, stop: &CancellationToken) -> bool {
        loop {
            match self.candidate.next(self.clock.mono()) {
                // Wait for a write in flight: otherwise this process might hold the lease without knowing it.
                _ if stop.is_cancelled() => return false,
                NextStep::Wait(moment) => tokio::select! {
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
                // A standby is ready, since it can take over. Rollouts and disruption budgets depend on that.
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

    /// Renews the lease until it is lost.
    async fn lost(&mut self) -> Lost {
        loop {
            match self.candidate.next(self.clock.mono()) {
                NextStep::Wait(moment) => sleep_until(self.clock.instant(moment)).await,
                NextStep::Lost(why) => {
                    return Lost { namespace: self.namespace.clone(), name: self.name.clone(), why };
                }
                step => self.ask(step).await,
            }
        }
    }

    /// Makes one request and enters its result.
    async fn ask(&mut self, step: NextStep) {
        let sent = self.clock.mono();
        // The term starts before the request leaves, on both clocks.
        let term = Deadline::after(TIMES.renew, &self.clock);
        let limit = self.candidate.until().map_or(REQUEST, |until| REQUEST.min(until - sent));
        let asked = match &step {
            NextStep::Read => self.leases.read(limit).await.map(|lease| {
                self.candidate.read(lease, self.clock.mono(), self.random.jitter());
            }),
            NextStep::Write(write) => self.leases.write(write, self.clock.wall(), limit).await.map(|lease| {
                self.candidate.written(lease, sent);
                self.setter.until(term);
            }),
            NextStep::Wait(_) | NextStep::Lost(_) => Ok(()),
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
                    "lease request failed; retrying"
                );
            }
        }
    }

    /// Releases the lease, so that the next leader need not wait until it expires. Tries twice: a write of this process that was
    /// cut off may still arrive in between.
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
            Ok(Ok(true)) => info!(lease, "released the lease"),
            Ok(Ok(false) | Err(LeaseError::Gone)) => {
                info!(lease, "another process holds the lease; nothing to release");
            }
            Ok(Err(error)) => {
                warn!(lease, %error, "could not release the lease; the next leader waits until it expires");
            }
            Err(_) => {
                warn!(lease, "could not release the lease in time; the next leader waits until it expires");
            }
        }
    }
}
