//! What the judge remembers.

use engine_purity::engine::Mono;

/// What the judge knows of one id, whoever else knows it.
#[derive(Clone, Debug, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each was said or not, whatever else was")]
pub struct Facts {
    /// How many more requests for the object of the present uid may name it (property S8).
    pub allowed: u8,
    /// Requests that used an attempt.
    pub used: u8,
    /// A 2xx reply to a request of this uid listed it.
    pub listed: bool,
    /// A read showed it shutting down.
    pub shutting_down: bool,
    /// A read showed it terminated.
    pub terminated: bool,
    /// A read showed it in any state but not found.
    pub existed: bool,
    /// The end of the last call of this uid that may have had an effect on it.
    pub end: Option<Mono>,
    /// `settle` after that: only a read sent later proves that it had none.
    pub settled: Option<Mono>,
    /// The acceptance that the record holds.
    pub base: Option<Mono>,
    /// A read that counts under S17 was heard since the last request.
    pub justified: bool,
}

/// What the judge knows that a process knows of one id.
#[derive(Clone, Debug, Default, Hash)]
pub struct Known {
    /// When its acceptance became known: the end of the call, or the read that showed it shutting down.
    pub base: Option<Mono>,
    /// The newest read that showed an `error` which came after a deletion had begun.
    pub error: Option<Mono>,
    /// The newest read that showed a live state.
    pub live: Option<Mono>,
    /// The newest read that showed it shutting down, terminated or not found.
    pub going: Option<Mono>,
    /// An unbroken series of not-found reads, all after the last call ended: the first and the last.
    pub missing: Option<(Mono, Mono)>,
    /// A reply of the present uid listed it.
    pub heard: bool,
    /// `settle` after the end of the last call of this process that may have had an effect on it.
    pub own_settled: Option<Mono>,
    /// A call of this process that named it: 0 none or recorded, 1 on its way, 2 ended.
    pub call: u8,
}

/// Of an id that nothing is known of.
impl Default for Facts {
    fn default() -> Self {
        Self {
            // The first request needs no account.
            allowed: 1,
            used: 0,
            listed: false,
            shutting_down: false,
            terminated: false,
            existed: false,
            end: None,
            settled: None,
            base: None,
            justified: false,
        }
    }
}
