//! Pure decisions: no kube client, no HTTP, no clock, and no randomness but what is passed in.
//!
//! Reading order: [`id`], [`time`] and [`state`] are the words; [`outcome`] says what a delete call can come to;
//! [`object`] decides about one `InstanceDeletion`; [`account`] decides about the rate and the order of calls at one cloud account.

pub mod account;
pub mod backoff;
pub mod id;
pub mod object;
pub mod outcome;
pub mod settings;
pub mod state;
pub mod time;

pub use self::{
    id::InstanceId,
    settings::Settings,
    time::{Mono, Now},
};
