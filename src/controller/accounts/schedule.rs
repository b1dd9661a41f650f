//! The schedule of looks of an account, shared by its objects.

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

/// The schedule of one account, and whether a task carries it out.
pub struct AccountSchedule {
    state: Mutex<State>,
    /// Notified when something on the schedule changed.
    pub changed: Notify,
}

struct State {
    schedule: Schedule<Key>,
    carried_out: bool,
}

impl AccountSchedule {
    /// Creates an empty schedule.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let state = State { schedule: Schedule::new(settings), carried_out: false };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Enters the answer to a look of the schedule. `over`: the ids that it showed ended.
    pub fn answered(&self, key: &Key, asked: &[InstanceId], over: &[InstanceId]) {
        lock(&self.state).schedule.answered(key, asked, over);
        self.changed.notify_one();
    }

    /// The number of instances and age groups on it.
    pub fn entries(&self) -> usize {
        lock(&self.state).schedule.entries()
    }

    /// Forgets an object.
    pub fn forget(&self, key: &Key) {
        lock(&self.state).schedule.forget(key);
        self.changed.notify_one();
    }

    /// Enters the accepted instances of an object. Returns whether the caller must start a task that carries the schedule out.
    pub fn watch(&self, key: &Key, watch: &Watch, now: Mono) -> bool {
        let state = &mut *lock(&self.state);
        state.schedule.watch(key, watch, now);
        self.changed.notify_one();
        !state.schedule.is_empty() && !std::mem::replace(&mut state.carried_out, true)
    }

    /// Starts over with nothing, after the task that carries the schedule out panicked. Returns what was on its way, by object.
    pub fn clear(&self) -> Looks<Key> {
        let state = &mut *lock(&self.state);
        state.carried_out = false;
        state.schedule.clear()
    }

    /// The next step of the task that carries the schedule out.
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

/// A step of the task that carries the schedule out.
pub enum Step {
    /// Look at these ids now.
    Look(Looks<Key>),
    /// Wait until this moment, or until something changes.
    Wait(Option<Mono>),
    /// Nothing is on the schedule: the task ends.
    End,
}
