//! Reconciles one object: read it live, decide, write, and start what follows.

mod carry_out;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use self::carry_out::{Pass, carry_out};
use super::{
    accounts::Account,
    api_server::{
        key::Key,
        reads::{LiveObject, ReadError},
        undecodable::Undecodable,
        writes::WriteError,
    },
    calls::{send, submit::wake_after},
    metrics::{Reconciled, WaveResult},
    state::{
        context::Context,
        objects::{ObjectHandle, Revision, Tracked},
    },
};
use crate::{
    api::ReadyReason,
    cloud::Current,
    engine::{
        Mono, Now,
        account::delete_queue::PermitAnswer,
        backoff::backoff,
        object::{
            decide::{
                Decision, GuardsRead, Input, Next, confirmed_deletion, decide_invalid, finished, prepare,
            },
            report::{events::Event, status::is_finished},
            state::{
                blocker::{Blocker, blocker},
                memory::Memory,
                spec::{DeletionSpec, ttl},
            },
        },
        outcome::{CloudMessage, Trouble},
    },
    lock::lock,
    supervise::caught,
};

/// Most passes over one object before its worker takes the next object of the queue.
const PASSES: usize = 8;

/// Reconciles one object. Returns the delay after which it is reconciled again; `None` waits for a change. Forgets an object
/// that is gone or that another process works on now. An error or a panic affects no other object.
pub async fn reconcile(context: &Arc<Context>, key: &Key) -> Option<Duration> {
    let started = Instant::now();
    let (result, again) = caught(passes(context, key)).await.unwrap_or_else(|| {
        error!(namespace = key.namespace, name = key.name, "reconcile panicked; retrying after a backoff");
        (Reconciled::Panicked, Some(after_failure(context, key, None)))
    });
    context.metrics.reconciled(result, started.elapsed());
    again
}

async fn passes(context: &Arc<Context>, key: &Key) -> (Reconciled, Option<Duration>) {
    // The object as the last write left it. It is used by the next pass alone, and never kept for a later reconcile.
    let mut stored = None;
    for _ in 0..PASSES {
        match pass(context, key, stored.take()).await {
            Pass::Again(left) => stored = left,
            Pass::At(moment) => return (Reconciled::Waiting, Some(moment - context.clock.mono())),
            Pass::Backoff(least) => {
                return (Reconciled::Failed, Some(after_failure(context, key, least)));
            }
            Pass::Rest => return (Reconciled::Settled, None),
        }
    }
    (Reconciled::Again, Some(Duration::ZERO))
}

/// When an object goes on with its calls: at once if an outcome waits to be recorded, else when it is near the head of the
/// delete queue. `None` if it waits for no call.
pub fn calls_from(context: &Context, key: &Key) -> Option<Mono> {
    let tracked = context.objects.find(key)?;
    let account = {
        let tracked = lock(&tracked);
        if tracked.busy() {
            return Some(Mono::START);
        }
        tracked.account.clone()?
    };
    account.goes_on(key)
}

/// Decides about the object as `stored`, or as a read brings it, and carries the decision out.
///
/// The answer to an acknowledged write is as good as a read with quorum: it is what etcd holds from that write on. If a user
/// changes the object afterwards, the write of this pass fails, as it does after a read.
async fn pass(context: &Arc<Context>, key: &Key, stored: Option<Box<LiveObject>>) -> Pass {
    if !context.leadership.leads() {
        // Either the process ends soon, or it holds its lease again a moment later.
        return Pass::Backoff(None);
    }
    let live = match stored {
        Some(stored) => stored,
        None => match read(context, key).await {
            Ok(live) => live,
            Err(pass) => return pass,
        },
    };
    if context.scope.holds(&key.namespace, &live.labels) {
        let tracked = track(context, &live);
        return decide_and_carry_out(context, key, &live, &tracked, !context.draining()).await;
    }
    left(context, key, &live).await
}

/// Reads the object, or says how the pass ends without it.
async fn read(context: &Context, key: &Key) -> Result<Box<LiveObject>, Pass> {
    let (namespace, name) = (&key.namespace, &key.name);
    match context.api.read(key).await {
        Ok(Some(live)) => Ok(Box::new(live)),
        Ok(None) => {
            gone(context, key);
            Err(Pass::Rest)
        }
        Err(ReadError::Unavailable(why)) => {
            warn!(namespace, name, error = %why, "the object was not read; retrying");
            Err(Pass::Backoff(why.retry_after))
        }
        Err(ReadError::Undecodable(object)) => {
            tell_undecodable(context, key, &object).await;
            Err(Pass::At(context.clock.mono() + context.settings.retry_max))
        }
    }
}

