//! Carries out an account's schedule: one task looks at the accepted instances of all its objects when they are due.

use std::sync::Arc;

use tokio::time::{sleep, sleep_until};
use tracing::error;

use super::requested;
use crate::{
    controller::{
        accounts::{Account, schedule::Step},
        api_server::key::Key,
        state::{context::Context, objects::ObjectHandle},
    },
    engine::{InstanceId, account::schedule::Watch, object::state::memory::LookEnd},
    lock::lock,
    supervise::{self, AGAIN, caught},
};

/// Enters the accepted instances of an object into the account's schedule, and starts the task that carries it out.
pub fn watch(context: &Arc<Context>, handle: &ObjectHandle, watch: &Watch) {
    let account = &handle.account;
    if account.schedule.watch(&handle.key, watch, context.clock.mono()) {
        let (context, account) = (context.clone(), account.clone());
        supervise::task("schedule", async move {
            if caught(carry_out(context.clone(), account.clone())).await.is_none() {
                error!(
                    task = "schedule",
                    "a task panicked; the objects of its account enter their looks anew"
                );
                sleep(AGAIN).await;
                start_over(&context, &account);
            }
        });
    }
}

/// Forgets the looks of a schedule whose task panicked. Each object enters what it has on its way again in its next pass,
/// which starts another task.
fn start_over(context: &Context, account: &Account) {
    for (key, ids) in account.schedule.clear() {
        let now = context.clock.now();
        if let Some(tracked) = context.objects.find(&key)
            && let Some(memory) = &mut lock(&tracked).memory
        {
            let (settings, random) = (&context.settings, context.random.jitter());
            memory.look_answered(&ids, LookEnd { failure: None, now: &now, settings, random });
        }
        context.enqueue(key);
    }
}

async fn carry_out(context: Arc<Context>, account: Arc<Account>) {
    loop {
        let scheduled = &account.schedule;
        match scheduled.step(context.clock.mono(), || context.random.jitter()) {
            Step::Look(looks) => {
                // All of them count as asked for from now on, although the reader may have no room for some yet.
                let looks = looks.into_iter().filter_map(|(key, ids)| asked(&context, &account, key, ids));
                let looks: Vec<_> = looks.collect();
                for (handle, ids) in looks {
                    look(&context, &handle, ids).await;
                }
            }
            Step::Wait(Some(due)) => tokio::select! {
                () = sleep_until(context.clock.instant(due)) => {}
                () = scheduled.changed.notified() => {}
            },
            Step::Wait(None) => scheduled.changed.notified().await,
            Step::End => return,
        }
    }
}

/// Notes that a look at these ids is asked for. Returns `None` if their object is gone.
fn asked(
    context: &Context,
    account: &Arc<Account>,
    key: Key,
    ids: Vec<InstanceId>,
) -> Option<(ObjectHandle, Vec<InstanceId>)> {
    let Some(tracked) = context.objects.find(&key).filter(|_| !context.draining()) else {
        account.schedule.forget(&key);
        return None;
    };
    let uid = {
        let mut tracked = lock(&tracked);
        if let Some(memory) = &mut tracked.memory {
            memory.asked(&ids, context.clock.mono());
        }
        tracked.uid.clone()
    };
    Some((ObjectHandle { key, uid, tracked, account: account.clone() }, ids))
}

async fn look(context: &Arc<Context>, handle: &ObjectHandle, ids: Vec<InstanceId>) {
    let ended = {
        let tracked = lock(&handle.tracked);
        tracked.gone || tracked.memory.is_none()
    };
    if !ended && !context.draining() {
        requested::register_in_turn(context, handle, ids).await;
    }
}
