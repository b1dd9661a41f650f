//! `kubectl idel` as a process, against a real kube-apiserver and a simulated CloudDC.
//!
//! Where a test needs a certain status, it writes the status itself, and no controller runs in its namespace. Outputs are
//! compared as a whole.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod completion;
mod docs;
mod errors;
mod explain;
mod generate;
mod hold;
mod plan;
mod reads_only;
mod report;
mod retire;
mod retry;
mod support;
mod terminal;
mod watch;