/// Says of an object that this version can't decode: in the log, in the gauges, on the object, and by an event when the object
/// does not say so yet.
async fn tell_undecodable(context: &Context, key: &Key, object: &Undecodable) {
    let (namespace, name) = (&key.namespace, &key.name);
    error!(namespace, name, error = object.why, "the object can't be decoded; nothing is sent for it");
    context.count_undecodable(&mut lock(&context.objects.get(key)));
    let told = context.api.tell_undecodable(key, object, &Time(context.clock.wall())).await;
    match told {
        // Someone else writes it: the next pass tries again.
        Ok(false) | Err(WriteError::Conflict | WriteError::Gone) => return,
        Ok(true) => {}
        Err(WriteError::Unavailable(why)) => {
            warn!(namespace, name, error = %why, "that the object can't be decoded was not said on it");
        }
    }
    let (reason, note) = (ReadyReason::Undecodable.as_str(), object.message());
    let event = Event { warning: true, reason, action: "Decode".to_owned(), note };
    context.events.publish(key, &object.uid, event);
}

/// Decides about an object that the selector no longer matches: records the outcomes of its calls, starts nothing new, and
/// then leaves it to the process that works on it now.
async fn left(context: &Arc<Context>, key: &Key, live: &LiveObject) -> Pass {
    if context.objects.forget_idle(key) {
        return Pass::Rest;
    }
    let tracked = track(context, live);
    match decide_and_carry_out(context, key, live, &tracked, false).await {
        // A call in flight wakes the object when it ends.
        Pass::At(_) | Pass::Rest => {
            if context.objects.forget_idle(key) {
                info!(
                    namespace = key.namespace,
                    name = key.name,
                    "the labels no longer match --selector; another process works on the object now"
                );
            }
            Pass::Rest
        }
        pass @ (Pass::Again(_) | Pass::Backoff(_)) => pass,
    }
}

async fn decide_and_carry_out(
    context: &Arc<Context>,
    key: &Key,
    live: &LiveObject,
    tracked: &Arc<Mutex<Tracked>>,
    may_start: bool,
) -> Pass {
    context.count(&mut lock(tracked), live, &live.status);
    let now = context.clock.now();
    if is_finished(&live.status) {
        lock(tracked).stopped = true;
        return at_its_end(context, key, live, tracked, &now).await;
    }
    let spec = live.spec.as_ref().map_err(Clone::clone);
    let spec = spec.and_then(|spec| DeletionSpec::parse(spec, live.meta.clone()).map_err(|e| e.to_string()));
    let spec = match spec {
        Ok(spec) => spec,
        Err(why) => return invalid(context, live, tracked, &why).await,
    };
    let account = match context.accounts.of(&key.namespace, &spec) {
        Ok(account) => account,
        Err(why) => return invalid(context, live, tracked, &why.to_string()).await,
    };
    let handle = ObjectHandle { key: key.clone(), uid: live.uid.clone(), tracked: tracked.clone(), account };
    calls_at(key, tracked, Some(&handle.account));
    if !spec.allows_calls() {
        {
            let mut tracked = lock(tracked);
            (tracked.turn_asked, tracked.stopped) = (None, true);
        }
        handle.account.forget(key);
    }
    reread_secret(context, &handle).await;
    let mut decided_now = decided(context, &handle, live, &spec, may_start, &GuardsOfPass::NotAsked);
    if let Some(Decided::AsksGuards { since }) = decided_now {
        let guards = read_guards(context, &handle, since).await;
        decided_now = decided(context, &handle, live, &spec, may_start, &guards);
    }
    let Some(Decided::Decision(decision)) = decided_now else {
        return Pass::Backoff(None);
    };
    carry_out(context, Some(&handle), live, tracked, *decision).await
}

/// Decides about an object that has ended. It needs no memory, but for calls that are in flight because another process ended
/// it.
async fn at_its_end(
    context: &Arc<Context>,
    key: &Key,
    live: &LiveObject,
    tracked: &Mutex<Tracked>,
    now: &Now,
) -> Pass {
    let (decision, unrecorded) = {
        let tracked = &mut *lock(tracked);
        let calling = tracked.memory.as_ref().is_some_and(Memory::calls_in_flight);
        let unrecorded = if calling { Vec::new() } else { tracked.unrecorded() };
        if !calling {
            tracked.memory = None;
        }
        tracked.turn_asked = None;
        let ttl = live.spec.as_ref().ok().and_then(ttl);
        let decision = finished(&live.meta, &live.status, ttl, now);
        (confirmed_deletion(decision, &mut tracked.over_since, now), unrecorded)
    };
    for outcome in unrecorded {
        outcome.publish(&context.events, key, "the object has ended");
    }
    context.progress.notify_waiters();
    calls_at(key, tracked, None);
    carry_out(context, None, live, tracked, decision).await
}

