//! What a decision depends on, and what it says.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::InstanceDeletionStatus,
    engine::{
        account::{outage::Evidence, schedule::Watch},
        by_kind::ByKind,
        id::InstanceId,
        object::{
            report::events::Event,
            state::{guards::Guards, spec::DeletionSpec, wave::Wave},
        },
        settings::Settings,
        time::{Mono, Now},
    },
};

/// The live read that a decision is about, and what else it depends on besides the memory of this
/// process.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The spec, read live.
    pub spec: &'a DeletionSpec,
    /// The status of the same read.
    pub status: &'a InstanceDeletionStatus,
    /// Bytes that the stored object takes besides its status.
    pub other_bytes: usize,
    /// The guards of the object's namespace, if this pass has read them. Nothing is sent without.
    pub guards: Option<&'a GuardsRead>,
    /// The calls that the account has had accepted.
    pub evidence: ByKind<Evidence>,
    /// Most ids in one call: [`crate::engine::settings::BATCH_SIZE`], or fewer where the cloud
    /// refuses larger calls of the account.
    pub batch_size: usize,
    /// False while the process drains: outcomes are recorded, and nothing new is started.
    pub may_start: bool,
    /// A random token, used if this decision submits a wave.
    pub claim: &'a str,
    /// The moment of the decision.
    pub now: &'a Now,
    /// The time that the cloud told lately, if it did.
    pub cloud_time: Option<Timestamp>,
    /// Flags of the process.
    pub settings: &'a Settings,
}

/// The guards of a namespace, as one pass has read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardsRead {
    /// The guards.
    pub guards: Arc<Guards>,
    /// The moment before they were read: no call that rests on them leaves later than
    /// [`crate::engine::settings::INTENT_LIFE`] after it.
    pub at: Mono,
}

/// What to do: store `write`, then carry out `next` and `look`, then decide again at `wake` or when
/// something is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to store by compare-and-swap; none if the stored one says it all.
    pub write: Option<InstanceDeletionStatus>,
    /// Batches whose outcome the record holds once that write is acknowledged (or now, if there is
    /// none to make).
    pub records: Vec<u32>,
    /// Whether the write holds ends that looks found.
    pub holds_ends: bool,
    /// What follows the acknowledged write.
    pub next: Next,
    /// Ids to look at.
    pub look: Vec<InstanceId>,
    /// Whether that is the regular look, after which the next one is due `--poll-min` later.
    pub regular: bool,
    /// Ids that the account's schedule looks at from now on.
    pub watch: Watch,
    /// When to decide again, if nothing is heard before. None: the object is at rest until someone
    /// edits it.
    pub wake: Option<Mono>,
    /// Events to publish once the write is acknowledged.
    pub events: Vec<Event>,
}

impl Decision {
    /// A decision to do nothing.
    pub(super) fn rest() -> Self {
        Self {
            write: None,
            records: Vec::new(),
            holds_ends: false,
            next: Next::Wait,
            look: Vec::new(),
            regular: false,
            watch: Watch::default(),
            wake: None,
            events: Vec::new(),
        }
    }

    /// What is left of a decision whose wave cannot be made: nothing is written, so nothing counts
    /// as recorded, and no event is published.
    #[must_use]
    pub fn without_its_wave(self, again: Mono) -> Self {
        Self { wake: Some(again), look: self.look, regular: self.regular, watch: self.watch, ..Self::rest() }
    }
}

/// What follows the write of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Make these calls; the acknowledged write holds their intent.
    Submit(Wave),
    /// Delete the object itself, if it is still the one that was read: its
    /// `ttlSecondsAfterFinished` is over.
    Delete,
    /// Nothing.
    Wait,
}
