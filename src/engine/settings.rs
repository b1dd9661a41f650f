//! The numbers that decisions depend on, from the flags of the process.

use std::time::Duration;

/// Most ids in one delete call (DeleteInstances page: `instance_id_set`, at most 50).
pub const BATCH_SIZE: usize = 50;
/// Most ids in one read (ListInstances page: `instance_id`, at most 100).
pub const READ_SIZE: usize = 100;
/// A look counts for a call if its read was sent less than this before the call leaves.
pub const LOOK_LIFE: Duration = Duration::from_mins(1);
/// A call leaves at most this long after the write of its intent was first sent.
pub const INTENT_LIFE: Duration = Duration::from_secs(5);
/// An accepted instance that still shows a live state is sent again after this many times `settle`.
pub const PATIENCE: u32 = 10;
/// Rows that `status.batches` keeps.
pub const BATCH_ROWS: usize = 128;
/// An object with its status stays below this many bytes (etcd ends at 1.5 MiB): 1.3 MiB.
pub const STORED_LIMIT: usize = 1_363_148;
/// After this many unknown outcomes in a row, while other calls of its account are accepted in between, a batch is halved; an
/// id alone in its batch is given up.
pub const UNKNOWN_LIMIT: u32 = 5;
/// Delete attempts for one id beyond the first, unless the spec says otherwise.
pub const BACKOFF_LIMIT: u32 = 5;
/// How far the time that the cloud tells may be behind this machine's and still agree: its `Date` has seconds, and its clock
/// may be a little wrong too.
pub const CLOUD_BEHIND: Duration = Duration::from_secs(30);
/// While an object waits for its Secret, or its credentials are refused, the Secret is read this often.
pub const SECRET_REREAD: Duration = Duration::from_secs(15);

/// Flags that decisions depend on; see `--help` for the meaning of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `--parallel-calls`.
    pub parallel_calls: usize,
    /// `--poll-min`.
    pub poll_min: Duration,
    /// `--poll-max`.
    pub poll_max: Duration,
    /// `--settle`.
    pub settle: Duration,
    /// `--retry-min`.
    pub retry_min: Duration,
    /// `--retry-max`.
    pub retry_max: Duration,
    /// `--request-timeout`.
    pub request_timeout: Duration,
    /// `--stuck-after`.
    pub stuck_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallel_calls: 4,
            poll_min: Duration::from_secs(5),
            poll_max: Duration::from_mins(2),
            settle: Duration::from_secs(30),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_mins(5),
            request_timeout: Duration::from_secs(30),
            stuck_after: Duration::from_hours(1),
        }
    }
}
