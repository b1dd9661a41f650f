//! The wire between a process and the API server.

use std::{sync::Arc, time::Duration};

use fake_api_server::{Path, Reply, refusal};
use http::{Request, Response};
use instance_deletion_controller::controller::Key;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use crate::{
    faults::{Channel, Kind},
    record::{Get, Put, SecretRead, Writer, text},
    sim::{Life, PLURAL, Sim, key_of, runs},
};

const KINDS: &[Kind] = &[
    Kind::ApiRequestLost,
    Kind::ApiReplyLost,
    Kind::ApiSlow,
    Kind::ApiHang,
    Kind::ApiAppliedTwice,
    Kind::Api429,
    Kind::Api429RetryAfter,
    Kind::Api500,
    Kind::Api502,
    Kind::Api503,
    Kind::ApiOtherWriter,
];

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client of a process's own, over its own wire.
pub fn client(sim: &Arc<Sim>, process: usize, life: &watch::Receiver<Life>) -> kube::Client {
    let (sim, life) = (sim.clone(), life.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        exchange(sim.clone(), process, life.clone(), request)
    });
    kube::Client::new(service, "default")
}

/// How a message fares.
struct Fate {
    fault: Option<Kind>,
    there: Duration,
    back: Duration,
    /// An error of a server has an effect all the same; a message outlives its sender.
    coin: bool,
}

fn fate(sim: &Sim) -> Fate {
    sim.with(|state| {
        let random = &mut state.random;
        let fault = state.faults.draw(Channel::Api, KINDS, random);
        let ms = |n: usize| Duration::from_millis(n as u64);
        let (mut there, mut back) = (ms(1 + random.below(10)), ms(1 + random.below(10)));
        if fault == Some(Kind::ApiSlow) {
            let slow = random.between(Duration::from_millis(500), Duration::from_secs(14));
            if random.chance(0.5) {
                there = slow;
            } else {
                back = slow;
            }
        }
        Fate { fault, there, back, coin: random.chance(0.5) }
    })
}

/// What a request is about, for the record.
enum About {
    Get(Key),
    Put(usize),
    Secret(Key),
    Other,
}

async fn exchange(
    sim: Arc<Sim>,
    process: usize,
    mut life: watch::Receiver<Life>,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    runs(&mut life).await;
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let method = parts.method.to_string();
    let path = parts.uri.path().to_owned();
    let about = sent(&sim, process, &method, &path, &body);
    let fate = fate(&sim);
    if let Some(fault) = fate.fault {
        sim.say(format_args!("p{process}   fault {fault:?}"));
    }
    let (reply, replied) = oneshot::channel();
    let put = if let About::Put(put) = about { Some(put) } else { None };
    let wire = Wire { sim: sim.clone(), process, life: life.clone(), method, path, body: body.to_vec(), put };
    tokio::spawn(wire.carry(fate, reply));
    let Ok(reply) = replied.await else {
        // Nothing will ever be heard.
        return std::future::pending().await;
    };
    runs(&mut life).await;
    let reply = reply?;
    heard(&sim, process, &about, &reply.0);
    let mut response = Response::builder().status(reply.0.code).header("Content-Type", "application/json");
    if let Some(seconds) = reply.1 {
        response = response.header("Retry-After", seconds);
    }
    Ok(response.body(Body::from(sim.with(|state| state.texts.of(&reply.0.body))))?)
}

