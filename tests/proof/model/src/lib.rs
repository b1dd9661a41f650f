//! Explores every order of events around the engine's decisions, and judges each state.
//!
//! The decisions are the real ones: `Memory`, `CallHistory`, `AccountCalls`, `decide`, and the code that records outcomes and reads
//! in them, are those of `src/engine`, compiled without the rest of the controller. Everything around them is a model. Each
//! step that can interleave, fail, be lost or be late is an action of its own.
//!
//! In reading order:
//!
//! - [`configuration`]: sizes, and how often each fault may occur; [`configurations`]: the list;
//! - [`world`]: the state; [`facts`]: what the judge remembers;
//! - [`actions`]: what can happen next; [`carry`] does it, with [`process`], [`beside`], [`api_server`] and [`cloud`];
//! - [`judge`]: the properties, checked with the model's own knowledge and never with the engine's;
//! - [`canonical`]: which states count as one; [`digest`];
//! - [`explore`]: the search, traces, and property L1, for which [`fair`] chooses the steps when nothing fails.
//!
//! The explorer is not `stateright`, which keeps each whole state for its traces and has 64-bit digests only. Here an explored
//! state takes 40 bytes: a digest of 128 bits and the step that led to it. A trace is made by repeating its steps.

pub mod actions;
pub mod api_server;
pub mod beside;
pub mod canonical;
pub mod carry;
pub mod cloud;
pub mod configuration;
pub mod configurations;
pub mod digest;
pub mod explore;
pub mod facts;
pub mod fair;
pub mod judge;
pub mod process;
pub mod world;

use engine_purity::engine::{InstanceId, Now, Settings, object::state::spec::DeletionSpec};
use k8s_openapi::jiff::Timestamp;

use crate::{
    configuration::{Configuration, WALL_START},
    judge::Judge,
    world::World,
};

/// A configuration made ready.
pub struct Model {
    /// The configuration.
    pub configuration: Configuration,
    /// Its flags.
    pub settings: Settings,
    /// Its spec.
    pub spec: DeletionSpec,
}

impl Model {
    /// The model of a configuration.
    pub fn new(configuration: Configuration) -> Result<Self, String> {
        Ok(Self { settings: configuration.settings(), spec: configuration.spec()?, configuration })
    }

    /// Reads the clocks. Two readings are never the same moment.
    pub fn clock(&self, world: &mut World) -> Now {
        world.now = world.now + std::time::Duration::from_millis(1);
        let second = WALL_START + i64::from(world.wall) * i64::from(self.configuration.tick);
        Now { mono: world.now, wall: Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH) }
    }

    /// The position of an id of the spec.
    #[must_use]
    pub fn position(&self, id: InstanceId) -> usize {
        self.spec.ids.iter().position(|own| *own == id).unwrap_or(usize::MAX)
    }

    /// Positions of ids of the spec.
    #[must_use]
    pub fn positions(&self, ids: &[InstanceId]) -> Vec<usize> {
        ids.iter().map(|id| self.position(*id)).collect()
    }

    /// The judge of one step.
    #[must_use]
    pub fn judge(&self) -> Judge {
        Judge::default()
    }
}
