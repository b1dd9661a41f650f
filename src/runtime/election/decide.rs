//! Who leads, decided: no client, no clock and no randomness but what is passed in.
//!
//! The rules are those of client-go. A lease is taken when it is free, or when its holder has written nothing for the time
//! that the Lease itself states, counted from the moment at which *this* process first saw the holder's last write: clocks of
//! two machines are never compared. Whoever leads writes again every `retry`, and leads until `renew` after the moment at
//! which its last acknowledged write was sent. `renew` is shorter than the lease, so it stops before another one may begin.
//!
//! ```text
//! leader    w───w───w───x   x   x   x   (w written, x not answered)
//!                   ├───── renew ─────┤ ends here
//! standby             ├──────── lease ────────┤ may take it here
//!                     └ first saw the last w
//! ```

use std::time::Duration;

use crate::engine::Mono;

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// So long after the last write that it saw, a standby may take the lease. What the Lease itself states counts first.
    pub lease: Duration,
    /// So long after its last acknowledged write was sent, a leader leads no more.
    pub renew: Duration,
    /// Between two writes of a leader, or two reads of a standby.
    pub retry: Duration,
}

/// client-go's own defaults, which kube-controller-manager and most operators run with.
pub const TIMES: Times =
    Times { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) };

/// A Lease as the API server holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// resourceVersion: a write replaces this very version.
    pub version: String,
    /// Who holds it; nobody if it was given back.
    pub holder: Option<String>,
    /// How long it is good for after a write, as its holder stated.
    pub duration: Option<Duration>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the Lease.
    Read,
    /// Write it.
    Write(Write),
    /// Nothing before this moment.
    Wait(Mono),
    /// It led and leads no more.
    Lost(Loss),
}

/// A write that makes this process the holder if it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create the Lease.
    Create,
    /// Replace this version; another process held it, or nobody.
    Take(String),
    /// Replace this version, which this process holds.
    Renew(String),
}

/// Why a leader leads no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// No write was acknowledged in time.
    #[error("it could not be renewed in time")]
    NotRenewed,
    /// Another process holds it.
    #[error("{0} holds it now")]
    Taken(String),
    /// Its holder was cleared by someone else.
    #[error("someone cleared its holder")]
    Cleared,
}

/// What is known of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// It must be read.
    Nothing,
    /// There is none.
    Absent,
    /// The version that was read or written last, and when it was first seen.
    Version(Lease, Mono),
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    times: Times,
    known: Known,
    /// Until when it leads; none: it does not.
    until: Option<Mono>,
    /// No request before this moment.
    not_before: Mono,
    /// The last write met another version than it replaced.
    conflicted: bool,
}

impl Candidate {
    /// One that has read nothing yet. No other process may have its identity.
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

    /// Until when it leads; none: it does not.
    #[must_use]
    pub fn until(&self) -> Option<Mono> {
        self.until
    }

    /// Who else holds the Lease, as far as is known.
    #[must_use]
    pub fn other_holder(&self) -> Option<&str> {
        match &self.known {
            Known::Version(lease, _) => lease.holder.as_deref().filter(|holder| *holder != self.identity),
            Known::Nothing | Known::Absent => None,
        }
    }

    /// The next step.
    #[must_use]
    pub fn next(&self, now: Mono) -> Next {
        if let Some(until) = self.until {
            if now >= until {
                return Next::Lost(Loss::NotRenewed);
            }
            if let Known::Version(lease, _) = &self.known {
                match &lease.holder {
                    Some(holder) if *holder == self.identity => {}
                    Some(holder) => return Next::Lost(Loss::Taken(holder.clone())),
                    None => return Next::Lost(Loss::Cleared),
                }
            }
        }
        if now < self.not_before {
            return Next::Wait(self.until.map_or(self.not_before, |until| until.min(self.not_before)));
        }
        match &self.known {
            Known::Nothing => Next::Read,
            Known::Absent => Next::Write(Write::Create),
            Known::Version(lease, first_seen) => match &lease.holder {
                Some(holder) if *holder == self.identity => Next::Write(Write::Renew(lease.version.clone())),
                Some(_) if now < self.over(lease, *first_seen) => Next::Read,
                Some(_) | None => Next::Write(Write::Take(lease.version.clone())),
            },
        }
    }

    /// A read brought this; `random` spreads the reads of several standbys.
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

    /// A write that was sent at this moment was acknowledged, and made this version.
    pub fn written(&mut self, lease: Lease, sent: Mono) {
        self.known = Known::Version(lease, sent);
        self.until = Some(sent + self.times.renew);
        self.not_before = sent + self.times.retry;
        self.conflicted = false;
    }

    /// A write met another version than it replaced, or a Lease where there was none: it is read again, at once the first
    /// time.
    pub fn conflict(&mut self, now: Mono, random: u64) {
        self.known = Known::Nothing;
        self.not_before = if self.conflicted { now + self.times.retry + self.spread(random) } else { now };
        self.conflicted = true;
    }

    /// The Lease that was to be replaced is gone.
    pub fn gone(&mut self, now: Mono) {
        self.known = Known::Absent;
        self.not_before = now;
    }

    /// A request failed, or nobody knows what it did: if it was a write, the next one finds out by its version.
    pub fn failed(&mut self, now: Mono, random: u64) {
        self.not_before = now + self.times.retry + self.spread(random);
    }

    fn over(&self, lease: &Lease, first_seen: Mono) -> Mono {
        first_seen + lease.duration.unwrap_or(self.times.lease)
    }

    /// Up to half of `retry`.
    fn spread(&self, random: u64) -> Duration {
        let most = u64::try_from(self.times.retry.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(random % most.max(1))
    }
}

#[cfg(test)]
mod tests;
