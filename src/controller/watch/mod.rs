//! Which objects changed: a watch of metadata, one for each namespace that the process works on, that feeds the work queue.

mod guards;
mod listing;
mod relist;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::sync::mpsc;
use tracing::warn;

use self::{
    listing::{Fingerprint, Listing},
    relist::renewed,
};
use super::{api_server::key::Key, state::context::Context};
use crate::{
    api::InstanceDeletion,
    scope::{Scope, Selector},
    text::bounded,
};

/// Objects in one page of the list: each may carry an annotation of 256 KiB.
const PAGE: u32 = 50;
/// Seconds after which the API server ends a watch and the controller opens the next one. kube gives up a watch 5 s later if
/// even its end does not arrive. This bounds how long a dead connection can hide a new object.
const WATCH_SECONDS: u32 = 30;
/// Time between two full lists. It bounds how long an event stays unnoticed that a working watch has lost.
const RENEWAL: Duration = Duration::from_mins(10);
/// Limit for the list that a process must be able to make before it may lead.
const TRY: Duration = Duration::from_secs(10);
/// Wait between two tries of that list.
const AGAIN: Duration = Duration::from_secs(2);

pub use self::guards::watch_guards;

type WatchedObject = PartialObjectMeta<InstanceDeletion>;

/// Waits until this process can list its objects: a process that cannot must not take the lease from one that can.
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
            warn!(error = bounded(&error), "InstanceDeletions can't be listed; retrying");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn api_of(client: &Client, namespace: Option<&str>) -> Api<WatchedObject> {
    match namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

/// Watches the objects of a namespace (none: of all), without end, and has those worked on that changed. Says once on
/// `first_list` that the first list is complete.
pub async fn watch(
    context: Arc<Context>,
    namespace: Option<String>,
    selector: Selector,
    first_list: mpsc::UnboundedSender<()>,
) {
    let api = api_of(context.api.client(), namespace.as_deref());
    let config = watcher::Config { page_size: Some(PAGE), ..watcher::Config::default() };
    let config = config.timeout(WATCH_SECONDS);
    let config = if selector.is_empty() { config } else { config.labels(&selector.to_string()) };
    let make = move || watcher(api.clone(), config.clone()).boxed();
    let events = renewed(make, RENEWAL, context.relist.subscribe()).default_backoff();
    pin_mut!(events);
    let (mut listing, mut first_list) = (Listing::default(), Some(first_list));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                if !listing.begin() {
                    context.metrics.watch_restarted();
                }
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let key = key_of(&object);
                if listing.show(key.clone(), Fingerprint::of(&object.metadata)) {
                    context.enqueue(key);
                }
            }
            // It was deleted or lost its label. Its pass reads which, and forgets it.
            Ok(Event::Delete(object)) => {
                let key = key_of(&object);
                listing.remove(&key);
                context.enqueue(key);
            }
            Ok(Event::InitDone) => {
                let watched =
                    |key: &Key| namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace);
                let known = context.objects.keys().into_iter().filter(watched).collect();
                listing.end(known).into_iter().for_each(|key| context.enqueue(key));
                if let Some(first_list) = first_list.take() {
                    // Nobody waits for it once the process ends.
                    let _ = first_list.send(());
                }
            }
            Err(error) => {
                context.metrics.watch_failed();
                warn!(error = bounded(&error.to_string()), "the watch failed; opening it again");
            }
        }
    }
}

fn key_of(object: &WatchedObject) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
