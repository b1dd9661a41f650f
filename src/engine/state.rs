//! What a read of the cloud says about one instance.

use std::fmt;

/// A state in which an instance exists and is not being deleted: the only ones in which an id may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Live {
    /// Being allocated, booting or reinstalled.
    Pending,
    /// Running.
    Running,
    /// Powered off.
    Stopped,
    /// Abnormal; after a delete call: the deletion failed (ShowInstanceStatus page: `shutting-down → error`).
    Error,
}

/// What a read says about one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It exists and is not being deleted.
    Live(Live),
    /// Its deletion is in progress.
    ShuttingDown,
    /// It is removed, and still listed.
    Terminated,
    /// HTTP 404 with an `iMetal` code from ShowInstanceStatus. One such read is no proof.
    NotFound,
    /// A state that this version does not know, or one in which it may not be sent; kept as the cloud spelled it.
    Other(StateText),
    /// The cloud answered, and no state could be read from the answer.
    Unreadable,
}

impl Seen {
    /// Reads a `state` of ShowInstanceStatus or ListInstances. `teminated` and `failed` are the spellings of SDKs before
    /// 3.1.172 and 3.1.191.
    #[must_use]
    pub fn from_state(state: &str) -> Self {
        match state {
            "pending" => Self::Live(Live::Pending),
            "running" => Self::Live(Live::Running),
            "stopped" => Self::Live(Live::Stopped),
            "error" | "failed" => Self::Live(Live::Error),
            "shutting-down" => Self::ShuttingDown,
            "terminated" | "teminated" => Self::Terminated,
            "" => Self::Unreadable,
            other => Self::Other(StateText::new(other)),
        }
    }
}

impl Seen {
    /// Whether a deletion that was accepted has come to its end, good or bad.
    #[must_use]
    pub fn is_an_end(&self) -> bool {
        match self {
            Self::Terminated | Self::NotFound | Self::Live(Live::Error) => true,
            Self::ShuttingDown
            | Self::Live(Live::Pending | Live::Running | Live::Stopped)
            | Self::Other(_)
            | Self::Unreadable => false,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live(Live::Pending) => "pending",
            Self::Live(Live::Running) => "running",
            Self::Live(Live::Stopped) => "stopped",
            Self::Live(Live::Error) => "error",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::NotFound => "not found",
            Self::Other(text) => text.as_str(),
            Self::Unreadable => "unreadable",
        })
    }
}

/// Text from the cloud, cut to 32 printable ASCII bytes: it ends up in a status and in logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateText(String);

impl StateText {
    /// Longest text kept, in bytes.
    pub const MAX: usize = 32;

    /// Keeps the first 32 characters, with everything but printable ASCII replaced.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        Self(text.chars().take(Self::MAX).map(printable).collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_states_of_every_version() {
        let table = [
            ("pending", Seen::Live(Live::Pending)),
            ("running", Seen::Live(Live::Running)),
            ("stopped", Seen::Live(Live::Stopped)),
            ("error", Seen::Live(Live::Error)),
            ("failed", Seen::Live(Live::Error)),
            ("shutting-down", Seen::ShuttingDown),
            ("terminated", Seen::Terminated),
            ("teminated", Seen::Terminated),
            ("", Seen::Unreadable),
            ("stopping", Seen::Other(StateText::new("stopping"))),
            ("reinstalling", Seen::Other(StateText::new("reinstalling"))),
            ("modifyIping", Seen::Other(StateText::new("modifyIping"))),
            ("Terminated", Seen::Other(StateText::new("Terminated"))),
        ];
        for (text, expected) in table {
            assert_eq!(Seen::from_state(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_deletion_is_over_well_or_badly_or_it_goes_on() {
        let over = [Seen::Terminated, Seen::NotFound, Seen::Live(Live::Error)];
        assert!(over.iter().all(Seen::is_an_end));
        let live = [Live::Pending, Live::Running, Live::Stopped].map(Seen::Live);
        let other = [Seen::ShuttingDown, Seen::Unreadable, Seen::Other(StateText::new("x"))];
        assert!(!live.iter().chain(&other).any(Seen::is_an_end));
    }

    #[test]
    fn t07_whatever_is_not_documented_is_no_end() {
        let words = [
            "deleted",
            "destroyed",
            "deleting",
            "terminating",
            "released",
            "removed",
            "gone",
            "absent",
            "melting",
            "none",
            "unknown",
            "null",
            "not found",
            "terminated ",
            " terminated",
            "TERMINATED",
            "terminated,running",
            "xterminated",
            "terminated2",
            "shutting_down",
            "Shutting-Down",
            "shuttingdown",
            "archived",
            "purged",
            "expired",
            "0",
        ];
        for word in words {
            assert_eq!(Seen::from_state(word), Seen::Other(StateText::new(word)));
        }
    }

    #[test]
    fn t07_an_unknown_state_is_kept_bounded_and_printable_and_is_no_end() {
        let seen = Seen::from_state("quarantined\n\u{1b}[31m and a text that is much too long to keep");
        let Seen::Other(text) = seen else { panic!("{seen:?}") };
        assert_eq!(text.as_str(), "quarantined??[31m and a text tha");
    }
}
