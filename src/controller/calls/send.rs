//! Makes the calls of a wave, each in a task of its own, beside the reconcile that stored the intent.

use std::sync::Arc;

use tokio::time::sleep_until;
use tracing::{error, info, warn};

use crate::{
    api::CallKind,
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
        outcome::{CallOutcome, CloudMessage, Effect, Trouble, Unsent},
    },
    leadership::DepartureGuard,
    lock::lock,
    supervise::{self, caught},
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

/// Releases the ids of a wave whose calls will not be made, whether its intent is stored or not. A later pass records that
/// nothing was sent, where the intent is stored.
pub fn give_up(context: &Context, handle: &ObjectHandle, wave: &Wave, why: Unsent) {
    let now = context.clock.mono();
    handle.account.abandon(wave.batches.len());
    for batch in &wave.batches {
        lock(&handle.account.call_history).release(batch.kind, &batch.ids(), now, |_| None);
    }
    if let Some(memory) = &mut lock(&handle.tracked).memory {
        memory.unsent(wave, why, now);
    }
    context.progress.notify_waiters();
}

/// Starts the calls of a wave whose intent is stored. Each must leave while `departure` allows it.
pub fn start(
    context: &Arc<Context>,
    handle: &ObjectHandle,
    wave: Wave,
    credential: Credential,
    departure: &DepartureGuard,
) {
    if context.draining() {
        warn!(
            namespace = handle.key.namespace,
            name = handle.key.name,
            calls = wave.batches.len(),
            "calls not sent: {}",
            Unsent::Stopping
        );
        give_up(context, handle, &wave, Unsent::Stopping);
        return;
    }
    handle.account.use_up(&handle.key, wave.batches.len());
    context.call_next(&handle.account);
    let credential = Arc::new(credential);
    for batch in wave.batches {
        let call =
            Call { context: context.clone(), handle: handle.clone(), batch, credential: credential.clone() };
        let departure = departure.clone();
        supervise::task("call", async move {
            // A call that panics must not stay in flight for ever. Whether the request left is unknown then.
            let outcome = caught(call.make(departure)).await.unwrap_or_else(cut_off);
            if caught(async { call.ended(&outcome) }).await.is_none() {
                call.forget_object();
            }
        });
    }
}

/// What this process has learned since the decision that bars the call of these ids, if anything. It is asked once more as the
/// last thing before the request leaves.
fn barred(
    context: &Context,
    handle: &ObjectHandle,
    ids: &[InstanceId],
    namespace: &Arc<str>,
) -> Option<Unsent> {
    if context.draining() {
        return Some(Unsent::Stopping);
    }
    if !lock(&handle.tracked).lets_leave(&handle.uid) {
        return Some(Unsent::Stopped);
    }
    (!lock(&handle.account.call_history).may_leave(ids, namespace)).then_some(Unsent::Overtaken)
}

/// The outcome of a call whose task panicked.
fn cut_off() -> CallOutcome {
    CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage { text: "the call was cut off".to_owned(), ..CloudMessage::default() },
    }
}

/// One call of a wave whose intent is stored.
struct Call {
    context: Arc<Context>,
    handle: ObjectHandle,
    batch: Batch,
    credential: Arc<Credential>,
}

