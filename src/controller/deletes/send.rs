//! Carries out the calls of a wave, beside the reconcile that stored its intent.

use std::sync::{Arc, Mutex};

use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::{
    cloud::Credential,
    controller::{
        accounts::Account,
        api_server::Key,
        state::{context::Context, objects::Tracked, unrecorded::unrecorded_outcomes},
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

/// The object that calls are made for.
#[derive(Clone)]
pub struct ObjectHandle {
    /// Namespace and name.
    pub key: Key,
    /// uid.
    pub uid: String,
    /// What is known of it.
    pub tracked: Arc<Mutex<Tracked>>,
    /// Where it calls.
    pub account: Arc<Account>,
}

/// Claims the ids of a wave in this process and enters its calls as not sent, before the intent is written. False, and
/// nothing is done, if another call names one of the ids or the cloud has fallen silent.
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

/// Gives a wave up whose intent may or may not be stored: none of its calls will be made.
pub fn give_up(context: &Context, handle: &ObjectHandle, wave: &Wave) {
    let now = context.clock.mono();
    handle.account.abandon(wave.batches.len());
    for batch in &wave.batches {
        lock(&handle.account.call_history).release(&batch.ids(), now, |_| None);
    }
}

/// Makes the calls of a wave whose intent is stored. Each must leave while `departure` allows it.
pub fn start(
    context: &Arc<Context>,
    handle: &ObjectHandle,
    wave: Wave,
    credential: Credential,
    departure: &DepartureGuard,
) {
    {
        // The flag is read under the lock under which the drain looks for calls in flight: none is overlooked.
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
        let (context, handle, credential) = (context.clone(), handle.clone(), credential.clone());
        let departure = departure.clone();
        tokio::spawn(async move {
            // A panic in the call must not leave it in flight for ever: the guard enters an unknown outcome.
            let mut guard = Guard { context, handle, batch, credential: credential.clone(), outcome: None };
            let outcome = call(&guard, &credential, departure).await;
            if matches!(outcome, CallOutcome::Refused { trouble: Trouble::CredentialsRejected, .. }) {
                // The object reads the Secret again while it waits, and goes on when that brings another credential.
                guard.handle.account.credentials.refused(&credential);
            }
            guard.outcome = Some(outcome);
        });
    }
}

async fn call(guard: &Guard, credential: &Credential, departure: DepartureGuard) -> CallOutcome {
    let Guard { context, handle, batch, .. } = guard;
    let account = &handle.account;
    sleep_until(context.clock.instant(account.departure(&credential.identity, context.clock.mono()))).await;
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

struct Guard {
    context: Arc<Context>,
    handle: ObjectHandle,
    batch: Batch,
    credential: Arc<Credential>,
    outcome: Option<CallOutcome>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| CallOutcome::Unknown {
            trouble: Trouble::CloudUnreachable,
            unavailable: false,
            message: CloudMessage { text: "the call was cut off".to_owned(), ..CloudMessage::default() },
        });
        ended(&self.context, &self.handle, &self.batch, &self.credential, &outcome);
    }
}

/// Enters what a call came to and wakes the object once its wave is over.
fn ended(
    context: &Context,
    handle: &ObjectHandle,
    batch: &Batch,
    credential: &Credential,
    outcome: &CallOutcome,
) {
    let now = context.clock.now();
    let ids = batch.ids();
    log(handle, batch, outcome);
    lock(&handle.account.call_history).release(&ids, now.mono, |id| outcome.effect(id));
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
        let unrecorded_outcomes = if tracked.gone { unrecorded_outcomes(&tracked) } else { Vec::new() };
        drop(tracked);
        crate::controller::reconcile::tell_unrecorded(context, &handle.key, unrecorded_outcomes);
        if over {
            context.wake(&handle.key);
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
