//! Why a request to the API server did not succeed.

use std::{fmt, time::Duration};

use kube::core::Status;

use crate::text::bounded;

/// A request that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The API server refused it.
    Refused(Box<Status>),
    /// No usable answer came. Whether the request had an effect is unknown.
    Unavailable(Unavailable),
}

/// The API server was not reached, failed, or gave an answer that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The cause, at most 256 characters.
    pub why: String,
    /// How long the API server asks clients to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Unavailable {
    /// A failure for which the API server named no time to wait.
    pub fn new(why: &dyn fmt::Display) -> Self {
        Self { why: bounded(&why.to_string()), retry_after: None }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Failure {
    /// Whether the API server says that no object of this name exists. Any other 404, such as that of a proxy or of a
    /// resource that is not served yet, says nothing about the object.
    pub fn is_gone(&self, name: &str) -> bool {
        matches!(self, Self::Refused(status)
            if status.is_not_found() && status.details.as_ref().is_some_and(|details| details.name == name))
    }

    /// Turns a refusal that has no meaning of its own for the caller into [`Unavailable`].
    pub fn unavailable(self) -> Unavailable {
        match self {
            Self::Refused(status) => {
                let retry_after = status.details.as_ref().map(|details| details.retry_after_seconds);
                let retry_after = retry_after.filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()));
                Unavailable { why: bounded(&status.message), retry_after }
            }
            Self::Unavailable(unavailable) => unavailable,
        }
    }
}
