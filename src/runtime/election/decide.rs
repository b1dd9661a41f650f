//! The decision who leads. Pure: the time and random numbers are passed in.
//!
//! The rules are client-go's. A standby takes the lease when it is free, or when its holder has written nothing for the duration
//! that the Lease states, counted from when *this* process first saw the holder's last write: clocks of two machines are never
//! compared. The leader writes every `retry` and leads until `renew` after it sent its last acknowledged write. `renew` is
//! shorter than the lease, so a leader stops before another process may start.
//!
//! ```text
//! leader    w───w───w───x   x   x   x   (w written, x not answered)
//!                   ├───── renew ─────┤ ends here
//! standby             ├──────── lease ────────┤ may take it here
//!                     └ first saw the last w
//! ```

use std::time::Duration;

use crate::engine::Mono;

/// The durations of the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Time after the last write that a standby saw, after which it may take the lease. A duration in the Lease itself goes first.
    pub lease: Duration,
    /// Time after sending its last acknowledged write, after which a leader stops leading.
    pub renew: Duration,
    /// Time between two writes of a leader, or two reads of a standby.
    pub retry: Duration,
}

/// client-go's own defaults, which kube-controller-manager and most operators run with.
pub const TIMES: Times =
    Times { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) };

/// A Lease as the API server holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// resourceVersion; a write replaces exactly this version.
    pub version: String,
    /// The holder's identity; `None` if the holder released the lease.
    pub holder: Option<String>,
    /// The lease duration that the holder stated.
    pub duration: Option<Duration>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Read the Lease.
    Read,
    /// Write it.
    Write(Write),
    /// Wait until this moment.
    Wait(Mono),
    /// This process led and must stop.
    Lost(Loss),
}

/// A write that makes this process the holder if it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create the Lease.
    Create,
    /// Replace this version, which another process held, or none.
    Take(String),
    /// Replace this version, which this process holds.
    Renew(String),
}

/// Why a leader stops leading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The API server acknowledged no write in time.
    #[error("it could not be renewed in time")]
    NotRenewed,
    /// Another process holds the lease.
    #[error("{0} holds it now")]
    Taken(String),
    /// Someone else cleared the holder.
    #[error("someone cleared its holder")]
    Cleared,
}

/// What this process knows of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing; the Lease must be read.
    Nothing,
    /// The Lease does not exist.
    Absent,
    /// The last version that was read or written, and when this process first saw it.
    Version(Lease, Mono),
}

/// One process that takes part in the election.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    times: Times,
    known: Known,
    /// When its leadership ends; `None` while it does not lead.
    until: Option<Mono>,
    /// The next request is not made before this moment.
    not_before: Mono,
    /// The last write found another version than it wanted to replace.
    conflicted: bool,
}

impl Candidate {
    /// A candidate that has read nothing yet. Its identity must be unique.
    #[must_use]
    pub fn new(identity: String, times: Times) -> Self {
        Self {
            identity,
            times,
            known: Known::Nothing,
            until: None,
            not_before: Mono::START,
            conflicted: false,
        }
    }

    /// When its leadership ends; `None` while it does not lead.
    #[must_use]
    pub fn until(&self) -> Option<Mono> {
        self.until
    }

    /// The identity of another holder, if one is known.
    #[must_use]
    pub fn other_holder(&self) -> Option<&str> {
        match &self.known {
            Known::Version(lease, _) => lease.holder.as_deref().filter(|holder| *holder != self.identity),
            Known::Nothing | Known::Absent => None,
        }
    }

    /// The next step.
    #[must_use]
    pub fn next(&self, now: Mono) -> NextStep {
        if let Some(until) = self.until {
            if now >= until {
                return NextStep::Lost(Loss::NotRenewed);
            }
            if let Known::Version(lease, _) = &self.known {
                match &lease.holder {
                    Some(holder) if *holder == self.identity => {}
                    Some(holder) => return NextStep::Lost(Loss::Taken(holder.clone())),
                    None => return NextStep::Lost(Loss::Cleared),
                }
            }
        }
        if now < self.not_before {
            return NextStep::Wait(self.until.map_or(self.not_before, |until| until.min(self.not_before)));
        }
        match &self.known {
            Known::Nothing => NextStep::Read,
            Known::Absent => NextStep::Write(Write::Create),
            Known::Version(lease, first_seen) => match &lease.holder {
                Some(holder) if *holder == self.identity => {
                    NextStep::Write(Write::Renew(lease.version.clone()))
                }
                Some(_) if now < self.over(lease, *first_seen) => NextStep::Read,
                Some(_) | None => NextStep::Write(Write::Take(lease.version.clone())),
            },
        }
    }

    /// Enters the result of a read. `random` spreads the reads of several standbys.
    pub fn read(&mut self, lease: Option<Lease>, now: Mono, random: u64) {
        self.not_before = now;
        let Some(lease) = lease else {
            self.known = Known::Absent;
            return;
        };
        let first_seen = match &self.known {
            Known::Version(known, first_seen) if known.version == lease.version => *first_seen,
            _ => now,
        };
        if lease.holder.as_ref().is_some_and(|holder| *holder != self.identity) {
            self.conflicted = false;
            let again = now + self.times.retry + self.spread(random);
            self.not_before = again.min(self.over(&lease, first_seen)).max(now);
        }
        self.known = Known::Version(lease, first_seen);
    }

    /// Enters an acknowledged write that was sent at `sent` and made this version.
    pub fn written(&mut self, lease: Lease, sent: Mono) {
        self.known = Known::Version(lease, sent);
        self.until = Some(sent + self.times.renew);
        self.not_before = sent + self.times.retry;
        self.conflicted = false;
    }

    /// Enters a write that found another version, or a Lease where there was none. The Lease is read again, the first time at
    /// once.
    pub fn conflict(&mut self, now: Mono, random: u64) {
        self.known = Known::Nothing;
        self.not_before = if self.conflicted { now + self.times.retry + self.spread(random) } else { now };
        self.conflicted = true;
    }

    /// Enters a write whose Lease is gone.
    pub fn gone(&mut self, now: Mono) {
        self.known = Known::Absent;
        self.not_before = now;
    }

    /// Enters a request that failed or whose outcome is unknown. After a write, the next request learns the outcome by its version.
    pub fn failed(&mut self, now: Mono, random: u64) {
        self.not_before = now + self.times.retry + self.spread(random);
    }

    fn over(&self, lease: &Lease, first_seen: Mono) -> Mono {
        first_seen + lease.duration.unwrap_or(self.times.lease)
    }

    /// Jitter of at most half of `retry`.
    fn spread(&self, random: u64) -> Duration {
        let most = u64::try_from(self.times.retry.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(random % most.max(1))
    }
}

#[cfg(test)]
mod tests;
