//! A look: a request to read instances, and what receives its readings.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::engine::{
    InstanceId, ReadTime,
    instance_facts::InstanceFacts,
    outcome::{CloudMessage, LookFailure, Trouble},
    state::Seen,
};

/// What a read showed of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The instance.
    pub id: InstanceId,
    /// What was seen.
    pub seen: Seen,
    /// When the read was made.
    pub read: ReadTime,
    /// The instance's facts, if the read told any.
    pub facts: Option<Arc<InstanceFacts>>,
}

/// Receives what a look brings. The reader calls both methods on its own task: they must not block.
pub trait LookHandler: Send + 'static {
    /// Takes a reading as soon as its reply is read, though other ids of the look may take minutes more. An id may be read
    /// twice, if the instance stands on two pages of a list: the later reading counts.
    fn reading(&mut self, reading: &Reading);

    /// Some ids of the look can't be read as quickly as the others: a list that names them failed and is split. The
    /// readings so far are worth a decision now.
    fn delayed(&mut self) {}

    /// The look is over. Without a failure every id was read.
    fn ended(self: Box<Self>, failure: Option<LookFailure>);
}

/// A look that is registered.
pub struct Look {
    /// What to look at.
    pub ids: Vec<InstanceId>,
    /// Who wants to know.
    pub handler: Box<dyn LookHandler>,
    /// Given back once all ids of the look are in calls.
    pub room: Option<OwnedSemaphorePermit>,
}

/// The failure of a look that this process gives up for a reason of its own.
pub fn own_failure(trouble: Trouble, text: &str) -> LookFailure {
    let message = CloudMessage { text: text.to_owned(), ..CloudMessage::default() };
    LookFailure { trouble, message, secret_version: None }
}
