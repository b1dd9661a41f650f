//! The rate of reads of one identity, and the queue for it.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::Mutex as Queue, time::sleep_until};

use crate::{
    clock::Clock,
    cloud::credential::Identity,
    engine::{Mono, account::rate::Rate},
    lock::lock,
};

/// Longest wait that the cloud may ask for and the reader serves in silence. A longer one fails the look instead, so that
/// its object says what it waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the rate of reads of an identity.
pub type RateOf = Arc<dyn Fn(&Identity) -> Arc<ReadRate> + Send + Sync>;

/// The rate of reads of one identity. Several readers may share it: one for each Secret that holds the identity.
pub struct ReadRate {
    /// Held by the first in the queue. A reader waits with one call at a time, so readers take turns, however much each
    /// has to read.
    queue: Queue<()>,
    rate: Mutex<Rate>,
}

impl ReadRate {
    /// A rate that nothing waits for.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { queue: Queue::default(), rate: Mutex::new(rate) }
    }

    /// The rate itself.
    pub fn rate(&self) -> MutexGuard<'_, Rate> {
        lock(&self.rate)
    }

    /// Waits until one call is granted. Returns the wait at once where the cloud asks for more than [`PATIENCE`].
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
            // A refusal may come meanwhile and move the moment, so the loop asks again.
            sleep_until(clock.instant(due)).await;
        }
    }

    /// Waits until a granted call may leave, and returns that moment.
    pub async fn leave(&self, clock: &Clock) -> Mono {
        let at = self.rate().departure(clock.mono());
        sleep_until(clock.instant(at)).await;
        clock.mono()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::account::rate::SlowDown;

    fn asks(wait: Duration) -> SlowDown {
        SlowDown::TooManyRequests { retry_after: Some(wait), limit: None }
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_the_order_in_which_they_were_asked_for() {
        let clock = Clock::start();
        let read_rate = Arc::new(ReadRate::new(Rate::new(2.0, clock.mono())));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (read_rate, clock, order) = (read_rate.clone(), clock.clone(), order.clone());
            waiting.spawn(async move {
                read_rate.turn(&clock).await.unwrap();
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
            let read_rate = ReadRate::new(Rate::new(2.0, clock.mono()));
            let wait = Duration::from_secs(seconds);
            read_rate.rate().refused(asks(wait), clock.mono());
            assert_eq!(read_rate.turn(&clock).await, if told { Err(wait) } else { Ok(()) });
            let waited = clock.mono() - Mono::START;
            assert!(if told { waited.is_zero() } else { waited >= wait }, "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_closes_meanwhile_is_told_to_waiting_callers() {
        let clock = Clock::start();
        let read_rate = ReadRate::new(Rate::new(0.5, clock.mono()));
        read_rate.turn(&clock).await.unwrap();
        let close = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            read_rate.rate().refused(asks(Duration::from_mins(1)), clock.mono());
        };
        let ((), turn) = tokio::join!(close, read_rate.turn(&clock));
        assert!(turn.is_err());
    }
}
