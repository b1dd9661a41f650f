//! Errors, with what to do about them.

use std::{io, path::PathBuf};

/// Why a program or server of the control plane can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An I/O error of a file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No Go toolchain.
    #[error(
        "the command `go` was not found: install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl"
    )]
    NoGo,
    /// The programs are missing, and the caller asked for no build.
    #[error(
        "{folder} does not hold all programs of `{module}`: `cargo run -p control-plane -- build {module}` makes it"
    )]
    NotBuilt {
        /// Where they would be.
        folder: PathBuf,
        /// Which programs.
        module: &'static str,
    },
    /// The build failed.
    #[error("building {program} failed; the end of its output:\n{output}")]
    Build {
        /// What was built.
        program: &'static str,
        /// The last lines.
        output: String,
    },
    /// Go cannot tell where the sources of a dependency are.
    #[error("go does not find the sources of {dependency}:\n{output}")]
    Source {
        /// The module.
        dependency: String,
        /// What Go said.
        output: String,
    },
    /// `KUBEBUILDER_ASSETS` does not hold the programs.
    #[error("KUBEBUILDER_ASSETS names {folder}, which has no {program}")]
    Assets {
        /// The folder.
        folder: PathBuf,
        /// What is missing.
        program: &'static str,
    },
    /// A server did not start, or ended by itself.
    #[error("{what}; the ends of the logs:\n{log}")]
    NotReady {
        /// Which server, and how it failed.
        what: String,
        /// The last lines of both servers.
        log: String,
    },
    /// The control plane that all tests of the process share did not start. Only the first test tries.
    #[error("{0}")]
    Shared(&'static Error),
    /// kubectl, or helm, answered with an error.
    #[error("{command} failed: {stderr}")]
    Kubectl {
        /// What was called.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// A process missed a deadline.
    #[error("{0} in time")]
    Deadline(String),
    /// A process did not print the expected line.
    #[error("{program} {what}, and did not print the expected line; the end of its output:\n{log}")]
    NoLine {
        /// Which process.
        program: String,
        /// Whether it ended or was too slow.
        what: String,
        /// The last lines.
        log: String,
    },
    /// The key for ServiceAccount tokens could not be made.
    #[error("no key could be made: {0}")]
    Key(#[from] rcgen::Error),
}

impl Error {
    /// Wraps an I/O error with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
