//! A watch that lists anew from time to time, whenever what it resumes from is too old, when the API server is found to hold
//! older data than before, and when a list makes no progress.
//!
//! kube's watcher lists again only when an event in the stream says 410. It never does after an HTTP 410, which a proxy may
//! send; a watch that resumes from the future, after etcd was restored, stays silent; and its lists have no time limit.

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

/// Longest time in which a list brings no object: a page is one request, and kube sets no limit to it. Three times the
/// deadline of the controller's other requests, since a page may hold 13 MB; half of the 60 s after which the API server ends a
/// request by itself. A list that makes progress may take longer.
const LIST_SILENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
#[error("the list brought nothing for {} s", LIST_SILENCE.as_secs())]
struct ListStalled;

/// A watch, and what it waits for.
struct Current<W> {
    watch: W,
    /// The list is not complete.
    lists: bool,
    /// A watch whose list is complete ends then.
    until: Instant,
}

/// The events of the watches that `make` makes, one after the other: none goes on longer than `every` after its list, none
/// after `relist` has told something, and none in whose list nothing comes for [`LIST_SILENCE`].
pub fn renewed<K, W>(
    make: impl FnMut() -> W,
    every: Duration,
    relist: Receiver<()>,
) -> impl Stream<Item = Result<Event<K>>>
where
    W: Stream<Item = Result<Event<K>>> + Unpin,
{
    stream::unfold((None, make, relist), move |(watch, mut make, mut relist)| async move {
        let mut current: Option<Current<W>> = watch;
        loop {
            let mut watch = current.take().unwrap_or_else(|| {
                let now = Instant::now();
                Current { watch: make(), lists: true, until: now + every }
            });
            let limit = if watch.lists { Instant::now() + LIST_SILENCE } else { watch.until };
            let event = tokio::select! {
                event = timeout_at(limit, watch.watch.next()) => event,
                () = told(&mut relist) => continue,
            };
            match event {
                Ok(Some(event)) => {
                    match event {
                        Ok(Event::Init) => watch.lists = true,
                        Ok(Event::InitDone) => (watch.lists, watch.until) = (false, Instant::now() + every),
                        Ok(_) | Err(_) => {}
                    }
                    let next = (!too_old(&event)).then_some(watch);
                    return Some((event, (next, make, relist)));
                }
                Err(_) if watch.lists => {
                    let stalled = Error::InitialListFailed(ClientError::Service(Box::new(ListStalled)));
                    return Some((Err(stalled), (None, make, relist)));
                }
                Ok(None) | Err(_) => {}
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
            // The first is in the middle of its list.
            let list = [Ok(Event::<u32>::Init), Ok(Event::InitDone)];
            stream::iter(list.into_iter().take(made.get())).chain(stream::pending())
        };
        let (tells, relist) = tokio::sync::watch::channel(());
        let mut watches = pin!(renewed(make, Duration::from_mins(10), relist));
        assert!(matches!(watches.next().await, Some(Ok(Event::Init))));
        tells.send(()).unwrap();
        assert!(matches!(watches.next().await, Some(Ok(Event::Init))));
        assert!(matches!(watches.next().await, Some(Ok(Event::InitDone))));
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

    #[tokio::test(start_paused = true)]
    async fn k08_a_list_that_brings_nothing_fails_and_is_made_again() {
        // Each page comes after so many seconds.
        let paged = |pages: Vec<u64>| {
            let page = |seconds| async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(Event::InitApply(0))
            };
            let pages = stream::iter(pages).then(page);
            stream::iter([Ok(Event::<u32>::Init)])
                .chain(pages)
                .chain(stream::iter([Ok(Event::InitDone)]))
                .boxed()
        };
        // The first list hangs after a page; the second is slow and complete.
        let mut lists = vec![vec![29, 29, 29, 29, 29], vec![10, 31]].into_iter().rev();
        let make = || paged(lists.next().unwrap_or_default());
        let (_tells, relist) = tokio::sync::watch::channel(());
        let mut watches = pin!(renewed(make, Duration::from_mins(1), relist));
        let started = Instant::now();
        let mut told = Vec::new();
        while told.len() < 10 {
            let what = match watches.next().await.unwrap() {
                Ok(Event::Init) => "init",
                Ok(Event::InitDone) => "done",
                Ok(_) => "page",
                Err(Error::InitialListFailed(error)) => {
                    assert!(error.to_string().contains("brought nothing for 30 s"), "{error}");
                    "failed"
                }
                Err(error) => panic!("{error}"),
            };
            told.push((what, started.elapsed().as_secs()));
        }
        let expected = [
            ("init", 0),
            ("page", 10),
            ("failed", 40),
            ("init", 40),
            ("page", 69),
            ("page", 98),
            ("page", 127),
            ("page", 156),
            ("page", 185),
            ("done", 185),
        ];
        assert_eq!(told, expected);
    }
}
