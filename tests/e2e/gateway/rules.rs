//! Rules: which requests fail, and how.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use harness::until;
use tokio::sync::watch;

use super::Asked;

/// A fault of requests of one kind.
pub struct Rule {
    kind: Box<dyn Fn(&Asked) -> bool + Send + Sync>,
    skip: usize,
    times: usize,
    forwards: usize,
    disturb: bool,
    then: Then,
}

/// What the client receives.
pub enum Then {
    /// The server's answer.
    Pass,
    /// The server's answer, after the test releases it.
    Hold,
    /// Nothing: the connection is closed.
    Drop,
    /// Nothing, on a connection that stays open.
    Hang,
    /// This answer.
    Reply { status: u16, headers: Vec<(&'static str, String)>, body: String },
}

impl Rule {
    /// A rule for requests of this kind. Without further calls it changes nothing: requests and answers pass.
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

    /// Lets the first `n` requests through.
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Applies to `n` requests, then no more.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Keeps the request from the server.
    pub fn unsent(self) -> Self {
        Self { forwards: 0, ..self }
    }

    /// Sends the request to the server twice and forwards the second answer, as a retry below the client does.
    pub fn twice(self) -> Self {
        Self { forwards: 2, ..self }
    }

    /// Lets another client annotate the object just before the server gets the request.
    pub fn disturb(self) -> Self {
        Self { disturb: true, ..self }
    }

    /// Holds the answer until the test releases it.
    pub fn hold(self) -> Self {
        Self { then: Then::Hold, ..self }
    }

    /// Closes the connection without an answer.
    pub fn close(self) -> Self {
        Self { then: Then::Drop, ..self }
    }

    /// Never answers.
    pub fn hang(self) -> Self {
        Self { then: Then::Hang, ..self }
    }

    /// Answers with this failure.
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

    /// Answers with this.
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

    /// Whether the rule applies to this request. Counts the request if it is of the rule's kind.
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

    /// Counts a request to which the rule applies, after it was sent to the server or kept from it.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::SeqCst);
    }

    pub async fn held(&self) {
        let _ = self.released.subscribe().wait_for(|released| *released).await;
    }
}

/// Handle of a rule.
pub struct RuleHandle(pub(super) Arc<Active>);

impl RuleHandle {
    /// How many requests it has applied to.
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// Waits until it has applied to `n` requests.
    pub fn wait_hits(&self, n: usize) {
        until("the rule applies", || (self.hits() >= n).then_some(()));
    }

    /// Releases held answers, and holds none any more.
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }
}