/// Decides about an object whose stored spec the schema refuses.
async fn invalid(context: &Arc<Context>, live: &LiveObject, tracked: &Mutex<Tracked>, why: &str) -> Pass {
    lock(tracked).stopped = true;
    calls_at(&live.key, tracked, None);
    let now = context.clock.now();
    let decision = decide_invalid(why, &live.meta, &live.status, lock(tracked).memory.as_ref(), &now);
    carry_out(context, None, live, tracked, decision).await
}

/// Notes the account that an object uses, and takes the object out of the queues of the account that it used before.
fn calls_at(key: &Key, tracked: &Mutex<Tracked>, account: Option<&Arc<Account>>) {
    let before = std::mem::replace(&mut lock(tracked).account, account.cloned());
    let same = |before: &Arc<Account>| account.is_some_and(|account| Arc::ptr_eq(account, before));
    if let Some(before) = before.filter(|before| !same(before)) {
        before.leave(key);
    }
}

/// Reads the guards of the object's namespace, unless they were read `since` for another object. If they can't be read, its
/// calls wait for them.
async fn read_guards(context: &Context, handle: &ObjectHandle, since: Option<Mono>) -> GuardsOfPass {
    let known = since.and_then(|since| context.guards_read_since(&handle.key.namespace, since));
    if let Some(read) = known {
        return GuardsOfPass::Read(read);
    }
    let at = context.clock.mono();
    match context.api.read_guards(&handle.key.namespace).await {
        Ok(guards) => {
            let read = GuardsRead { guards, at };
            context.note_guards(&handle.key.namespace, &read);
            GuardsOfPass::Read(read)
        }
        Err(error) => {
            let (namespace, name) = (&handle.key.namespace, &handle.key.name);
            warn!(namespace, name, %error, "the guards were not read; nothing is sent");
            if let Some(memory) = &mut lock(&handle.tracked).memory {
                let before = memory.call_trouble.take();
                let message = CloudMessage { text: error.to_string(), ..CloudMessage::default() };
                let (trouble, now) = (Trouble::GuardUnreadable, context.clock.now());
                let jitter = context.random.jitter();
                let blocker =
                    blocker(trouble, message, before.as_ref(), None, &now, &context.settings, jitter);
                memory.call_trouble = Some(blocker);
            }
            GuardsOfPass::Unreadable
        }
    }
}

/// What a pass knows of the guards.
enum GuardsOfPass {
    /// They were not asked for.
    NotAsked,
    /// They can't be read. The memory of the object says so.
    Unreadable,
    /// They were read.
    Read(GuardsRead),
}

/// What came of deciding.
enum Decided {
    /// The guards have to be read first. Those that were read `since` for another object will do.
    AsksGuards { since: Option<Mono> },
    /// What to do.
    Decision(Box<Decision>),
}

