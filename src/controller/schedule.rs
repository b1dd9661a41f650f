//! Carries out the account's schedule: looks at what is on its way when it is due, for all objects of the account at once and
//! beside their reconciles.

use std::sync::{Arc, Mutex};

use tokio::{sync::Notify, time::sleep_until};

use super::{
    accounts::{Account, lock},
    api_server::Key,
    calls::Caller,
    context::Context,
    looks,
};
use crate::engine::{
    InstanceId, Mono, Settings,
    account::schedule::{Looks, Schedule, Watch},
};

/// The schedule of one account, and whether somebody carries it out.
pub struct Scheduled {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    schedule: Schedule<Key>,
    carried_out: bool,
}

impl Scheduled {
    /// With nothing on it.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let state = State { schedule: Schedule::new(settings), carried_out: false };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Takes note of the answer to a look of the schedule.
    pub fn answered(&self, key: &Key, asked: &[InstanceId], over: &[InstanceId]) {
        lock(&self.state).schedule.answered(key, asked, over);
        self.changed.notify_one();
    }

    /// Forgets an object.
    pub fn forget(&self, key: &Key) {
        lock(&self.state).schedule.forget(key);
        self.changed.notify_one();
    }

    /// Puts on it what an object has on its way. Returns whether somebody must begin to carry it out.
    fn watch(&self, key: &Key, watch: &Watch, now: Mono) -> bool {
        let state = &mut *lock(&self.state);
        state.schedule.watch(key, watch, now);
        self.changed.notify_one();
        !state.schedule.is_empty() && !std::mem::replace(&mut state.carried_out, true)
    }

    /// What is to be done now.
    fn step(&self, now: Mono, random: impl FnOnce() -> u64) -> Step {
        let state = &mut *lock(&self.state);
        match state.schedule.next() {
            Some(due) if due <= now => Step::Look(state.schedule.take(now, random())),
            Some(due) => Step::Wait(Some(due)),
            None if state.schedule.is_empty() => {
                state.carried_out = false;
                Step::End
            }
            None => Step::Wait(None),
        }
    }
}

enum Step {
    Look(Looks<Key>),
    /// Until then, or until something changes.
    Wait(Option<Mono>),
    /// Nothing is on its way any more.
    End,
}

/// Has the schedule look at what an object has on its way from now on.
pub fn watch(context: &Arc<Context>, caller: &Caller, watch: &Watch) {
    let account = &caller.account;
    if account.schedule.watch(&caller.key, watch, context.clock.mono()) {
        tokio::spawn(carry_out(context.clone(), account.clone()));
    }
}

async fn carry_out(context: Arc<Context>, account: Arc<Account>) {
    loop {
        let scheduled = &account.schedule;
        match scheduled.step(context.clock.mono(), || context.random.jitter()) {
            Step::Look(looks) => {
                // All of them count as asked for from now on, though some will wait for room.
                let looks = looks.into_iter().filter_map(|(key, ids)| asked(&context, &account, key, ids));
                let looks: Vec<_> = looks.collect();
                for (caller, ids) in looks {
                    look(&context, &caller, ids).await;
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

/// Notes that a look at these ids is asked for; none if their object is gone.
fn asked(
    context: &Context,
    account: &Arc<Account>,
    key: Key,
    ids: Vec<InstanceId>,
) -> Option<(Caller, Vec<InstanceId>)> {
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
    Some((Caller { key, uid, tracked, account: account.clone() }, ids))
}

async fn look(context: &Arc<Context>, caller: &Caller, ids: Vec<InstanceId>) {
    let ended = {
        let tracked = lock(&caller.tracked);
        tracked.gone || tracked.memory.is_none()
    };
    if !ended && !context.draining() {
        looks::register_in_turn(context, caller, ids).await;
    }
}
