//! Which object to look at: a watch of metadata, one for each namespace that the process works on.

mod relist;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{
        Config as ControllerConfig, Controller, Predicate, PredicateConfig, WatchStreamExt,
        controller::{Action, Error as ControllerError},
        predicates, reflector, watcher,
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::relist::renewed;
use super::{
    api_server::{Key, requests::bounded},
    drain::drain,
    reconcile::{forget_if_gone, reconcile},
    state::context::Context,
};
use crate::{
    api::InstanceDeletion,
    scope::{Scope, Selector},
};

/// Client-side apply stores the spec a second time here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Objects in one page of the list: each may carry an annotation of 256 KiB until it is stripped.
const PAGE: u32 = 50;
/// Seconds after which the API server ends a watch and is asked for another. kube gives up a watch that brings nothing, not
/// even its end, 5 s later: so long may a new object stay unseen behind a connection that has died in silence.
const WATCH_SECONDS: u32 = 30;
/// So long may an event stay unheard that a watch, alive by all signs, has lost.
const RENEWAL: Duration = Duration::from_mins(10);
/// Objects that are forgotten at once: a thousand deletes together are no thousand reads together.
const FORGET_AT_ONCE: usize = 4;
/// For a list before the process may lead, and between two of them.
const TRY: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(2);

type Meta = PartialObjectMeta<InstanceDeletion>;

/// A watch ended although nobody stopped it.
#[derive(Debug, thiserror::Error)]
#[error("the watch of InstanceDeletions ended")]
pub struct WatchError;

/// Works until `stop`, then drains. `ready` is called once, when every watch has its first list.
pub async fn run(
    context: Arc<Context>,
    scope: Scope,
    wakes: Vec<mpsc::UnboundedReceiver<Key>>,
    ready: impl FnOnce() + Send + 'static,
    stop: CancellationToken,
) -> Result<(), WatchError> {
    let namespaces = scope.watches();
    let unready = Arc::new(AtomicUsize::new(namespaces.len()));
    let (synced, all_synced) = tokio::sync::oneshot::channel();
    let synced = Arc::new(std::sync::Mutex::new(Some(synced)));
    let mut watches: FuturesUnordered<_> = namespaces
        .into_iter()
        .zip(wakes)
        .map(|(namespace, wakes)| {
            let (unready, synced) = (unready.clone(), synced.clone());
            let on_sync = move || {
                if unready.fetch_sub(1, Ordering::SeqCst) == 1
                    && let Some(synced) = crate::lock::lock(&synced).take()
                {
                    let _ = synced.send(());
                }
            };
            watch(context.clone(), namespace, scope.selector(), wakes, on_sync)
        })
        .collect();
    tokio::spawn(async move {
        if all_synced.await.is_ok() {
            ready();
        }
    });
    let stopped = async {
        stop.cancelled().await;
        drain(&context).await;
    };
    // Dropping the watches aborts what they still do. kube's own graceful shutdown would wait for a first list that may
    // never come.
    tokio::select! {
        _ = watches.next() => Err(WatchError),
        () = stopped => Ok(()),
    }
}

/// Waits until this process may list what it works on: one that can't must not take the place of one that can.
pub async fn listable(client: Client, scope: Scope) {
    let one = ListParams::default().limit(1).labels(&scope.selector().to_string());
    for namespace in scope.watches() {
        let api = api_of(&client, namespace.as_deref());
        loop {
            let error = match tokio::time::timeout(TRY, api.list_metadata(&one)).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", TRY.as_secs()),
            };
            warn!(error = bounded(&error), "InstanceDeletions can't be listed; tried again");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn api_of(client: &Client, namespace: Option<&str>) -> Api<Meta> {
    match namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

async fn watch(
    context: Arc<Context>,
    namespace: Option<String>,
    selector: &Selector,
    wakes: mpsc::UnboundedReceiver<Key>,
    on_sync: impl FnOnce() + Send + 'static,
) {
    let api = api_of(context.api.client(), namespace.as_deref());
    let config = watcher::Config { page_size: Some(PAGE), ..watcher::Config::default() };
    let config = config.timeout(WATCH_SECONDS);
    let config = if selector.is_empty() { config } else { config.labels(&selector.to_string()) };
    let (reader, writer) = reflector::store();
    let mut on_sync = Some(on_sync);
    let (metrics, mut listed) = (context.metrics.clone(), false);
    let make = move || watcher(api.clone(), config.clone()).boxed();
    let stream = renewed(make, RENEWAL, context.relist.subscribe())
        .default_backoff()
        // Not `wait_until_ready` of the store: the Controller waits on it too, and only its last waiter is woken.
        .inspect(move |event| {
            match event {
                Ok(watcher::Event::Init) if std::mem::replace(&mut listed, true) => metrics.watch_restarted(),
                Err(_) => metrics.watch_failed(),
                Ok(_) => {}
            }
            if matches!(event, Ok(watcher::Event::InitDone))
                && let Some(on_sync) = on_sync.take()
            {
                on_sync();
            }
        })
        .modify(|object: &mut Meta| {
            object.metadata.managed_fields = None;
            object.annotations_mut().remove(LAST_APPLIED);
        })
        .reflect(writer);
    let (leave, left) = mpsc::unbounded_channel();
    let by_event = (leave.clone(), context.clone(), reader.clone());
    let stream = stream.inspect(move |event| {
        let (leave, context, store) = &by_event;
        for key in gone_by(event, context, store, namespace.as_deref()) {
            let _ = leave.send(key);
        }
    });
    let left = futures::stream::unfold(left, |mut left| async move { Some((left.recv().await?, left)) });
    let forget = left.for_each_concurrent(FORGET_AT_ONCE, {
        let context = context.clone();
        move |key: Key| {
            let context = context.clone();
            async move { forget_if_gone(&context, &key).await }
        }
    });
    let stream = stream.applied_objects().predicate_filter(
        predicates::generation.combine(predicates::annotations),
        PredicateConfig::default(),
    );
    let wakes = futures::stream::unfold(wakes, |mut wakes| async move {
        let key: Key = wakes.recv().await?;
        let object = reflector::ObjectRef::<Meta>::new(&key.name).within(&key.namespace);
        Some((object, wakes))
    });
    let work = Controller::for_stream(stream, reader)
        // Unbounded here, since kube's own bound starves objects; the slots of the context are taken in order.
        .with_config(ControllerConfig::default().concurrency(0))
        .reconcile_on(wakes)
        .run(
            |object: Arc<Meta>, context: Arc<Context>| async move {
                let key = key_of(&object);
                let again = reconcile(&context, &key).await;
                Ok::<_, std::convert::Infallible>(again.map_or_else(Action::await_change, Action::requeue))
            },
            |_, _, _| Action::requeue(Duration::from_mins(1)),
            context.clone(),
        )
        .for_each(|result| {
            match result {
                // An object that is gone: no delete ever reaches reconcile.
                Err(ControllerError::ObjectNotFound(object)) => {
                    let namespace = object.namespace.clone().unwrap_or_default();
                    let _ = leave.send(Key { namespace, name: object.name.clone() });
                }
                Err(error) => warn!(%error, "the watch failed; it goes on by itself"),
                Ok((object, _)) => debug!(object = object.name, "reconciled"),
            }
            futures::future::ready(())
        });
    // Beside the work.
    tokio::select! {
        () = work => {}
        () = forget => {}
    }
}

/// What has left the watch by this event. An object that waits for nothing is not heard of otherwise: the one that a delete
/// names, and after a list whatever is known and not in it.
fn gone_by(
    event: &watcher::Result<watcher::Event<Meta>>,
    context: &Context,
    store: &reflector::Store<Meta>,
    namespace: Option<&str>,
) -> Vec<Key> {
    let watched = |key: &Key| namespace.is_none_or(|namespace| key.namespace == namespace);
    let listed =
        |key: &Key| store.get(&reflector::ObjectRef::<Meta>::new(&key.name).within(&key.namespace)).is_some();
    match event {
        Ok(watcher::Event::Delete(object)) => vec![key_of(object)],
        Ok(watcher::Event::InitDone) => {
            context.objects.keys().into_iter().filter(|key| watched(key) && !listed(key)).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn key_of(object: &Meta) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
