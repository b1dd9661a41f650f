//! What follows a panic of a task: its work is taken up again.
//!
//! The panic hook of the process logs and counts the panic itself. A task that must not end in silence runs its work in
//! [`caught`]; a task that the process cannot do without is waited for by `main`, which ends the process with it.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures::FutureExt;
use tokio::{task::JoinHandle, time::sleep};
use tracing::error;

/// Wait after a panic of a task that takes its work up again: a panic that repeats must not fill the log.
pub const AGAIN: Duration = Duration::from_secs(1);

/// Does some work in a task of its own. A panic is logged with the name of the task, and is handed to the task that waits for it.
///
/// Work that others wait for, or that is to go on, runs in [`caught`] inside.
pub fn task<T: Send + 'static>(
    what: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "every other task is started here")]
    tokio::spawn(async move {
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
            error!(task = what, "a task panicked");
            resume_unwind(panic)
        })
    })
}

/// Does some work. Returns `None` if it panics.
///
/// What the work leaves behind must be complete at each await, or replaced by the caller.
pub async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// Does the work that `make` makes; after a panic, logs that `what` panicked and does it anew a second later.
pub async fn restarted<W: Future>(what: &'static str, mut make: impl FnMut() -> W) -> W::Output {
    loop {
        if let Some(done) = caught(make()).await {
            return done;
        }
        error!(task = what, "a task panicked; it starts again in {} s", AGAIN.as_secs());
        sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_task_is_handed_to_the_waiting_task() {
        assert_eq!(task("test", async { 7 }).await.unwrap(), 7);
        assert!(task("test", async { panic!("expected by the test") }).await.unwrap_err().is_panic());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_is_done_anew_a_second_later() {
        let (started, mut times) = (Instant::now(), 0);
        let done = restarted("test", || {
            times += 1;
            let time = times;
            async move {
                assert!(time == 3, "panics");
                time
            }
        });
        assert_eq!((done.await, started.elapsed()), (3, AGAIN * 2));
    }
}
