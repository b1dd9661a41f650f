//! A watch of the guards: when one changes, every object asks anew what the guards say of it.
//!
//! No call rests on this watch. It only spares a held object its wait: before each wave the guards are read.

use std::sync::Arc;

use futures::StreamExt;
use kube::{
    Api,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tracing::warn;

use super::WATCH_SECONDS;
use crate::{api::DeletionGuard, controller::state::context::Context, text::bounded};

/// Watches the guards, without end.
pub async fn watch_guards(context: Arc<Context>) {
    let api: Api<PartialObjectMeta<DeletionGuard>> = Api::all(context.api.client().clone());
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => context.guards_changed(),
            Ok(Event::Init | Event::InitApply(_)) => {}
            Err(error) => {
                context.metrics.watch_failed();
                warn!(
                    error = bounded(&error.to_string()),
                    "the watch of the guards failed; opening it again"
                );
            }
        }
    }
}
