//! One call of a read: what it asks for, and how it ends.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    look::{Reading, own_failure},
    read_rate::PATIENCE,
};
use crate::engine::{
    InstanceId,
    account::outage::Contact,
    outcome::{LookFailure, Trouble},
};

/// How often a call that is refused for its rate waits for its next turn before the look fails. A hundred objects may
/// wait for the answer, and each would report a refusal that is over within a second.
pub const THROTTLED: usize = 3;

/// Number of a read, in the order in which reads begin.
pub type ReadId = u64;

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadRequest {
    /// ListInstances for `ids`: the first page, or the one at the last of `markers`.
    List {
        /// The ids of the list, the same for each of its pages.
        ids: Vec<InstanceId>,
        /// The ids that no page has shown yet.
        missing: Vec<InstanceId>,
        /// The markers followed so far.
        markers: Vec<String>,
    },
    /// ShowInstanceStatus.
    Show(InstanceId),
}

impl ReadRequest {
    /// The first page of a list.
    pub fn list(ids: Vec<InstanceId>) -> Self {
        Self::List { missing: ids.clone(), ids, markers: Vec::new() }
    }

    /// The ids that the call is to read.
    pub fn wanted(&self) -> &[InstanceId] {
        match self {
            Self::List { missing, .. } => missing,
            Self::Show(id) => std::slice::from_ref(id),
        }
    }
}

/// Why a call is made, and so what its failure says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It reads instances that others like it read before. If the cloud does not answer, that may be an outage.
    Read,
    /// It finds out whether the cloud answers a list of one id. If it does not answer, that is an outage.
    Scout {
        /// The other ids of the list that failed.
        rest: Vec<InstanceId>,
        /// How many lists failed before. With none, `rest` is read as a whole next, else in parts.
        failed: usize,
    },
    /// It reads a part of what failed as a whole, although the cloud answers lists: its ids may be why it fails.
    Part,
    /// It reads an instance whose own read failed lately.
    Suspect,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// The read that it belongs to.
    pub read: ReadId,
    /// What it asks for.
    pub request: ReadRequest,
    /// Why.
    pub purpose: Purpose,
    /// When it could have been made, had the rate allowed it.
    pub ready: Instant,
    /// The call was refused for a credential or a clock that has been renewed since.
    pub renewed: bool,
    /// The cloud did not answer the call before.
    pub probe: bool,
    throttled: usize,
}

impl Call {
    /// A call that could be made at `ready`.
    pub fn new(read: ReadId, request: ReadRequest, purpose: Purpose, ready: Instant) -> Self {
        Self { read, request, purpose, ready, renewed: false, probe: false, throttled: 0 }
    }

    /// Whether this end shows that the cloud answers. Silence about a part or a suspect shows nothing, unless the call is a
    /// probe: an instance may be why that call fails.
    pub fn contact(&self, end: &Result<Fetched, FailedCall>) -> Contact {
        let contact = end.as_ref().map_or_else(|failed| failed.contact, |_| Contact::Answered);
        match (&self.purpose, contact) {
            (Purpose::Part | Purpose::Suspect, Contact::Silent) if !self.probe => Contact::NotSent,
            (_, contact) => contact,
        }
    }

    /// Whether the call is made once more after this failure.
    pub fn again(&mut self, failed: &FailedCall) -> bool {
        if failed.renewed {
            self.renewed = true;
        } else if failed.throttled_briefly() && self.throttled < THROTTLED {
            self.throttled += 1;
        } else {
            return false;
        }
        true
    }
}

/// What a call brought.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The instances that it showed.
    pub readings: Vec<Reading>,
    /// The marker of the next page.
    pub next: Option<String>,
}

/// The part of a failed call that may have caused the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The reply was larger than its cap: fewer ids may fit.
    ReplySize,
    /// One of its ids, or the length of the request. It may also be neither.
    Ids,
    /// Nothing that fewer ids would change.
    Other,
}

/// A call that brought no reading.
#[derive(Debug)]
pub struct FailedCall {
    /// What the asker of the look is told.
    pub failure: LookFailure,
    /// What the failure says about the cloud.
    pub contact: Contact,
    /// The part of the call that may have caused the failure.
    pub cause: Cause,
    /// The credential or the clock that the call was refused for has been renewed: the same call may succeed now.
    pub renewed: bool,
}

impl FailedCall {
    /// A call that was not sent.
    pub fn not_sent(failure: LookFailure) -> Self {
        Self { failure, contact: Contact::NotSent, cause: Cause::Other, renewed: false }
    }

    /// A call that was not sent, since the cloud asks for this long a wait. The cloud's message may have answered another
    /// Secret's call, so it is not passed on.
    pub fn closed(left: Duration) -> Self {
        let trouble = Trouble::Throttled { retry_after: Some(left) };
        Self::not_sent(own_failure(trouble, "it said so earlier"))
    }

    /// A call that a panic cut off.
    pub fn cut_off() -> Self {
        Self::not_sent(own_failure(Trouble::CloudUnreachable, "the read was cut off"))
    }

    /// Whether the cloud refused the call for its rate, and asks for no long wait.
    pub fn throttled_briefly(&self) -> bool {
        match self.failure.trouble {
            Trouble::Throttled { retry_after } => {
                self.contact == Contact::Answered && retry_after.is_none_or(|wait| wait <= PATIENCE)
            }
            _ => false,
        }
    }
}
