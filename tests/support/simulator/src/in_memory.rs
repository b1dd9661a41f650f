//! The cloud without sockets and clock: requests come as values, and time is passed in.
//!
//! For simulations in virtual time. The rules, refusals and replies are those of the [`Simulator`](crate::Simulator).

use std::time::Duration;

use hyper::http::Request;

use crate::{
    clock::{Moment, millis, set_off},
    cloud_api::answer,
    facts::{Facts, RowFacts},
    faults::Fault,
    instance::Status,
    log::Operation,
    options::{EndTime, Options},
    power::{Power, PowerCourse},
    projects::Projects,
    request::Asked,
    shared::State,
    tokens::Token,
};

/// The cloud.
#[derive(Debug)]
pub struct InMemoryCloud {
    state: State,
    /// Wall clock at the start, as the cloud has it.
    started_unix_ms: u64,
}

/// A request as it came.
#[derive(Clone, Copy)]
pub struct InMemoryRequest<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// URL, or its path and query.
    pub uri: &'a str,
    /// `X-Auth-Token`.
    pub token: Option<&'a str>,
    /// Body.
    pub body: &'a [u8],
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub struct InMemoryQuestion {
    /// The operation.
    pub operation: Operation,
    /// Project of the path.
    pub project: Option<String>,
    /// Ids asked for, as sent: of servers in ChangeServerPowerState and ShowServer, else of instances.
    pub ids: Vec<String>,
    /// `action` of ChangeServerPowerState, as sent.
    pub action: Option<String>,
    asked: Asked,
}

/// A reply, and what it means.
#[derive(Clone)]
pub struct InMemoryReply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
    /// Instances that went to shutting-down.
    pub applied: Vec<String>,
    /// Instances whose power is being changed.
    pub powered: Vec<String>,
    /// Ids in the reply.
    pub returned: Vec<String>,
}

/// Without token and body, which may have a password.
impl std::fmt::Debug for InMemoryRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemoryRequest")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

/// Without headers, which may have a token.
impl std::fmt::Debug for InMemoryReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemoryReply")
            .field("status", &self.status)
            .field("body", &self.body)
            .field("applied", &self.applied)
            .field("powered", &self.powered)
            .field("returned", &self.returned)
            .finish_non_exhaustive()
    }
}

impl InMemoryCloud {
    /// As a simulator that has just started. `started_unix_ms` is its wall clock then.
    #[must_use]
    pub fn new(options: &Options, started_unix_ms: u64) -> Self {
        Self {
            state: State::new(options, started_unix_ms),
            started_unix_ms: set_off(started_unix_ms, options.clock_offset_seconds),
        }
    }

    /// Takes a request apart; none if it has no form at all.
    #[must_use]
    pub fn question(request: &InMemoryRequest<'_>) -> Option<InMemoryQuestion> {
        let mut http = Request::builder()
            .method(request.method)
            .uri(request.uri)
            .header("Content-Type", "application/json;charset=utf-8");
        if let Some(token) = request.token {
            http = http.header("X-Auth-Token", token);
        }
        let (parts, ()) = http.body(()).ok()?.into_parts();
        let asked = Asked::read(&parts, Some(request.body));
        let (operation, project, ids) = (asked.operation, asked.project.clone(), asked.ids.clone());
        let action = asked.action.clone();
        Some(InMemoryQuestion { operation, project, ids, action, asked })
    }

    /// Carries a request out. Of the fault only what shapes the accepted and the returned ids counts.
    pub fn answer(
        &mut self,
        question: &InMemoryQuestion,
        fault: Option<&Fault>,
        now: Duration,
    ) -> InMemoryReply {
        let moment = Moment { now, unix_ms: self.started_unix_ms.saturating_add(millis(now)) };
        let answer = answer(&mut self.state, &question.asked, fault, moment);
        InMemoryReply {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
            applied: answer.applied,
            powered: answer.powered,
            returned: answer.returned,
        }
    }

    /// Accepts a token for every project.
    pub fn add_token(&mut self, label: &str, value: &str) {
        self.state.tokens.add(Token::new(label, value, Projects::All));
    }

    /// Accepts this value no longer.
    pub fn revoke_token(&mut self, value: &str) {
        self.state.tokens.revoke(|token| token.value == value);
    }

    /// An id that no instance has.
    pub fn fresh_id(&mut self) -> String {
        self.state.world.fresh_id()
    }

    /// Sets an instance's state by hand; adds it if there is none.
    pub fn set_state(&mut self, project: &str, id: &str, state: &str, now: Duration) {
        self.state.world.set(project, id, Status::new(state), now);
    }

    /// Removes an instance: the cloud does not know it any more.
    pub fn remove(&mut self, project: &str, id: &str) {
        self.state.world.remove(project, id);
    }

    /// How the deletions of an instance go: how long they take, and how many fall to error first.
    pub fn set_course(
        &mut self,
        project: &str,
        id: &str,
        end: Option<EndTime>,
        failures: Option<u32>,
        now: Duration,
    ) {
        self.state.world.set_course(project, id, end, failures, now);
    }

    /// How the power-offs of an instance's server go: how long a change of power takes, and how many power-offs fail first.
    pub fn set_power_course(
        &mut self,
        project: &str,
        id: &str,
        end: Option<EndTime>,
        failures: Option<u32>,
        now: Duration,
    ) {
        self.state.world.set_power_course(project, id, end, failures, now);
    }

    /// An operator powers an instance on or off, at once; what is under way changes nothing any more. False if there is no
    /// such instance, or if it is neither running nor stopped.
    pub fn switch(&mut self, project: &str, id: &str, on: bool, now: Duration) -> bool {
        self.state.world.switch(project, id, on, now)
    }

    /// The power of the server that an instance is on, or was on last.
    pub fn power(&mut self, project: &str, id: &str, now: Duration) -> Option<Power> {
        self.state.world.power(project, id, now)
    }

    /// The courses of all accepted power calls on servers of a project, one for each server, in the order in which they
    /// began.
    pub fn power_courses(&mut self, project: &str, now: Duration) -> Vec<PowerCourse> {
        self.state.world.power_courses(project, now)
    }

    /// The instances that are on these servers now.
    pub fn on_servers(&mut self, project: &str, servers: &[String], now: Duration) -> Vec<String> {
        self.state.world.on_servers(project, servers, now)
    }

    /// Adds a running instance on the server of another one, which has to be terminated or to have vanished. False if there is
    /// no such instance, or if its server is in use or its power is being changed.
    pub fn reuse_server(&mut self, project: &str, of: &str, id: &str, now: Duration) -> bool {
        self.state.world.reuse_server(project, of, id, now)
    }

    /// Whether running instances may be deleted from now on.
    pub fn set_running_deletable(&mut self, deletable: bool) {
        self.state.world.rules.running_deletable = deletable;
    }

    /// What an instance is; `None` if there is no such instance.
    #[must_use]
    pub fn facts(&self, project: &str, id: &str) -> Option<&Facts> {
        self.state.world.facts(project, id)
    }

    /// Changes what an instance is. False if there is no such instance.
    pub fn set_facts(&mut self, project: &str, id: &str, facts: Facts, now: Duration) -> bool {
        self.state.world.set_facts(project, id, facts, now)
    }

    /// Which facts the rows of ListInstances and ListServers have.
    pub fn set_row_facts(&mut self, form: RowFacts) {
        self.state.world.rules.row_facts = form;
    }

    /// The state of an instance, whatever reads show.
    pub fn state(&mut self, project: &str, id: &str, now: Duration) -> Option<String> {
        self.state.world.actual(project, id, now).map(|status| status.state)
    }
}
