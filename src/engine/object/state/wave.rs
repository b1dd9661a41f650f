//! A wave: the delete calls of one object that share a write-ahead intent.

use crate::engine::{id::InstanceId, state::Live, time::Mono};

/// A wave whose intent is about to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wave {
    /// The claim of this process and wave.
    pub claim: String,
    /// The calls of the wave.
    pub batches: Vec<Batch>,
    /// When the oldest look that the wave rests on was sent.
    pub look_sent: Mono,
}

/// One delete call of a wave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Number of the batch in the record.
    pub number: u32,
    /// 1 to 50 ids, each once.
    pub members: Vec<Member>,
}

/// One id of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The id.
    pub id: InstanceId,
    /// The state that its look showed.
    pub live: Live,
    /// Attempts that the record holds before this call.
    pub attempts: u32,
}

impl Batch {
    /// The ids of the batch.
    #[must_use]
    pub fn ids(&self) -> Vec<InstanceId> {
        self.members.iter().map(|member| member.id).collect()
    }
}
