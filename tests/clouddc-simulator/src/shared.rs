//! What the cloud API, the admin interface and the library's handle have in common.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::fault_book::FaultBook;
use crate::log::Log;
use crate::options::{LastPage, Options, UnauthorizedCode};
use crate::rate_limit::{Limiter, RateLimit};
use crate::tokens::Tokens;
use crate::world::World;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) log: Log,
    options: Options,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) tokens: Tokens,
    pub(crate) faults: FaultBook,
    pub(crate) limiter: Limiter,
    pub(crate) delete_limit: Option<RateLimit>,
    pub(crate) read_limit: Option<RateLimit>,
    pub(crate) last_page: LastPage,
    pub(crate) unauthorized: UnauthorizedCode,
    pub(crate) requests: u64,
}

impl State {
    pub(crate) fn new(options: &Options, started_unix_ms: u64) -> Self {
        Self {
            world: World::new(options, started_unix_ms),
            tokens: Tokens::new(options.tokens.clone()),
            faults: FaultBook::default(),
            limiter: Limiter::default(),
            delete_limit: options.delete_limit.clone(),
            read_limit: options.read_limit.clone(),
            last_page: options.last_page,
            unauthorized: options.unauthorized,
            requests: 0,
        }
    }

    /// Counting begins anew.
    pub(crate) fn set_limits(&mut self, delete: Option<RateLimit>, read: Option<RateLimit>) {
        self.delete_limit = delete;
        self.read_limit = read;
        self.limiter = Limiter::default();
    }
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let clock = Clock::new();
        let state = Mutex::new(State::new(&options, clock.started_unix_ms()));
        Self { clock, log: Log::new(), options, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As at the start: no instances, faults and log entries, the tokens and limits of the options.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        let requests = state.requests;
        state.faults.clear();
        *state = State::new(&self.options, self.clock.started_unix_ms());
        state.requests = requests;
        self.log.clear();
    }
}
