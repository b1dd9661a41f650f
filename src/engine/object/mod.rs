//! Decisions about one `InstanceDeletion`.
//!
//! [`state`] holds what is known of an object: its [spec](state::spec), the [record](state::ledger)
//! of each id in its status, and the [memory](state::memory) of this process. [`rules`] judge that
//! state, one rule per file. [`report`] says what people and tools read. [`decide`] applies the
//! rules in this order:
//!
//! 1. [`observe`](rules::observe): take note of the live read;
//! 2. [`last_call`](rules::last_call): gather, once for all rules, which calls name each id;
//! 3. [`record`](rules::record): enter outcomes of calls and states that reads showed into the
//!    record;
//! 4. [`look_first`](rules::look_first) and [`batch`](rules::batch): find the ids that may be sent,
//!    those that need a look or time before, and the calls that the object wants;
//! 5. the caller asks the account's delete queue for a permit;
//! 6. [`poll`](rules::poll): find the ids that are due for a look;
//! 7. [`write_ahead`](rules::write_ahead): enter the intent of the permitted wave, to be stored
//!    before any of its calls leaves;
//! 8. [`report`]: render the status and the events.
//!
//! When a read allows another call for an id that a call has named:
//!
//! ```text
//!  call leaves     call ends          + settle                                  + 10 × settle
//!  ────┼──────────────┼──────────────────┼───────────────────────────────────────────┼────────▶
//!      │              │ a read sent in   │ a read sent here that shows a live state:  │ … or after a 202:
//!      │              │ here proves only │ after an unknown outcome, or `error` after │ any live state:
//!      │              │ that an instance │ a 202: the id may be sent again            │ sent again
//!      │              │ is on its way    │                                            │
//! ```

pub mod decide;
pub mod report;
pub mod rules;
pub mod state;
#[cfg(test)]
pub(in crate::engine) mod tests;