impl Call {
    /// Waits for the call's place in the account's rate, and makes it if `departure` still allows it.
    async fn make(&self, departure: DepartureGuard) -> CallOutcome {
        let Self { context, handle, batch, credential } = self;
        let account = &handle.account;
        let leaves_at = account.departure(&credential.identity, context.clock.mono());
        tokio::select! {
            () = sleep_until(context.clock.instant(leaves_at)) => {}
            () = context.drain_begins() => {}
        }
        let ids = batch.ids();
        let barred = {
            let (context, handle, ids) = (context.clone(), handle.clone(), ids.clone());
            let namespace = Arc::from(handle.key.namespace.as_str());
            move || barred(&context, &handle, &ids, &namespace)
        };
        if let Some(why) = barred() {
            return CallOutcome::NotSent(why);
        }
        info!(
            namespace = handle.key.namespace, name = handle.key.name, batch = batch.number, size = ids.len(),
            ids = %join(&ids), "sending a {} call", noun(batch.kind)
        );
        let client = context.accounts.client();
        let departure = departure.unless({
            let barred = barred.clone();
            move || barred().is_some()
        });
        let (endpoint, project) = (&account.endpoint, &account.project);
        let outcome = match batch.kind {
            CallKind::Delete => client.delete_instances(endpoint, project, credential, &ids, departure).await,
            CallKind::PowerOff => {
                client.power_off(endpoint, project, credential, &batch.servers(), departure).await
            }
        };
        match outcome {
            CallOutcome::NotSent(why) => CallOutcome::NotSent(barred().unwrap_or(why)),
            outcome @ (CallOutcome::Accepted { .. }
            | CallOutcome::Unknown { .. }
            | CallOutcome::Refused { .. }) => outcome,
        }
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
        let (kind, ids) = (batch.kind, batch.ids());
        lock(&handle.account.call_history).release(kind, &ids, now.mono, |id| outcome.effect(id));
        let (evidence, closed_for) = handle.account.ended(kind, &credential.identity, outcome, now.mono);
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
            handle.account.learn(memory, now.mono);
            let over = !memory.calls_in_flight();
            let unrecorded = if tracked.gone { tracked.unrecorded() } else { Vec::new() };
            drop(tracked);
            for outcome in unrecorded {
                outcome.publish(&context.events, &handle.key, "the object is gone");
            }
            if over {
                context.wake(&handle.key);
            }
        }
    }
}

impl Call {
    /// Forgets what this process knows of the object, as a restart does, since entering an outcome panicked half-way. The
    /// record keeps the intent, so the outcome is unknown until reads tell.
    fn forget_object(&self) {
        let Self { context, handle, batch, .. } = self;
        let (namespace, name) = (&handle.key.namespace, &handle.key.name);
        error!(
            namespace,
            name,
            batch = batch.number,
            "an outcome was lost in a panic; the instances are read"
        );
        let ids = batch.ids();
        let now = context.clock.mono();
        lock(&handle.account.call_history).release(batch.kind, &ids, now, |_| Some(Effect::Unknown));
        {
            let mut tracked = lock(&handle.tracked);
            if tracked.uid == handle.uid {
                tracked.memory = None;
            }
        }
        context.wake(&handle.key);
    }
}

fn log(handle: &ObjectHandle, batch: &Batch, outcome: &CallOutcome) {
    let (namespace, name, number) = (&handle.key.namespace, &handle.key.name, batch.number);
    let (size, call) = (batch.members.len(), noun(batch.kind));
    let failed = |trouble: Trouble, message: &CloudMessage, what: String| {
        warn!(
            namespace,
            name,
            batch = number,
            size,
            reason = trouble.reason().as_str(),
            code = message.code,
            request_id = message.request_id,
            error = message.text,
            "{what}"
        );
    };
    match outcome {
        CallOutcome::Accepted { ids, foreign, message } => info!(
            namespace,
            name,
            batch = number,
            size,
            returned = ids.len(),
            foreign,
            request_id = message.request_id,
            "{call} call accepted"
        ),
        CallOutcome::Unknown { trouble, message, .. } => {
            failed(*trouble, message, format!("outcome of the {call} call is unknown"));
        }
        CallOutcome::Refused { trouble, message, .. } => {
            failed(*trouble, message, format!("{call} call refused"));
        }
        CallOutcome::NotSent(_) => {
            warn!(namespace, name, batch = number, size, "{call} call {outcome}");
        }
    }
}

/// What a call of this kind is called in logs.
fn noun(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Delete => "delete",
        CallKind::PowerOff => "power-off",
    }
}

fn join(ids: &[InstanceId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
