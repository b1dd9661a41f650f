//! Decisions about one `InstanceDeletion`.
//!
//! [`spec`] is the parsed spec, [`ledger`] what the status says about each id, [`memory`] (with [`observations`] and [`blocker`]) and
//! [`call_history`] what this process has seen. [`decide`](decide::decide) turns them into the next step, in this order:
//!
//! 1. [`record`]: outcomes of calls and ends that reads showed go into the ledger;
//! 2. [`poll`]: which ids are due for a look;
//! 3. [`look_first`]: which ids may be sent, and which need a look, or time, before;
//! 4. [`batch`]: which of them form the next wave;
//! 5. [`write_ahead`]: the intent of that wave, stored before any of its calls;
//! 6. [`surface`]: what people and tools read.
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
