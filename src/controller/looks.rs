//! Registers looks with the account's reader and takes their answers, beside the reconcile that wanted them.

use std::sync::Arc;

use tracing::debug;

use super::{accounts::lock, calls::Caller, context::Context};
use crate::{
    cloud::{Answer, ReadFailure},
    engine::{
        InstanceId,
        object::standing::standing,
        reply::{Note, Trouble},
    },
};

/// Asks for a look at these ids and returns. The answer wakes the object.
pub fn register(context: &Arc<Context>, caller: &Caller, ids: Vec<InstanceId>) {
    let answer = caller.account.reader.register(ids.clone());
    let (context, caller) = (context.clone(), caller.clone());
    tokio::spawn(async move {
        // A reader that drops the look without an answer has read nothing.
        let answer = answer.await.unwrap_or_else(|_| Answer {
            readings: Vec::new(),
            failure: Some(ReadFailure {
                trouble: Trouble::CloudUnreachable,
                note: Note { text: "the look was cut off".to_owned(), ..Note::default() },
                secret_version: None,
            }),
        });
        answered(&context, &caller, &ids, answer);
        context.wake(&caller.key);
    });
}

fn answered(context: &Context, caller: &Caller, ids: &[InstanceId], answer: Answer) {
    let now = context.clock.now();
    debug!(
        namespace = caller.key.namespace,
        name = caller.key.name,
        asked = ids.len(),
        read = answer.readings.len(),
        failed = answer.failure.as_ref().map(|f| f.trouble.reason()),
        "look answered"
    );
    let mut tracked = lock(&caller.tracked);
    if tracked.uid != caller.uid {
        return;
    }
    let Some(memory) = &mut tracked.memory else { return };
    // What the readings say to all objects, the reader has told them.
    lock(&caller.account.marks).sweep(now.mono, &context.settings);
    for reading in answer.readings {
        memory.saw(reading.id, reading.seen, reading.sent);
    }
    memory.answered(ids);
    memory.look_trouble = answer.failure.map(|failure| {
        standing(
            failure.trouble,
            failure.note,
            memory.look_trouble.as_ref(),
            failure.secret_version,
            &now,
            &context.settings,
            context.random.jitter(),
        )
    });
}
