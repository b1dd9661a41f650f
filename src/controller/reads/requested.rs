//! Registers looks with the account's reader and takes their answers, beside the reconcile that wanted them.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::debug;

use crate::{
    cloud::{Answer, ReadFailure},
    controller::{deletes::send::ObjectHandle, state::context::Context},
    engine::{
        InstanceId,
        object::state::memory::{LookEnd, LookFailure},
        outcome::{CloudMessage, Trouble},
    },
    lock::lock,
};

/// Who wants a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A decision about the object; it is decided again when the answer is there.
    ByDecision,
    /// The account's schedule; the object is decided again if the answer brings anything new.
    BySchedule,
}

/// Asks for a look at these ids, which a decision waits for, and returns.
pub fn register(context: &Arc<Context>, handle: &ObjectHandle, ids: Vec<InstanceId>) {
    let answer = handle.account.reader.register(ids.clone());
    take_answer(context, handle, ids, answer, Wanted::ByDecision);
}

/// Asks for a look of the account's schedule at these ids, and returns when it is registered.
pub async fn register_in_turn(context: &Arc<Context>, handle: &ObjectHandle, ids: Vec<InstanceId>) {
    let answer = handle.account.reader.register_in_turn(ids.clone()).await;
    take_answer(context, handle, ids, answer, Wanted::BySchedule);
}

/// Takes the answer when it comes, beside everything else.
fn take_answer(
    context: &Arc<Context>,
    handle: &ObjectHandle,
    ids: Vec<InstanceId>,
    answer: oneshot::Receiver<Answer>,
    wanted: Wanted,
) {
    let (context, handle) = (context.clone(), handle.clone());
    tokio::spawn(async move {
        // A reader that drops the look without an answer has read nothing.
        let answer = answer.await.unwrap_or_else(|_| Answer {
            readings: Vec::new(),
            failure: Some(ReadFailure {
                trouble: Trouble::CloudUnreachable,
                message: CloudMessage { text: "the look was cut off".to_owned(), ..CloudMessage::default() },
                secret_version: None,
            }),
        });
        let over = answer.readings.iter().filter(|reading| reading.seen.is_an_end());
        let over: Vec<_> = over.map(|reading| reading.id).collect();
        let news = answered(&context, &handle, &ids, answer);
        if wanted == Wanted::BySchedule {
            handle.account.schedule.answered(&handle.key, &ids, &over);
        }
        if news || wanted == Wanted::ByDecision {
            context.wake(&handle.key);
        }
    });
}

/// Enters an answer. Returns whether it brings anything new about ids on their way.
fn answered(context: &Context, handle: &ObjectHandle, ids: &[InstanceId], answer: Answer) -> bool {
    let now = context.clock.now();
    debug!(
        namespace = handle.key.namespace,
        name = handle.key.name,
        asked = ids.len(),
        read = answer.readings.len(),
        failed = answer.failure.as_ref().map(|f| f.trouble.reason().as_str()),
        "look answered"
    );
    let mut tracked = lock(&handle.tracked);
    if tracked.uid != handle.uid {
        return false;
    }
    let Some(memory) = &mut tracked.memory else { return false };
    // What the readings say to all objects, the reader has told them.
    lock(&handle.account.call_history).sweep(now.mono, &context.settings);
    let mut news = memory.look_trouble.is_some() || answer.failure.is_some();
    for reading in answer.readings {
        news |= memory.is_news(reading.id, &reading.seen);
        memory.saw(reading.id, reading.seen, reading.sent);
    }
    let failure = answer.failure.map(|ReadFailure { trouble, message, secret_version }| LookFailure {
        trouble,
        message,
        secret_version,
    });
    let (settings, random) = (&context.settings, context.random.jitter());
    memory.look_answered(ids, LookEnd { failure, now: &now, settings, random });
    news
}
