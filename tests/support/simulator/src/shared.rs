//! What the cloud API, the admin interface and the library's handle have in common.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    access_keys::AccessKeys,
    clock::Clock,
    fault_book::FaultBook,
    issued_tokens::IssuedTokens,
    log::Log,
    options::{LastPage, Options, UnauthorizedCode},
    random::Random,
    rate_limit::{Limiter, RateLimit},
    tokens::Tokens,
    users::Users,
    world::World,
};

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
    pub(crate) access_keys: AccessKeys,
    pub(crate) users: Users,
    pub(crate) issued: IssuedTokens,
    pub(crate) token_life: Duration,
    /// Ids of projects by name.
    pub(crate) project_names: BTreeMap<String, String>,
    pub(crate) faults: FaultBook,
    pub(crate) limiter: Limiter,
    pub(crate) delete_limit: Option<RateLimit>,
    pub(crate) read_limit: Option<RateLimit>,
    pub(crate) last_page: LastPage,
    /// The most rows of a page.
    pub(crate) page_rows: Option<usize>,
    pub(crate) unauthorized: UnauthorizedCode,
    pub(crate) requests: u64,
    pub(crate) tokens_issued: u64,
    /// Of the values of issued tokens.
    pub(crate) seed: u64,
}

impl State {
    pub(crate) fn new(options: &Options, started_unix_ms: u64) -> Self {
        Self {
            world: World::new(options, started_unix_ms),
            tokens: Tokens::new(options.tokens.clone()),
            access_keys: AccessKeys::new(options.access_keys.clone()),
            users: Users::new(options.users.clone()),
            issued: IssuedTokens::default(),
            token_life: options.token_life,
            project_names: options.project_names.clone(),
            faults: FaultBook::default(),
            limiter: Limiter::default(),
            delete_limit: options.delete_limit.clone(),
            read_limit: options.read_limit.clone(),
            last_page: options.last_page,
            page_rows: options.page_rows,
            unauthorized: options.unauthorized,
            requests: 0,
            tokens_issued: 0,
            seed: options.seed ^ started_unix_ms,
        }
    }

    /// Returns how many users were removed.
    pub(crate) fn remove_user(&mut self, name: &str, now: Duration) -> usize {
        self.issued.revoke(name, now);
        self.users.remove(name)
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
        let clock = Clock::new(options.clock_offset_seconds);
        let state = Mutex::new(State::new(&options, clock.started_unix_ms()));
        Self { clock, log: Log::new(), options, state }
    }

    /// How long the reply to this request is delayed.
    pub(crate) fn reply_delay(&self, request: u64) -> Duration {
        let mut random = Random::for_name(self.options.seed, "reply", request);
        self.options.reply_delay.mul_f64(random.unit())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As at the start: no instances, faults, issued tokens and log entries; the rest as in the options.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        let (requests, tokens_issued) = (state.requests, state.tokens_issued);
        state.faults.clear();
        *state = State::new(&self.options, self.clock.started_unix_ms());
        (state.requests, state.tokens_issued) = (requests, tokens_issued);
        self.clock.set_offset(self.options.clock_offset_seconds);
        self.log.clear();
    }
}