/// Notes a request at the moment at which it is sent.
fn sent(sim: &Sim, process: usize, method: &str, path: &str, body: &[u8]) -> About {
    sim.at(|state, moment| {
        let leak = String::from_utf8_lossy(body).contains(crate::plan::TOKEN_PREFIX);
        if leak {
            state.record.leaks.push(format!("{method} {path} holds a token"));
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let what = if path.contains("/events") { text(&body, "/reason") } else { "" };
        state.trace.add(moment.at, format_args!("p{process} {method} {} {what}", shown(path)));
        if method != "GET" {
            state.record.writes += 1;
        }
        match (method, Path::parse(path)) {
            ("GET", Some(Path::Object(place))) if place.plural == PLURAL => About::Get(key_of(&place)),
            ("GET", Some(Path::Object(place))) if place.plural == "secrets" => About::Secret(key_of(&place)),
            ("PUT", Some(Path::Status(place))) => {
                state.record.puts.push(Put {
                    process,
                    key: key_of(&place),
                    uid: text(&body, "/metadata/uid").to_owned(),
                    based_on: text(&body, "/metadata/resourceVersion").to_owned(),
                    sent: moment,
                    applied: None,
                    answered: None,
                    status: Arc::new(body["status"].clone()),
                });
                About::Put(state.record.puts.len() - 1)
            }
            _ => About::Other,
        }
    })
}

/// The name of an event holds the real time: it is not shown.
fn shown(path: &str) -> &str {
    path.find("/events/").map_or(path, |at| path.get(..at + 7).unwrap_or(path))
}

/// Notes a reply at the moment at which it comes.
fn heard(sim: &Sim, process: usize, about: &About, reply: &Reply) {
    let wall = sim.wall_of(process);
    sim.at(|state, answered| {
        let line = |state: &mut crate::sim::State, what: &str| {
            state
                .trace
                .add(answered.at, format_args!("p{process}   {what} {} {}", reply.code, reply.reason()));
        };
        match about {
            About::Get(key) => {
                line(state, &format!("GET {} ->", key.name));
                let object = (reply.code == 200).then(|| reply.body.clone());
                if object.is_some() || reply.code == 404 {
                    let key = key.clone();
                    state.record.gets.push(Get { process, key, answered, object, wall });
                }
            }
            About::Put(number) => {
                line(state, "PUT ->");
                if let Some(put) = state.record.puts.get_mut(*number) {
                    put.answered = Some((answered, reply.code));
                }
            }
            About::Secret(key) => {
                line(state, "Secret ->");
                let token = reply.body.pointer("/data/token").and_then(Value::as_str).and_then(decoded);
                state.record.secrets.push(SecretRead { process, key: key.clone(), answered, token });
            }
            About::Other => {}
        }
    });
}

fn decoded(base64: &str) -> Option<String> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(base64)).ok()?;
    Some(String::from_utf8_lossy(&bytes.0).trim_end().to_owned())
}

/// A request on its way, which may outlive its sender.
struct Wire {
    sim: Arc<Sim>,
    process: usize,
    life: watch::Receiver<Life>,
    method: String,
    path: String,
    body: Vec<u8>,
    put: Option<usize>,
}

type Answer = Result<(Reply, Option<u32>), Error>;

impl Wire {
    async fn carry(self, fate: Fate, answer: oneshot::Sender<Answer>) {
        let Fate { fault, there, back, coin } = fate;
        sleep(there).await;
        if *self.life.borrow() == Life::Dead && coin {
            self.sim.say(format_args!("p{} {} is lost with its sender", self.process, self.method));
            return;
        }
        let reset = || -> Answer { Err("connection reset by peer".into()) };
        let canned = |code, reason| -> Answer { Ok((refusal(code, reason, "no", None), None)) };
        let reply = match fault {
            Some(Kind::ApiRequestLost) => reset(),
            Some(Kind::Api429) => canned(429, "TooManyRequests"),
            Some(Kind::Api429RetryAfter) => Ok((refusal(429, "TooManyRequests", "no", None), Some(3))),
            Some(Kind::Api500) => canned(500, "InternalError"),
            Some(Kind::Api503) => canned(503, "ServiceUnavailable"),
            Some(Kind::Api502) => {
                if coin {
                    self.apply();
                }
                canned(502, "BadGateway")
            }
            Some(Kind::ApiReplyLost) => {
                self.apply();
                reset()
            }
            Some(Kind::ApiHang) => {
                if coin {
                    self.apply();
                }
                drop(answer);
                self.sim.effect(self.process);
                return;
            }
            Some(Kind::ApiAppliedTwice) => {
                self.apply();
                Ok((self.apply(), None))
            }
            Some(Kind::ApiOtherWriter) => {
                self.annotate();
                Ok((self.apply(), None))
            }
            _ => Ok((self.apply(), None)),
        };
        self.sim.effect(self.process);
        sleep(back).await;
        // A caller that has given up hears nothing.
        let _ = answer.send(reply);
    }

    fn apply(&self) -> Reply {
        let writer = self.put.map_or(Writer::Process(self.process), Writer::Put);
        let before = self.sim.with(|state| state.api.history().len());
        let reply = self.sim.at_api(writer, |api| api.handle(&self.method, &self.path, &self.body));
        self.sim.at(|state, moment| {
            if let Some(put) = self.put.and_then(|put| state.record.puts.get_mut(put))
                && reply.code == 200
                && put.applied.is_none()
            {
                put.applied = Some((moment, text(&reply.body, "/metadata/resourceVersion").to_owned()));
            }
            if reply.code >= 400 || state.api.history().len() == before {
                state.trace.add(moment.at, format_args!("   . {} {}", reply.code, reply.reason()));
            }
        });
        reply
    }

    fn annotate(&self) {
        let Some(Path::Object(place) | Path::Status(place)) = Path::parse(&self.path) else { return };
        let edits = self.sim.with(|state| state.effects);
        self.sim.at_api(Writer::Other, |api| {
            api.edit(&place, |object| {
                object["metadata"]["annotations"]["example.com/touched"] = json!(edits.to_string());
            })
        });
    }
}
