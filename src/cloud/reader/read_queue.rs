//! Whose turn it is to read: first come, first served among all readers of one identity.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex as Queue, time::sleep_until};

use crate::{
    clock::Clock,
    engine::{Mono, account::rate::Rate},
};

/// Whoever would wait longer than this, since the cloud asks for it, is told instead: its object says what it waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The pace of reads of one identity, and the queue for it.
pub struct ReadRate {
    /// Whoever waits for its turn holds this: calls go out in the order in which they came.
    queue: Queue<()>,
    rate: Mutex<Rate>,
}

impl ReadRate {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { queue: Queue::default(), rate: Mutex::new(rate) }
    }

    /// The pace itself.
    pub fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a call. Where the cloud asks for a long wait, returns at once what is left of it.
    pub async fn turn(&self, clock: &Clock) -> Result<(), Duration> {
        let _first = self.queue.lock().await;
        loop {
            let due = {
                let (mut rate, now) = (self.rate(), clock.mono());
                if let Some(closed) = rate.closed(now).filter(|closed| *closed > PATIENCE) {
                    return Err(closed);
                }
                if rate.take(1, now) > 0 {
                    return Ok(());
                }
                rate.due(1, now)
            };
            // A refusal that comes meanwhile moves it, so it is asked again.
            sleep_until(clock.instant(due)).await;
        }
    }

    /// Waits until a call whose turn has come leaves, now that it has all it needs, and says when that is.
    pub async fn leave(&self, clock: &Clock) -> Mono {
        let at = self.rate().departure(clock.mono());
        sleep_until(clock.instant(at)).await;
        clock.mono()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::account::rate::SlowDown;

    fn asks(wait: Duration) -> SlowDown {
        SlowDown::TooManyRequests { retry_after: Some(wait), limit: None }
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_the_order_in_which_they_were_asked_for() {
        let clock = Clock::start();
        let read_queue = Arc::new(ReadRate::new(Rate::new(2.0, clock.mono())));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (read_queue, clock, order) = (read_queue.clone(), clock.clone(), order.clone());
            waiting.spawn(async move {
                read_queue.turn(&clock).await.unwrap();
                order.lock().unwrap().push(n);
            });
            tokio::task::yield_now().await;
        }
        waiting.join_all().await;
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
        assert!(
            clock.mono() - Mono::START >= Duration::from_millis(9_400),
            "19 calls after the first at 2/s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_gate_is_waited_for_and_a_long_one_is_told() {
        for (seconds, told) in [(10, false), (11, true)] {
            let clock = Clock::start();
            let read_queue = ReadRate::new(Rate::new(2.0, clock.mono()));
            let wait = Duration::from_secs(seconds);
            read_queue.rate().refused(asks(wait), clock.mono());
            assert_eq!(read_queue.turn(&clock).await, if told { Err(wait) } else { Ok(()) });
            let waited = clock.mono() - Mono::START;
            assert!(if told { waited.is_zero() } else { waited >= wait }, "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_closes_meanwhile_is_told_to_whoever_waits() {
        let clock = Clock::start();
        let read_queue = ReadRate::new(Rate::new(0.5, clock.mono()));
        read_queue.turn(&clock).await.unwrap();
        let close = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            read_queue.rate().refused(asks(Duration::from_mins(1)), clock.mono());
        };
        let ((), turn) = tokio::join!(close, read_queue.turn(&clock));
        assert!(turn.is_err());
    }
}
