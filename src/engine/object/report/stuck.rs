//! Stuck ids: those that are open for longer than `--stuck-after`, and the message about them.

use std::time::Duration;

use crate::api::InstanceDeletionStatus;

/// Ids that are open for longer than `--stuck-after`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stuck {
    /// How many.
    pub count: usize,
    /// How many of them the cloud has accepted.
    pub accepted: usize,
    /// One of them, an accepted one if there is one, with what the last read of it showed.
    pub example: String,
    /// `--stuck-after`.
    pub after: Duration,
}

impl Stuck {
    const SIGN: &str = " open for more than ";

    /// What `Ready` says of them.
    #[must_use]
    pub fn message(&self) -> String {
        let Self { count, example, after, .. } = self;
        format!(
            "; {count} instances{}{} s, such as {example}: {}",
            Self::SIGN,
            after.as_secs(),
            self.advice()
        )
    }

    /// What a person can do.
    #[must_use]
    pub fn advice(&self) -> String {
        match self.accepted {
            0 => "none of them is known to be accepted by the cloud".to_owned(),
            accepted if accepted == self.count => "ask the vendor, looking goes on".to_owned(),
            accepted => format!("the cloud has accepted {accepted} of them: ask the vendor, looking goes on"),
        }
    }

    /// Whether a status says so already.
    #[must_use]
    pub fn is_said(status: &InstanceDeletionStatus) -> bool {
        status.conditions.iter().any(|c| c.type_ == "Ready" && c.message.contains(Self::SIGN))
    }
}
