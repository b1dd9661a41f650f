//! What can go wrong with a measurement.

use std::time::Duration;

/// A measurement that can't be made, or that means nothing.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The control plane, the controller or kubectl.
    #[error(transparent)]
    Harness(#[from] control_plane::Error),
    /// Something of the system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A request that brought no reply.
    #[error("a request: {0}")]
    Request(#[from] reqwest::Error),
    /// A reply that no script would go on after.
    #[error("the cloud answered the baseline with {status}: {body}")]
    Reply {
        /// HTTP status.
        status: u16,
        /// Body.
        body: String,
    },
    /// Text that should be JSON.
    #[error("{what}: {source}")]
    Json {
        /// What it is.
        what: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// A file of `/proc` without the field.
    #[error("no {0} in /proc")]
    Proc(&'static str),
    /// No number of writes.
    #[error("etcd counts {0} writes")]
    Version(String),
    /// Objects that did not come to where they should.
    #[error("not within {waited:?}: {what}")]
    TooSlow {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// An object that did not end well although the cloud had no faults.
    #[error("{name} ended with {reason}")]
    BadEnd {
        /// Its name.
        name: String,
        /// Reason of `Finished`.
        reason: String,
    },
    /// An instance whose end nobody has read, although everything is said to be over.
    #[error("nobody has read the end of {0}")]
    NeverRead(String),
    /// The baseline ended early.
    #[error("the baseline ended with {status}: {log}")]
    Baseline {
        /// How.
        status: std::process::ExitStatus,
        /// What it said.
        log: String,
    },
    /// A thread of a run panicked.
    #[error("a run panicked; see above")]
    Panicked,
    /// `--only` with another name.
    #[error("there is no scenario {name}; there are: {known}")]
    NoScenario {
        /// The name.
        name: String,
        /// Those that exist.
        known: String,
    },
}

impl BenchError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    pub(crate) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { what, source }
    }
}
