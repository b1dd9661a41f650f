//! The controller at work: watches and the work queue, from the first list to the end of the drain.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    accounts::SWEPT_EVERY,
    api_server::key::Key,
    drain::drain,
    queue::{Dispatcher, Work},
    reconcile::{calls_from, reconcile},
    state::context::Context,
    watch::{watch, watch_guards},
};
use crate::{engine::Mono, scope::Scope, supervise};

/// A watch ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("the watch of InstanceDeletions ended")]
pub struct WatchError;

/// Works on the objects of the scope, and on those named by `added`, until `stop`; then drains. `ready` is called once, when
/// every watch has its first list.
pub async fn run(
    context: Arc<Context>,
    scope: Scope,
    added: mpsc::UnboundedReceiver<(Key, Mono)>,
    ready: impl FnOnce() + Send + 'static,
    stop: CancellationToken,
) -> Result<(), WatchError> {
    let namespaces = scope.watches();
    let (first_list, first_lists) = mpsc::unbounded_channel();
    let listed = supervise::task("first lists", all_listed(namespaces.len(), first_lists, ready));
    let mut watches = JoinSet::new();
    for namespace in namespaces {
        let selector = scope.selector().clone();
        watches.spawn(watch(context.clone(), namespace, selector, first_list.clone()));
    }
    drop(first_list);
    watches.spawn(watch_guards(context.clone()));
    let mut queue = Dispatcher::new(added, context.clock.clone(), context.queue_metrics.clone());
    let stopped = async {
        stop.cancelled().await;
        drain(&context).await;
    };
    let ended = tokio::select! {
        Some(ended) = watches.join_next() => {
            if let Err(error) = ended {
                error!(%error, "a watch failed");
            }
            Err(WatchError)
        }
        // Only a panic is an error. Without this task the process would never be ready.
        Err(_) = listed => Err(WatchError),
        // Not before the watches, since the context can add keys as long as it lives.
        () = queue.run(&context) => Err(WatchError),
        () = stopped => Ok(()),
        never = sweep(&context) => match never {},
    };
    watches.shutdown().await;
    queue.stop().await;
    ended
}

/// Drops accounts, governors and call histories that no object needs, every [`SWEPT_EVERY`]. [`run`] does it; a driver without
/// `run` has to.
pub async fn sweep(context: &Context) -> Infallible {
    loop {
        sleep(SWEPT_EVERY).await;
        context.accounts.sweep();
    }
}

/// Calls `ready` once so many watches have their first list.
async fn all_listed(watches: usize, mut first_lists: mpsc::UnboundedReceiver<()>, ready: impl FnOnce()) {
    for _ in 0..watches {
        if first_lists.recv().await.is_none() {
            return;
        }
    }
    ready();
}

impl Work<Key> for Arc<Context> {
    fn calls_from(&self, key: &Key) -> Option<Mono> {
        calls_from(self, key)
    }

    fn pass(&self, key: Key) -> impl Future<Output = Option<Duration>> + Send + 'static {
        let context = self.clone();
        async move { reconcile(&context, &key).await }
    }
}
