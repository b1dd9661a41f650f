//! What goes wrong with which request.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use harness::until;
use tokio::sync::watch;

use super::Asked;

/// Something that goes wrong with requests of a kind.
pub struct Rule {
    kind: Box<dyn Fn(&Asked) -> bool + Send + Sync>,
    skip: usize,
    times: usize,
    forwards: usize,
    disturb: bool,
    then: Then,
}

/// What the client gets.
pub enum Then {
    /// The server's answer.
    Pass,
    /// The server's answer, once the test releases it.
    Hold,
    /// Nothing: the connection is closed.
    Drop,
    /// Nothing, ever, on a connection that stays open.
    Hang,
    /// This.
    Reply { status: u16, headers: Vec<(&'static str, String)>, body: String },
}

impl Rule {
    /// Happens to requests of this kind. Without more they reach the server and their answer is passed.
    pub fn on(kind: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Self {
        Self {
            kind: Box::new(kind),
            skip: 0,
            times: usize::MAX,
            forwards: 1,
            disturb: false,
            then: Then::Pass,
        }
    }

    /// The first so many are let through.
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Happens so often.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// The server does not get it.
    pub fn unsent(self) -> Self {
        Self { forwards: 0, ..self }
    }

    /// The server gets it twice, and its second answer counts: a retry below the client.
    pub fn twice(self) -> Self {
        Self { forwards: 2, ..self }
    }

    /// Somebody else annotates the object just before the server gets it.
    pub fn disturb(self) -> Self {
        Self { disturb: true, ..self }
    }

    /// The answer waits until it is released.
    pub fn hold(self) -> Self {
        Self { then: Then::Hold, ..self }
    }

    /// The connection is closed without an answer.
    pub fn close(self) -> Self {
        Self { then: Then::Drop, ..self }
    }

    /// No answer ever comes.
    pub fn hang(self) -> Self {
        Self { then: Then::Hang, ..self }
    }

    /// The answer is this failure.
    pub fn fail(self, code: u16, headers: &[(&'static str, &str)]) -> Self {
        let reason = match code {
            409 => "Conflict",
            410 => "Expired",
            429 => "TooManyRequests",
            _ => "InternalError",
        };
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "scripted", "reason": reason, "code": code,
        });
        self.reply(code, headers, &body.to_string())
    }

    /// The answer is this.
    pub fn reply(self, status: u16, headers: &[(&'static str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { then: Then::Reply { status, headers, body: body.to_owned() }, ..self }
    }
}

pub struct Active {
    rule: Rule,
    met: AtomicUsize,
    hits: AtomicUsize,
    released: watch::Sender<bool>,
}

impl Active {
    pub fn new(rule: Rule) -> Self {
        let (met, hits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { rule, met, hits, released: watch::Sender::new(false) }
    }

    /// Whether it happens to this request. Counts it, if it is of its kind.
    pub fn meets(&self, asked: &Asked) -> bool {
        if !(self.rule.kind)(asked) {
            return false;
        }
        let number = self.met.fetch_add(1, Ordering::SeqCst);
        number >= self.rule.skip && number - self.rule.skip < self.rule.times
    }

    pub fn forwards(&self) -> usize {
        self.rule.forwards
    }

    pub fn disturbs(&self) -> bool {
        self.rule.disturb
    }

    pub fn then(&self) -> &Then {
        &self.rule.then
    }

    /// What the server was to get, it has.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::SeqCst);
    }

    pub async fn held(&self) {
        let _ = self.released.subscribe().wait_for(|released| *released).await;
    }
}

/// A rule in force.
pub struct RuleHandle(pub(super) Arc<Active>);

impl RuleHandle {
    /// How often it has happened.
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// Waits until it has happened so often.
    pub fn wait_hits(&self, n: usize) {
        until("the rule has happened", || (self.hits() >= n).then_some(()));
    }

    /// Lets held answers go, now and later.
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }
}
