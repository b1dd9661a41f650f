//! Pure decisions: no kube client, no HTTP, no clock, and no randomness but what is passed in.
//!
//! Reading order: [`id`], [`time`], [`state`] and [`instance_facts`] are the words; [`outcome`] says what a call can come to;
//! [`object`] decides about one `InstanceDeletion`; [`account`] decides about the rate and the order of calls at one cloud account.

pub mod account;
pub mod backoff;
pub mod by_kind;
pub mod glob;
pub mod id;
pub mod instance_facts;
pub mod object;
pub mod outcome;
pub mod settings;
pub mod state;
pub mod time;

pub use self::{
    id::{InstanceId, ServerId},
    settings::Settings,
    time::{Mono, Now, ReadTime},
};
