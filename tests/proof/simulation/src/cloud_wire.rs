//! The wire between a process and the cloud.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use clouddc_simulator::{InMemoryCloud, InMemoryQuestion, InMemoryReply, InMemoryRequest};
use futures::{FutureExt, future::BoxFuture};
use http_body::Body as _;
use instance_deletion_controller::cloud::{ExchangeError, HttpReply, HttpTransport};
use reqwest::{Request, StatusCode};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use crate::{
    cloud_faults::{Effect, Fate, Way},
    record::{Call, CloudReply, Outcome},
    sim::{Life, Sim, runs},
};

/// The wire of one process.
pub struct CloudWire {
    /// The world.
    pub sim: Arc<Sim>,
    /// Whose wire it is.
    pub process: usize,
    /// Whether that lives.
    pub life: watch::Receiver<Life>,
}

impl HttpTransport for CloudWire {
    fn exchange<'a>(
        &'a self,
        request: Request,
        cap: usize,
        _request_id: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        exchange(self.sim.clone(), self.process, self.life.clone(), request, cap).boxed()
    }
}

/// Notes how a call ended for its caller, also when the caller gives up.
struct Ending {
    sim: Arc<Sim>,
    process: usize,
    call: usize,
    outcome: Outcome,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Deadline);
        self.sim.at(|state, moment| {
            // The dead learn nothing.
            if state.processes.get(self.process).is_some_and(|h| *h.life.borrow() == Life::Dead) {
                return;
            }
            let word = match &outcome {
                Outcome::Reply(reply) => format!("{} {}", reply.status, reply.code()),
                other => format!("{other:?}"),
            };
            state.trace.add(moment.at, format_args!("p{}   call {} -> {word}", self.process, self.call));
            if let Some(call) = state.record.calls.get_mut(self.call) {
                call.outcome = Some((moment, outcome));
            }
        });
    }
}

async fn exchange(
    sim: Arc<Sim>,
    process: usize,
    mut life: watch::Receiver<Life>,
    mut request: Request,
    cap: usize,
) -> Result<HttpReply, ExchangeError> {
    runs(&mut life).await;
    let token = request.headers().get("x-auth-token").and_then(|t| t.to_str().ok()).unwrap_or_default();
    let token = token.to_owned();
    let (method, url) = (request.method().to_string(), request.url().to_string());
    // The ids are in the body, which is looked into only when it leaves.
    let question = question(&method, &url, &token, b"");
    let (call, fate) = begin(&sim, process, &question, &token);
    let mut ending = Ending { sim: sim.clone(), process, call, outcome: Outcome::Deadline };
    sleep(fate.connect).await;
    runs(&mut life).await;
    if matches!(fate.way, Way::Refused) {
        ending.outcome = Outcome::NotSent;
        return Err(ExchangeError::NotSent("connection refused".to_owned()));
    }
    let Some(body) = leave(&mut request).await else {
        ending.outcome = Outcome::TooLate;
        return Err(ExchangeError::TooLate);
    };
    let question = self::question(&method, &url, &token, &body);
    sim.at(|state, moment| {
        if let Some(call) = state.record.calls.get_mut(call) {
            call.left = Some(moment);
            call.ids.clone_from(&question.ids);
        }
        let ids = question.ids.iter().take(3).map(|id| id.get(9..).unwrap_or(id)).collect::<Vec<_>>();
        let (n, operation) = (question.ids.len(), question.operation);
        state.trace.add(
            moment.at,
            format_args!("p{process} call {call} leaves: {operation:?} {n} ids {}…", ids.join(",")),
        );
    });
    let (answer, answered) = oneshot::channel();
    let wire = Wire { sim: sim.clone(), process, life: life.clone(), call, question };
    tokio::spawn(wire.carry(fate, answer));
    let Ok(reply) = answered.await else {
        // Nothing will ever be heard.
        return std::future::pending().await;
    };
    runs(&mut life).await;
    let Some(reply) = reply else {
        ending.outcome = Outcome::Reset;
        return Err(ExchangeError::Unknown("connection reset by peer".to_owned()));
    };
    let heard = understood(&reply);
    ending.outcome = Outcome::Reply(reply);
    if heard.body.len() > cap { Err(ExchangeError::TooLarge) } else { Ok(heard) }
}

