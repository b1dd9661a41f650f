//! A wave: the calls of one object that share a write-ahead intent.

use crate::{
    api::CallKind,
    engine::{
        id::{InstanceId, ServerId},
        state::Live,
        time::Mono,
    },
};

/// A wave whose intent is about to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wave {
    /// The claim of this process and wave.
    pub claim: String,
    /// The calls of the wave.
    pub batches: Vec<Batch>,
    /// When the oldest look that the wave rests on was sent.
    pub look_sent: Mono,
    /// The moment before the guards that the wave rests on were read.
    pub guards_read: Mono,
}

/// One call of a wave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Number of the batch in the record.
    pub number: u32,
    /// What the call asks for.
    pub kind: CallKind,
    /// 1 to 50 ids, each once.
    pub members: Vec<Member>,
}

/// One id of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The id.
    pub id: InstanceId,
    /// The state that its look showed.
    pub live: Live,
    /// Attempts of this kind that the record holds before this call.
    pub attempts: u32,
    /// Its server, by the look, if the call is to power it off.
    pub server: Option<ServerId>,
    /// If the cloud refuses its deletion for its state, it is powered off, and no attempt is used.
    pub or_powers_off: bool,
}

impl Batch {
    /// The ids of the batch.
    #[must_use]
    pub fn ids(&self) -> Vec<InstanceId> {
        self.members.iter().map(|member| member.id).collect()
    }

    /// The instances with their servers, for a call that powers them off.
    #[must_use]
    pub fn servers(&self) -> Vec<(InstanceId, ServerId)> {
        self.members.iter().filter_map(|member| Some((member.id, member.server.clone()?))).collect()
    }
}
