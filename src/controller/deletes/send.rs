//! Makes the delete calls of a wave, each in a task of its own, beside the reconcile that stored the intent.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::{
    cloud::Credential,
    controller::state::{
        context::Context,
        objects::{ObjectHandle, Tracked},
    },
    engine::{
        InstanceId,
        object::state::{
            memory::CallEnd,
            wave::{Batch, Wave},
        },
        outcome::{CallOutcome, CloudMessage, Trouble},
    },
    leadership::DepartureGuard,
    lock::lock,
};

/// Claims the ids of a wave in this process and enters its calls as not sent, before the intent is written. Returns false and
/// changes nothing if another call names one of the ids, or if a silent cloud allows no further call.
pub fn claim(handle: &ObjectHandle, tracked: &mut Tracked, wave: &Wave) -> bool {
    let ids: Vec<_> = wave.batches.iter().flat_map(|b| b.members.iter().map(|m| (m.id, m.live))).collect();
    let Some(memory) = &mut tracked.memory else { return false };
    if !handle.account.begin(wave.batches.len()) {
        return false;
    }
    if !lock(&handle.account.call_history).claim(&ids) {
        handle.account.abandon(wave.batches.len());
        return false;
    }
    memory.claimed(wave);
    true
}

/// Releases the ids of a wave whose calls will not be made, whether its intent is stored or not.
pub fn give_up(context: &Context, handle: &ObjectHandle, wave: &Wave) {
    let now = context.clock.mono();
    handle.account.abandon(wave.batches.len());
    for batch in &wave.batches {
        lock(&handle.account.call_history).release(&batch.ids(), now, |_| None);
    }
}

/// Starts the calls of a wave whose intent is stored. Each must leave while `departure` allows it.
pub fn start(
    context: &Arc<Context>,
    handle: &ObjectHandle,
    wave: Wave,
    credential: Credential,
    departure: &DepartureGuard,
) {
    {
        // The drain looks for calls in flight under the same lock, so that it overlooks none.
        let mut tracked = lock(&handle.tracked);
        let memory = tracked.memory.as_mut().filter(|_| !context.draining());
        let Some(memory) = memory else {
            drop(tracked);
            give_up(context, handle, &wave);
            return;
        };
        memory.started(&wave);
    }
    handle.account.use_up(&handle.key, wave.batches.len());
    context.call_next(&handle.account);
    let credential = Arc::new(credential);
    for batch in wave.batches {
        let call = DeleteCall {
            context: context.clone(),
            handle: handle.clone(),
            batch,
            credential: credential.clone(),
        };
        let departure = departure.clone();
        tokio::spawn(async move {
            // A call that panics must not stay in flight for ever. Whether the request left is unknown then.
            let outcome = AssertUnwindSafe(call.make(departure)).catch_unwind().await;
            call.ended(&outcome.unwrap_or_else(|_| cut_off()));
        });
    }
}

/// The outcome of a call whose task panicked.
fn cut_off() -> CallOutcome {
    CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage { text: "the call was cut off".to_owned(), ..CloudMessage::default() },
    }
}

/// One delete call of a wave whose intent is stored.
struct DeleteCall {
    context: Arc<Context>,
    handle: ObjectHandle,
    batch: Batch,
    credential: Arc<Credential>,
}

impl DeleteCall {
    /// Waits for the call's place in the account's rate, and makes it if `departure` still allows it.
    async fn make(&self, departure: DepartureGuard) -> CallOutcome {
        let Self { context, handle, batch, credential } = self;
        let account = &handle.account;
        let leaves_at = account.departure(&credential.identity, context.clock.mono());
        sleep_until(context.clock.instant(leaves_at)).await;
        if context.draining() {
            return CallOutcome::NotSent;
        }
        let ids = batch.ids();
        info!(
            namespace = handle.key.namespace, name = handle.key.name, batch = batch.number, size = ids.len(),
            ids = %join(&ids), "sending a delete call"
        );
        let client = context.accounts.client();
        client.delete_instances(&account.endpoint, &account.project, credential, &ids, departure).await
    }

    /// Enters the outcome where the account and the object find it, and wakes the object once its wave is over.
    fn ended(&self, outcome: &CallOutcome) {
        let Self { context, handle, batch, credential } = self;
        if matches!(outcome, CallOutcome::Refused { trouble: Trouble::CredentialsRejected, .. }) {
            // The object reads the Secret again while it waits, and goes on when that brings another credential.
            handle.account.credentials.refused(credential);
        }
        let now = context.clock.now();
        log(handle, batch, outcome);
        lock(&handle.account.call_history).release(&batch.ids(), now.mono, |id| outcome.effect(id));
        let (evidence, closed_for) = handle.account.ended(&credential.identity, outcome, now.mono);
        let mut tracked = lock(&handle.tracked);
        if tracked.uid == handle.uid
            && let Some(memory) = &mut tracked.memory
        {
            let end = CallEnd {
                outcome,
                secret_version: &credential.version,
                closed_for,
                evidence,
                now: &now,
                settings: &context.settings,
                random: context.random.jitter(),
            };
            memory.call_ended(batch.number, &end);
            context.accounts.learn(&handle.account, memory);
            let over = !memory.calls_in_flight();
            let unrecorded = if tracked.gone { tracked.unrecorded() } else { Vec::new() };
            drop(tracked);
            for outcome in unrecorded {
                outcome.publish(&context.events, &handle.key);
            }
            if over {
                context.wake(&handle.key);
            }
        }
    }
}

fn log(handle: &ObjectHandle, batch: &Batch, outcome: &CallOutcome) {
    let (namespace, name, number) = (&handle.key.namespace, &handle.key.name, batch.number);
    let size = batch.members.len();
    match outcome {
        CallOutcome::Accepted { ids, foreign, message } => info!(
            namespace,
            name,
            batch = number,
            size,
            returned = ids.len(),
            foreign,
            request_id = message.request_id,
            "delete call accepted"
        ),
        CallOutcome::Unknown { trouble, message, .. } => warn!(
            namespace,
            name,
            batch = number,
            size,
            reason = trouble.reason().as_str(),
            code = message.code,
            request_id = message.request_id,
            error = message.text,
            "outcome of the delete call is unknown"
        ),
        CallOutcome::Refused { trouble, message, .. } => warn!(
            namespace,
            name,
            batch = number,
            size,
            reason = trouble.reason().as_str(),
            code = message.code,
            request_id = message.request_id,
            error = message.text,
            "delete call refused"
        ),
        CallOutcome::NotSent => {
            warn!(namespace, name, batch = number, size, "delete call {outcome}");
        }
    }
}

fn join(ids: &[InstanceId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
