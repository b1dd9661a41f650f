//! How many objects are loaded at once, and which: an object of 5,000 ids takes some MB while it is decided upon.

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// Objects at once.
const ALL: usize = 4;
/// Of these, objects that make no calls now. At the start ten thousand may want to be read, and when many instances end at once,
/// hundreds have something to write: one that has calls to make would lose its turn behind them.
const WITHOUT_CALLS: usize = ALL - 1;

/// Slots for objects that are decided upon: first come, first served, but whoever makes calls is kept waiting by none that
/// makes none.
pub struct Slots {
    all: Semaphore,
    without_calls: Semaphore,
}

/// Held while an object is decided upon.
pub struct Slot<'a> {
    _one: SemaphorePermit<'a>,
    _without_calls: Option<SemaphorePermit<'a>>,
}

impl Slots {
    /// All of them free.
    #[must_use]
    pub fn new() -> Self {
        Self { all: Semaphore::new(ALL), without_calls: Semaphore::new(WITHOUT_CALLS) }
    }

    /// Waits for a slot. `calls` is from when on the object makes calls, if it does. None once the process ends.
    pub async fn take(&self, calls: Option<Instant>) -> Option<Slot<'_>> {
        let makes_calls = async {
            match calls {
                Some(moment) => sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let without_calls = tokio::select! {
            biased;
            () = makes_calls => None,
            permit = self.without_calls.acquire() => Some(permit.ok()?),
        };
        Some(Slot { _one: self.all.acquire().await.ok()?, _without_calls: without_calls })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::mpsc;

    use super::*;

    /// Whoever takes a slot says its number, and gives the slot back when it is told to.
    struct Crowd {
        slots: Arc<Slots>,
        said: (mpsc::UnboundedSender<usize>, mpsc::UnboundedReceiver<usize>),
        leave: Arc<Semaphore>,
    }

    impl Crowd {
        fn new() -> Self {
            let leave = Arc::new(Semaphore::new(0));
            Self { slots: Arc::new(Slots::new()), said: mpsc::unbounded_channel(), leave }
        }

        async fn comes(&self, number: usize, calls: Option<Instant>) {
            let (slots, say, leave) = (self.slots.clone(), self.said.0.clone(), self.leave.clone());
            tokio::spawn(async move {
                let slot = slots.take(calls).await;
                say.send(number).unwrap();
                leave.acquire().await.unwrap().forget();
                drop(slot);
            });
            tokio::task::yield_now().await;
        }

        /// Who has taken a slot since the last time.
        async fn inside(&mut self) -> Vec<usize> {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            std::iter::from_fn(|| self.said.1.try_recv().ok()).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_slot_is_left_for_whoever_makes_calls() {
        let mut crowd = Crowd::new();
        for number in 0..6 {
            crowd.comes(number, None).await;
        }
        assert_eq!(crowd.inside().await, [0, 1, 2]);
        crowd.comes(10, Some(Instant::now())).await;
        assert_eq!(crowd.inside().await, [10]);
        crowd.comes(11, Some(Instant::now())).await;
        assert_eq!(crowd.inside().await, [] as [usize; 0], "no more than four");
        crowd.leave.add_permits(1);
        assert_eq!(crowd.inside().await, [11], "before the three that came sooner");
        crowd.leave.add_permits(4);
        assert_eq!(crowd.inside().await, [3, 4, 5], "in the order in which they came");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_due_while_an_object_waits_count() {
        let mut crowd = Crowd::new();
        for number in 0..4 {
            crowd.comes(number, None).await;
        }
        let soon = Instant::now() + Duration::from_secs(2);
        crowd.comes(10, Some(soon)).await;
        assert_eq!(crowd.inside().await, [0, 1, 2]);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(crowd.inside().await, [10]);
    }
}
