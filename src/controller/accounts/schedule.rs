//! The schedule of an account, shared by its objects.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::{
    controller::api_server::key::Key,
    engine::{
        InstanceId, Mono, Settings,
        account::schedule::{Looks, Schedule, Watch},
    },
    lock::lock,
};

/// The schedule of one account, and whether somebody carries it out.
pub struct Scheduled {
    state: Mutex<State>,
    pub changed: Notify,
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
    pub fn watch(&self, key: &Key, watch: &Watch, now: Mono) -> bool {
        let state = &mut *lock(&self.state);
        state.schedule.watch(key, watch, now);
        self.changed.notify_one();
        !state.schedule.is_empty() && !std::mem::replace(&mut state.carried_out, true)
    }

    /// What is to be done now.
    pub fn step(&self, now: Mono, random: impl FnOnce() -> u64) -> Step {
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

/// What is to be done about the schedule.
pub enum Step {
    Look(Looks<Key>),
    /// Until then, or until something changes.
    Wait(Option<Mono>),
    /// Nothing is on its way any more.
    End,
}
