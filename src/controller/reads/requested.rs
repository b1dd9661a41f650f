//! Registers looks with the account's reader, and enters what they bring.

use std::sync::Arc;

use tracing::debug;

use crate::{
    cloud::{LookHandler, Reading},
    controller::state::{context::Context, objects::ObjectHandle},
    engine::{
        InstanceId,
        object::state::memory::{LookEnd, Memory},
        outcome::LookFailure,
    },
    lock::lock,
};

/// What asked for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A decision about the object; it is decided again when the answer is there.
    ByDecision,
    /// The account's schedule; the object is decided again if the answer brings anything new.
    BySchedule,
}

/// Registers a look that a decision waits for.
pub fn register(context: &Arc<Context>, handle: &ObjectHandle, ids: Vec<InstanceId>) {
    let look = RequestedLook::new(context, handle, ids.clone(), Wanted::ByDecision);
    handle.account.reader.register(ids, look);
}

/// Registers a look of the account's schedule, once the reader has room for it.
pub async fn register_in_turn(context: &Arc<Context>, handle: &ObjectHandle, ids: Vec<InstanceId>) {
    let look = RequestedLook::new(context, handle, ids.clone(), Wanted::BySchedule);
    handle.account.reader.register_in_turn(ids, look).await;
}

/// A look at instances of one object.
struct RequestedLook {
    context: Arc<Context>,
    handle: ObjectHandle,
    ids: Vec<InstanceId>,
    wanted: Wanted,
    readings: Vec<Reading>,
    /// How many of them the object knows already.
    entered: usize,
}

impl LookHandler for RequestedLook {
    /// Enters the reading into the account's call history at once: from now on no object may send an id that this reading
    /// shows on its way. The object itself is told when its look is over, since it decides about whole batches.
    fn reading(&mut self, reading: &Reading) {
        lock(&self.handle.account.call_history).saw(reading.id, &reading.seen, reading.read);
        self.readings.push(reading.clone());
    }

    /// Tells the object what was read so far: it does not wait for ids whose read hangs.
    fn delayed(&mut self) {
        let fresh = self.readings.get(self.entered..).unwrap_or_default();
        self.entered = self.readings.len();
        let news = {
            let mut tracked = lock(&self.handle.tracked);
            if tracked.uid != self.handle.uid || fresh.is_empty() {
                return;
            }
            let Some(memory) = &mut tracked.memory else { return };
            enter_readings(memory, fresh)
        };
        if news || self.wanted == Wanted::ByDecision {
            self.context.wake(&self.handle.key);
        }
    }

    fn ended(self: Box<Self>, failure: Option<LookFailure>) {
        let Self { context, handle, ids, wanted, readings, entered: _ } = *self;
        let over = readings.iter().filter(|reading| reading.seen.is_an_end());
        let over: Vec<_> = over.map(|reading| reading.id).collect();
        let news = enter(&context, &handle, &ids, &readings, failure);
        if wanted == Wanted::BySchedule {
            handle.account.schedule.answered(&handle.key, &ids, &over);
        }
        if news || wanted == Wanted::ByDecision {
            context.wake(&handle.key);
        }
    }
}

impl RequestedLook {
    fn new(context: &Arc<Context>, handle: &ObjectHandle, ids: Vec<InstanceId>, wanted: Wanted) -> Box<Self> {
        let (context, handle) = (context.clone(), handle.clone());
        Box::new(Self { context, handle, ids, wanted, readings: Vec::new(), entered: 0 })
    }
}

/// Enters readings into an object's memory; those that it knows change nothing. Returns whether one may lead to another
/// decision.
fn enter_readings(memory: &mut Memory, readings: &[Reading]) -> bool {
    let mut news = false;
    for Reading { id, seen, read, facts } in readings {
        news |= memory.is_news(*id, seen);
        memory.saw_facts(*id, seen.clone(), *read, facts.as_ref());
    }
    news
}

/// Enters what a look brought into the object's memory. Returns whether it may lead to another decision.
fn enter(
    context: &Context,
    handle: &ObjectHandle,
    ids: &[InstanceId],
    readings: &[Reading],
    failure: Option<LookFailure>,
) -> bool {
    let now = context.clock.now();
    debug!(
        namespace = handle.key.namespace,
        name = handle.key.name,
        asked = ids.len(),
        read = readings.len(),
        failed = failure.as_ref().map(|f| f.trouble.reason().as_str()),
        "look answered"
    );
    let mut tracked = lock(&handle.tracked);
    if tracked.uid != handle.uid {
        return false;
    }
    let Some(memory) = &mut tracked.memory else { return false };
    lock(&handle.account.call_history).sweep(now.mono, &context.settings);
    let trouble = memory.look_trouble.is_some() || failure.is_some();
    let news = enter_readings(memory, readings) || trouble;
    let (settings, random) = (&context.settings, context.random.jitter());
    memory.look_answered(ids, LookEnd { failure, now: &now, settings, random });
    news
}
