//! Carries out what the engine decided about one object.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    api::InstanceDeletionStatus,
    controller::{
        api_server::{reads::LiveObject, writes::WriteError},
        calls::submit::{Submitted, submit},
        reads::{requested, scheduled},
        state::{
            context::Context,
            objects::{ObjectHandle, Tracked},
        },
    },
    engine::{
        Mono,
        object::{
            decide::{Decision, Next},
            report::events::Event,
        },
    },
    lock::lock,
};

/// How one pass over an object ended.
pub enum Pass {
    /// Decide again at once: about the object as an acknowledged write left it, if there is one, else about a new read.
    Again(Option<Box<LiveObject>>),
    /// Decide again at this moment, or sooner if something happens to the object.
    At(Mono),
    /// The API server failed. Decide again after a backoff, and not before the time that it asks for.
    Backoff(Option<Duration>),
    /// Nothing to do until someone edits the object.
    Rest,
}

/// Carries a decision out: writes it, and starts what follows the acknowledged write.
pub async fn carry_out(
    context: &Arc<Context>,
    handle: Option<&ObjectHandle>,
    live: &LiveObject,
    tracked: &Mutex<Tracked>,
    decision: Decision,
) -> Pass {
    let Decision { write, records, holds_ends, next, look, regular, watch, wake, events } = decision;
    if next == Next::Delete {
        return delete(context, live).await;
    }
    if let (Next::Submit(wave), Some(write), Some(handle)) = (next, &write, handle) {
        return match submit(context, handle, live, write, wave).await {
            Submitted::Stored(stored) => {
                wrote(context, live, tracked, Some(write), (&records, holds_ends), events);
                // The next wave's ids are looked at while this wave's calls run.
                Pass::Again(Some(stored))
            }
            Submitted::Again => Pass::Again(None),
            Submitted::Waits => Pass::At(context.clock.mono() + context.settings.request_timeout),
            Submitted::Failed(least) => Pass::Backoff(least),
        };
    }
    if let Some(write) = &write {
        match context.api.write_status(live, write).await {
            Ok(()) => {}
            Err(WriteError::Conflict | WriteError::Gone) => return Pass::Again(None),
            Err(WriteError::Unavailable(why)) => {
                warn!(
                    namespace = live.key.namespace,
                    name = live.key.name,
                    error = %why,
                    "the status was not written; retrying"
                );
                return Pass::Backoff(why.retry_after);
            }
        }
    }
    wrote(context, live, tracked, write.as_ref(), (&records, holds_ends), events);
    if let Some(handle) = handle.filter(|_| !look.is_empty()) {
        let now = context.clock.mono();
        let looks = match &mut lock(tracked).memory {
            Some(memory) => {
                memory.looking(&look, regular, now, &context.settings);
                <[_; 2]>::from(memory.readable(look))
            }
            None => [look, Vec::new()],
        };
        for ids in looks.into_iter().filter(|ids| !ids.is_empty()) {
            requested::register(context, handle, ids);
        }
    }
    if let Some(handle) = handle {
        scheduled::watch(context, handle, &watch);
    }
    if let (None, Some(handle)) = (wake, handle) {
        handle.account.forget(&handle.key);
    }
    wake.map_or(Pass::Rest, Pass::At)
}

/// Deletes an object whose `ttlSecondsAfterFinished` is over.
async fn delete(context: &Context, live: &LiveObject) -> Pass {
    let (namespace, name) = (&live.key.namespace, &live.key.name);
    match context.api.delete(live).await {
        Ok(()) => {
            info!(namespace, name, "deleted: ttlSecondsAfterFinished is over");
            Pass::Rest
        }
        Err(WriteError::Conflict | WriteError::Gone) => Pass::Again(None),
        Err(WriteError::Unavailable(why)) => {
            warn!(namespace, name, error = %why, "the object was not deleted; retrying");
            Pass::Backoff(why.retry_after)
        }
    }
}

/// Enters an acknowledged write, or a decision that needed none, and publishes the events.
fn wrote(
    context: &Context,
    live: &LiveObject,
    tracked: &Mutex<Tracked>,
    written: Option<&InstanceDeletionStatus>,
    (records, holds_ends): (&[u32], bool),
    events: Vec<Event>,
) {
    {
        let mut tracked = lock(tracked);
        tracked.failures = 0;
        if let Some(written) = written {
            context.metrics.stored(&live.status, written);
            context.count(&mut tracked, live, written);
        }
        if let Some(memory) = &mut tracked.memory {
            memory.recorded(records);
            if holds_ends {
                memory.ends_written = Some(context.clock.mono());
            }
        }
    }
    if !records.is_empty() {
        context.progress.notify_waiters();
    }
    for event in events {
        info!(namespace = live.key.namespace, name = live.key.name, reason = event.reason, "{}", event.note);
        context.events.publish(&live.key, &live.uid, event);
    }
}