/// Decides with the answer of the account's delete queue, and claims the ids of a wave under the
/// same lock.
fn decided(
    context: &Context,
    handle: &ObjectHandle,
    live: &LiveObject,
    spec: &DeletionSpec,
    may_start: bool,
    guards: &GuardsOfPass,
) -> Option<Decided> {
    let Some(claim) = context.random.claim() else {
        error!("no random numbers from the system; nothing is sent without a claim");
        return None;
    };
    let now = context.clock.now();
    let tracked = &mut *lock(&handle.tracked);
    let memory = tracked.memory.get_or_insert_with(|| {
        let memory = Memory::new(spec, now.mono);
        memory.with_guards(context.last_guards(&handle.key.namespace))
    });
    let input = Input {
        spec,
        status: &live.status,
        other_bytes: live.other_bytes,
        guards: if let GuardsOfPass::Read(read) = guards { Some(read) } else { None },
        evidence: handle.account.evidence(),
        batch_size: handle.account.batch_size(now.mono),
        may_start,
        claim: &claim,
        now: &now,
        cloud_time: context.accounts.client().told_time(&handle.account.endpoint),
        settings: &context.settings,
    };
    let prepared = prepare(input, memory, &mut lock(&handle.account.call_history));
    tracked.stopped = !may_start || prepared.stops_calls();
    let answer = match (handle.account.held(&handle.key, now.mono), prepared.wants()) {
        (0, None) => {
            handle.account.forget(&handle.key);
            None
        }
        (0, Some(want)) => {
            let answer = handle.account.ask(&handle.key, want, now.mono);
            context.metrics.asked(&mut tracked.turn_asked, &answer, now.mono);
            Some(answer)
        }
        (held, Some(_)) => Some(PermitAnswer::Now(held)),
        (held, None) => {
            if matches!(guards, GuardsOfPass::Read(_)) {
                // It was permitted, and a guard bars it.
                handle.account.forget(&handle.key);
            }
            Some(PermitAnswer::Now(held))
        }
    };
    if matches!(guards, GuardsOfPass::NotAsked) && prepared.asks_guards(answer) {
        // The permit is kept for the wave.
        return Some(Decided::AsksGuards { since: prepared.guards_since() });
    }
    let mut decision = prepared.conclude(answer);
    // The call history was read under this lock of the object, but another object may have claimed
    // an id meanwhile. The drain begins before it looks under this lock for calls, so that it
    // overlooks no wave.
    if let Next::Submit(wave) = &decision.next
        && (context.draining() || !send::claim(handle, tracked, wave))
    {
        context.metrics.waved(WaveResult::Taken);
        decision = decision.without_its_wave(now.mono);
    }
    context.call_next(&handle.account);
    Some(Decided::Decision(Box::new(decision)))
}

/// Reads the Secret while the object waits for credentials. Another version than the refused one ends the wait; for a token of
/// IAM that is so once IAM has issued one.
async fn reread_secret(context: &Arc<Context>, handle: &ObjectHandle) {
    let waits = |memory: &Option<Memory>| memory.as_ref().is_some_and(Memory::waits_for_secret);
    if !waits(&lock(&handle.tracked).memory) {
        return;
    }
    let credential = match handle.account.credentials.current().await {
        Ok(Current::Known(credential)) => credential,
        Ok(Current::Asked(answered)) => return wake_after(context, handle, answered),
        Err(_) => return,
    };
    let mut tracked = lock(&handle.tracked);
    let Some(memory) = &mut tracked.memory else { return };
    for trouble in [&mut memory.look_trouble, &mut memory.call_trouble] {
        let another = |blocker: &Blocker| {
            blocker.trouble.ends_with_the_secret()
                && blocker.secret_version.as_ref() != Some(&credential.version)
        };
        if trouble.as_ref().is_some_and(another) {
            debug!(namespace = handle.key.namespace, name = handle.key.name, "the Secret changed; using it");
            *trouble = None;
        }
    }
}

/// Returns what is known of this object. If an earlier object had its name, publishes the outcomes that no status holds, and
/// drops the rest.
fn track(context: &Context, live: &LiveObject) -> Arc<Mutex<Tracked>> {
    let known = context.objects.get(&live.key);
    {
        let mut tracked = lock(&known);
        if tracked.uid.is_empty() {
            tracked.uid.clone_from(&live.uid);
        }
        if tracked.uid == live.uid {
            // Reads have quorum, and the reads of one object follow one another: only a restore makes a revision smaller.
            let revision = Revision::parse(&live.resource_version);
            if revision.is_older_than(tracked.revision) {
                warn!(
                    namespace = live.key.namespace,
                    name = live.key.name,
                    "the API server holds older data than before, as after a restore; listing all objects again"
                );
                context.relist.send_replace(());
            }
            tracked.revision = revision;
            drop(tracked);
            return known;
        }
    }
    gone(context, &live.key);
    let fresh = context.objects.get(&live.key);
    lock(&fresh).uid.clone_from(&live.uid);
    fresh
}

/// Forgets an object that no longer exists, and publishes the outcomes that no status holds.
fn gone(context: &Context, key: &Key) {
    for outcome in context.objects.forget(key) {
        outcome.publish(&context.events, key, "the object is gone");
    }
}

fn after_failure(context: &Context, key: &Key, least: Option<Duration>) -> Duration {
    let tracked = context.objects.get(key);
    let mut tracked = lock(&tracked);
    let wait = backoff(
        tracked.failures,
        context.settings.retry_min,
        context.settings.retry_max,
        context.random.jitter(),
    );
    tracked.failures = tracked.failures.saturating_add(1);
    // The jitter comes on top of the time that the server asks for, so that not all clients return at once. The bound is
    // for a server that asks for days.
    wait + least.unwrap_or_default().min(context.settings.retry_max)
}

#[cfg(test)]
mod tests;
