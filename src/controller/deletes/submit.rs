//! Stores the intent of a wave, and starts its calls once that write is acknowledged.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use super::{send, send::ObjectHandle};
use crate::{
    api::InstanceDeletionStatus,
    controller::{
        api_server::{Live, WriteError},
        metrics::WaveResult,
        state::context::Context,
    },
    engine::object::state::{blocker::blocker, wave::Wave},
    lock::lock,
};

/// How the write of an intent ended.
pub enum Submitted {
    /// Stored; its calls are being made.
    Stored,
    /// Not stored, or nobody knows: read again.
    Again,
    /// The API server failed, and wishes to be left alone for so long.
    Failed(Option<Duration>),
}

/// Stores the intent of a wave, and makes its calls only if that write is acknowledged.
pub async fn submit(
    context: &Arc<Context>,
    handle: &ObjectHandle,
    live: &Live,
    write: &InstanceDeletionStatus,
    wave: Wave,
) -> Submitted {
    // Claimed ids are given back if this future is dropped or panics before the calls take them over.
    let look_sent = wave.look_sent;
    let pending = Pending { context, handle, wave: Some(wave) };
    let credential = match handle.account.credentials.read().await {
        Ok(credential) => credential,
        Err(problem) => {
            context.metrics.waved(WaveResult::NoCredential);
            let now = context.clock.now();
            if let Some(memory) = &mut lock(&handle.tracked).memory {
                let before = memory.call_trouble.take();
                memory.call_trouble = Some(blocker(
                    problem.trouble,
                    problem.message,
                    before.as_ref(),
                    problem.version,
                    &now,
                    &context.settings,
                    context.random.jitter(),
                ));
            }
            return Submitted::Again;
        }
    };
    let departure = context.departure_guard(look_sent);
    match context.api.write_intent(live, write).await {
        Ok(()) => {}
        Err(WriteError::Conflict | WriteError::Gone) => {
            context.metrics.waved(WaveResult::Conflict);
            return Submitted::Again;
        }
        Err(WriteError::Unavailable(why)) => {
            context.metrics.waved(WaveResult::NotStored);
            warn!(
                namespace = live.key.namespace,
                name = live.key.name,
                error = %why,
                "the intent was not stored; nothing is sent"
            );
            return Submitted::Failed(why.retry_after);
        }
    }
    let Some(wave) = pending.take() else { return Submitted::Again };
    context.metrics.waved(WaveResult::Sent);
    send::start(context, handle, wave, credential, &departure);
    Submitted::Stored
}

/// A wave whose ids are claimed and whose calls are not started.
struct Pending<'a> {
    context: &'a Context,
    handle: &'a ObjectHandle,
    wave: Option<Wave>,
}

impl Pending<'_> {
    fn take(mut self) -> Option<Wave> {
        self.wave.take()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(wave) = &self.wave {
            send::give_up(self.context, self.handle, wave);
        }
    }
}
