//! What the judge remembers.

use std::time::Duration;

use engine_purity::{
    api::CallKind,
    engine::{Mono, by_kind::ByKind, state::Live},
};

/// How many requests of one kind may name an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Requests {
    /// How many more requests for the object of the present uid may name it (property S8).
    pub allowed: u8,
    /// Requests that used an attempt.
    pub used: u8,
    /// A read that counts under S17 was heard since the last request. Of requests that power off: one that showed it running
    /// although it should be off.
    pub justified: bool,
}

/// Of an id that nothing is known of.
impl Default for Requests {
    fn default() -> Self {
        // The first request needs no account.
        Self { allowed: 1, used: 0, justified: false }
    }
}

/// The judge's knowledge of one id, whether a process has it or not.
#[derive(Clone, Debug, Default, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each was said or not, whatever else was")]
pub struct Facts {
    /// Its requests.
    pub requests: ByKind<Requests>,
    /// A 2xx reply to a request of this uid listed it.
    pub listed: bool,
    /// A read showed it shutting down.
    pub shutting_down: bool,
    /// A read showed it terminated.
    pub terminated: bool,
    /// A read showed it in any state but not found.
    pub existed: bool,
    /// The end of the last call of this uid, of any kind, that may have had an effect on it.
    pub end: Option<Mono>,
    /// `settle` after the end of the last delete call of this uid that may have had an effect on it: only a read sent later
    /// proves that it had none.
    pub settled: Option<Mono>,
    /// The same of the calls that power it off: only a read sent later proves that it is still running.
    pub off_settled: Option<Mono>,
    /// The end of the last call of this uid that powers it off and that was accepted.
    pub off_accepted: Option<Mono>,
    /// The acceptance that the record holds.
    pub base: Option<Mono>,
    /// A delete call of this uid that named it was refused for its ids (rule P7).
    pub refused: bool,
    /// Someone powered it on since the last request that powers it off.
    pub powered_on: bool,
    /// Someone powered it on once.
    pub ever_powered_on: bool,
}

impl Facts {
    /// Enters that a call of this kind, which ended then, may have had its effect.
    pub fn may_have_had(&mut self, kind: CallKind, end: Mono, settle: Duration) {
        let settled = match kind {
            CallKind::Delete => &mut self.settled,
            CallKind::PowerOff => &mut self.off_settled,
        };
        *settled = (*settled).max(Some(end + settle));
        self.end = self.end.max(Some(end));
    }
}

/// What a read showed of an instance that is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alive {
    /// When the read was sent.
    pub sent: Mono,
    /// The state.
    pub state: Live,
    /// Whether it was as expected.
    pub right: bool,
    /// Its server.
    pub server: u8,
    /// What the wall clock showed when the read was sent; 0 where no soak asks for it.
    pub wall: u8,
}

/// What the judge knows that a process knows of one id.
#[derive(Clone, Debug, Default, Hash)]
pub struct Known {
    /// When its acceptance became known: the end of the call, or the read that showed it shutting down.
    pub base: Option<Mono>,
    /// The newest read that showed an `error` which came after a deletion had begun.
    pub error: Option<Mono>,
    /// The newest read that showed a live state.
    pub live: Option<Alive>,
    /// The newest read that showed it shutting down, terminated or not found.
    pub going: Option<Mono>,
    /// An unbroken series of not-found reads, all after the last call ended: the first and the last.
    pub missing: Option<(Mono, Mono)>,
    /// A reply of the present uid listed it.
    pub heard: bool,
    /// `settle` after the end of the last call of this process that may have had an effect on it.
    pub own_settled: Option<Mono>,
    /// The same of its calls that power it off.
    pub own_off_settled: Option<Mono>,
    /// The end of the last call of this process that may have powered it off.
    pub own_off_end: Option<Mono>,
    /// A call of this process that named it: 0 none or recorded, 1 on its way, 2 ended.
    pub call: u8,
    /// What that call asked for.
    pub kind: Option<CallKind>,
    /// When this process first read the record that says that it is off, and is to stay so.
    pub off: Option<Mono>,
    /// A read sent after that showed it on: someone wants it.
    pub wanted: bool,
    /// The server that the first read of this process showed; kept for a mistake alone.
    pub first_server: Option<u8>,
}

impl Known {
    /// When the newest read was sent that showed a live state.
    #[must_use]
    pub fn live_sent(&self) -> Option<Mono> {
        self.live.map(|alive| alive.sent)
    }
}