fn question(method: &str, url: &str, token: &str, body: &[u8]) -> InMemoryQuestion {
    let uri = url.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    let request = InMemoryRequest { method, uri: uri.unwrap_or("/"), token: Some(token), body };
    #[expect(clippy::expect_used, reason = "a request that was made is a request")]
    InMemoryCloud::question(&request).expect("a request has a form")
}

fn begin(sim: &Sim, process: usize, question: &InMemoryQuestion, token: &str) -> (usize, Fate) {
    sim.at(|state, moment| {
        let fate = Fate::draw(&mut state.faults, &mut state.random, question.operation, &sim.plan);
        let number = state.record.calls.len();
        state.record.calls.push(Call {
            process,
            operation: question.operation,
            project: question.project.clone().unwrap_or_default(),
            token: token.to_owned(),
            ids: question.ids.clone(),
            started: moment,
            left: None,
            arrived: None,
            applied: Vec::new(),
            outcome: None,
        });
        let fault = fate.fault.map(|f| format!(" fault {f:?}")).unwrap_or_default();
        state.trace.add(moment.at, format_args!("p{process} call {number} begins{fault}"));
        (number, fate)
    })
}

/// The body, at the moment at which the request leaves; none if it refuses to.
async fn leave(request: &mut Request) -> Option<Bytes> {
    let Some(body) = request.body_mut() else { return Some(Bytes::new()) };
    let mut bytes = Vec::new();
    loop {
        match std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Some(bytes.into()),
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref()?),
            Some(Err(_)) => return None,
        }
    }
}

fn understood(reply: &CloudReply) -> HttpReply {
    let header = |name: &str| {
        reply.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    HttpReply {
        status: StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        content_type: header("content-type"),
        retry_after: header("retry-after"),
        date: None,
        subject_token: None,
        request_id: header("x-request-id"),
        body: reply.body.clone().into_bytes().into(),
    }
}

/// A request on its way, which may outlive its sender.
struct Wire {
    sim: Arc<Sim>,
    process: usize,
    life: watch::Receiver<Life>,
    call: usize,
    question: InMemoryQuestion,
}

impl Wire {
    /// Carries the request to the cloud and its reply back; a reset is none.
    async fn carry(self, fate: Fate, answer: oneshot::Sender<Option<CloudReply>>) {
        sleep(fate.there).await;
        if *self.life.borrow() == Life::Dead && fate.dies_with_sender {
            return self.sim.say(format_args!("call {} is lost with its sender", self.call));
        }
        if matches!(fate.way, Way::RequestLost) {
            self.sim.effect(self.process);
            return drop(answer);
        }
        let now = self.sim.now();
        let (reply, applied) = self.sim.with(|state| {
            let shape = fate.shape(&self.question.ids);
            let wanted = matches!(fate.effect, Effect::Own | Effect::Hidden);
            let own = wanted.then(|| state.cloud.answer(&self.question, shape.as_ref(), now));
            let changed = |own: &InMemoryReply| [own.applied.as_slice(), own.powered.as_slice()].concat();
            let applied = own.as_ref().map(changed).unwrap_or_default();
            let own = own.map(|own| CloudReply { status: own.status, headers: own.headers, body: own.body });
            let reply = fate.reply(self.question.operation, own, &self.question.ids, &mut state.random);
            (reply, applied)
        });
        self.sim.at(|state, moment| {
            let (call, n) = (self.call, applied.len());
            state.trace.add(moment.at, format_args!("   . call {call} arrives: {} begins {n}", reply.status));
            if let Some(call) = state.record.calls.get_mut(call) {
                call.arrived = Some(moment);
                call.applied = applied;
            }
        });
        self.sim.effect(self.process);
        match fate.way {
            Way::Hang => drop(answer),
            Way::Reset => {
                sleep(fate.back).await;
                let _ = answer.send(None);
            }
            _ => {
                sleep(fate.back).await;
                // A caller that has given up hears nothing.
                let _ = answer.send(Some(reply));
            }
        }
    }
}

/// The least that a message takes.
pub const QUICK: Duration = Duration::from_millis(1);
