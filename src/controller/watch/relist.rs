//! A watch that lists anew from time to time, whenever what it resumes from is too old, and when the API server is found to hold
//! older data than before.
//!
//! kube's watcher lists again only when an event in the stream says 410. It never does after an HTTP 410, which a proxy may
//! send, and a watch that resumes from the future, after etcd was restored, stays silent.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::{
    Error as ClientError,
    runtime::watcher::{Error, Event, Result},
};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, timeout_at},
};

/// The events of the watches that `make` makes, one after the other, none longer than `every`, and none longer than until
/// `relist` tells something.
pub fn renewed<K, W>(
    make: impl FnMut() -> W,
    every: Duration,
    relist: Receiver<()>,
) -> impl Stream<Item = Result<Event<K>>>
where
    W: Stream<Item = Result<Event<K>>> + Unpin,
{
    stream::unfold((None, make, relist), move |(watch, mut make, mut relist)| async move {
        let mut current = watch;
        loop {
            let (mut watch, until) = current.take().unwrap_or_else(|| (make(), Instant::now() + every));
            let event = tokio::select! {
                event = timeout_at(until, watch.next()) => event.ok().flatten(),
                () = told(&mut relist) => None,
            };
            if let Some(event) = event {
                let next = (!too_old(&event)).then_some((watch, until));
                return Some((event, (next, make, relist)));
            }
        }
    })
}

async fn told(relist: &mut Receiver<()>) {
    if relist.changed().await.is_err() {
        // Nobody is left who could tell.
        std::future::pending::<()>().await;
    }
}

fn too_old<K>(event: &Result<Event<K>>) -> bool {
    matches!(event, Err(Error::WatchStartFailed(ClientError::Api(status))) if status.code == 410)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, pin::pin};

    use kube::core::Status;

    use super::*;

    fn failed(code: u16) -> Result<Event<u32>> {
        let status = Status::failure("scripted", "Scripted").with_code(code);
        Err(Error::WatchStartFailed(ClientError::Api(status.boxed())))
    }

    /// How many watches it takes to tell `n` events, when each tells these events and then is silent.
    async fn made(events: impl Fn() -> Vec<Result<Event<u32>>>, n: usize) -> usize {
        let made = Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            stream::iter(events()).chain(stream::pending())
        };
        let (_tells, relist) = tokio::sync::watch::channel(());
        let watches = pin!(renewed(make, Duration::from_mins(10), relist));
        assert_eq!(watches.take(n).count().await, n);
        made.get()
    }

    #[tokio::test(start_paused = true)]
    async fn k09_a_watch_that_tells_nothing_more_is_made_anew() {
        let started = Instant::now();
        assert_eq!(made(|| vec![Ok(Event::Init), Ok(Event::InitDone)], 6).await, 3);
        assert_eq!(started.elapsed(), Duration::from_mins(20));
    }

    #[tokio::test(start_paused = true)]
    async fn x01_a_watch_is_made_anew_when_older_data_is_found_and_goes_on_when_nobody_can_tell() {
        let started = Instant::now();
        let made = Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            stream::iter([Ok(Event::<u32>::Init)]).chain(stream::pending())
        };
        let (tells, relist) = tokio::sync::watch::channel(());
        let mut watches = pin!(renewed(make, Duration::from_mins(10), relist));
        assert!(matches!(watches.next().await, Some(Ok(Event::Init))));
        tells.send(()).unwrap();
        assert!(matches!(watches.next().await, Some(Ok(Event::Init))));
        assert_eq!((made.get(), started.elapsed()), (2, Duration::ZERO));
        drop(tells);
        assert!(matches!(watches.next().await, Some(Ok(Event::Init))));
        assert_eq!((made.get(), started.elapsed()), (3, Duration::from_mins(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn k07_a_watch_that_can_not_be_resumed_is_made_anew_at_once() {
        let started = Instant::now();
        assert_eq!(made(|| vec![Ok(Event::Init), failed(410), failed(503)], 4).await, 2);
        assert_eq!(started.elapsed(), Duration::ZERO);
        // Any other failure is tried again by kube, after a backoff.
        assert_eq!(made(|| vec![Ok(Event::Init), failed(503), failed(403), failed(503)], 4).await, 1);
    }
}
