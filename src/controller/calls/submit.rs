//! Stores the intent of a wave, and starts its calls once the API server acknowledges that write.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tracing::warn;

use super::send;
use crate::{
    api::InstanceDeletionStatus,
    cloud::{Credential, CredentialProblem, Current},
    controller::{
        api_server::{reads::LiveObject, writes::WriteError},
        metrics::WaveResult,
        state::{context::Context, objects::ObjectHandle},
    },
    engine::{
        object::state::{blocker::blocker, wave::Wave},
        outcome::Unsent,
    },
    leadership::DepartureGuard,
    lock::lock,
    supervise::{self, caught},
};

/// What came of a wave.
pub enum Submitted {
    /// The intent is stored, and the calls are started. The object is as it is stored now.
    Stored(Box<LiveObject>),
    /// The intent is not stored, or that is unknown. Read the object again at once.
    Again,
    /// IAM is being asked for a token. The object is woken when it has answered.
    Waits,
    /// The API server failed. Read the object again later, and not before the time that the server asks for.
    Failed(Option<Duration>),
}

/// Stores the intent of a wave, and starts its calls only if that write is acknowledged.
pub async fn submit(
    context: &Arc<Context>,
    handle: &ObjectHandle,
    live: &LiveObject,
    write: &InstanceDeletionStatus,
    wave: Wave,
) -> Submitted {
    let stored = AssertUnwindSafe(store_intent(context, handle, live, write, &wave));
    match stored.catch_unwind().await {
        Ok(Ok(Intent { stored, credential, departure })) => {
            context.metrics.waved(WaveResult::Sent);
            send::start(context, handle, wave, credential, &departure);
            Submitted::Stored(Box::new(stored))
        }
        Ok(Err(failed)) => {
            send::give_up(context, handle, &wave, Unsent::Unacknowledged);
            not_stored(context, handle, failed)
        }
        Err(panic) => {
            // The reconcile reports the panic; without this, no call could name these ids for as long as the process runs.
            send::give_up(context, handle, &wave, Unsent::Unacknowledged);
            resume_unwind(panic)
        }
    }
}

/// An intent whose write is acknowledged.
struct Intent {
    stored: LiveObject,
    credential: Credential,
    departure: DepartureGuard,
}

/// Why an intent is not known to be stored.
enum NotStored {
    NoCredential(CredentialProblem),
    /// IAM is being asked for a token, until this ends.
    TokenAsked(BoxFuture<'static, ()>),
    Write(WriteError),
}

async fn store_intent(
    context: &Context,
    handle: &ObjectHandle,
    live: &LiveObject,
    write: &InstanceDeletionStatus,
    wave: &Wave,
) -> Result<Intent, NotStored> {
    // A worker waits for no server of a tenant: the wave is decided again when IAM has answered.
    let credential = match handle.account.credentials.current().await.map_err(NotStored::NoCredential)? {
        Current::Known(credential) => credential,
        Current::Asked(answered) => return Err(NotStored::TokenAsked(answered)),
    };
    // The time counts from here, before the write is sent, and not from its acknowledgement.
    let departure = context.departure_guard(wave);
    let stored = context.api.write_intent(live, write).await.map_err(NotStored::Write)?;
    Ok(Intent { stored, credential, departure })
}

fn not_stored(context: &Arc<Context>, handle: &ObjectHandle, failed: NotStored) -> Submitted {
    match failed {
        NotStored::NoCredential(problem) => {
            context.metrics.waved(WaveResult::NoCredential);
            no_credential(context, handle, problem);
            Submitted::Again
        }
        NotStored::TokenAsked(answered) => {
            context.metrics.waved(WaveResult::NoCredential);
            wake_after(context, handle, answered);
            Submitted::Waits
        }
        NotStored::Write(WriteError::Conflict | WriteError::Gone) => {
            context.metrics.waved(WaveResult::Conflict);
            Submitted::Again
        }
        NotStored::Write(WriteError::Unavailable(why)) => {
            context.metrics.waved(WaveResult::NotStored);
            let (namespace, name) = (&handle.key.namespace, &handle.key.name);
            warn!(namespace, name, error = %why, "the intent was not stored; nothing is sent");
            Submitted::Failed(why.retry_after)
        }
    }
}

/// Wakes the object once IAM has answered, unless something waits for that already.
pub fn wake_after(context: &Arc<Context>, handle: &ObjectHandle, answered: BoxFuture<'static, ()>) {
    if std::mem::replace(&mut lock(&handle.tracked).token_awaited, true) {
        return;
    }
    let (context, handle) = (context.clone(), handle.clone());
    supervise::task("token", async move {
        // Whatever became of the request, the object goes on.
        let _ = caught(answered).await;
        lock(&handle.tracked).token_awaited = false;
        context.wake(&handle.key);
    });
}

/// Notes that the object's calls wait for credentials.
fn no_credential(context: &Context, handle: &ObjectHandle, problem: CredentialProblem) {
    if let Some(memory) = &mut lock(&handle.tracked).memory {
        let before = memory.call_trouble.take();
        memory.call_trouble = Some(blocker(
            problem.trouble,
            problem.message,
            before.as_ref(),
            problem.version,
            &context.clock.now(),
            &context.settings,
            context.random.jitter(),
        ));
    }
}
