//! The rules of a decision, one per file, in the order in which a decision applies them.
//!
//! Rules know the [state](super::state) of an object; the state knows no rule.

pub mod batch;
pub mod check;
pub mod close;
pub mod facts;
pub mod first_write;
pub mod last_call;
pub mod look_first;
pub mod observe;
pub mod plan;
pub mod poll;
pub mod power_off;
pub mod record;
pub mod rollout;
pub mod whole_list;
pub mod write_ahead;
