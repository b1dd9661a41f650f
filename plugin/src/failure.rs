//! How a command fails: an exit code, and one sentence that says what to do.

use std::fmt;

use instance_deletion_controller::text::without_passwords;

/// Exit codes beside 0, as `--help` documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is not so, or could not be done.
    Failed = 1,
    /// The command line can't be carried out.
    Usage = 2,
    /// The time limit passed first.
    StillRunning = 3,
}

/// Why a command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    message: String,
}

impl Failure {
    /// What was asked for is not so, or could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// The command line can't be carried out.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// The time limit passed first.
    pub fn still_running(message: impl Into<String>) -> Self {
        Self { exit: Exit::StillRunning, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_passwords(&self.message))
    }
}
