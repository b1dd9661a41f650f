//! A request that reached the gateway, and predicates for kinds of requests.

use std::time::Instant;

use serde_json::Value;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub at: Instant,
    /// Whether a rule applied to it.
    pub met: bool,
    /// The status that it would store, without its rows.
    pub status: Value,
    /// Whether it is a status write with a claim that no earlier write had: the intent of a wave.
    intent: bool,
}

impl Asked {
    pub fn new(parts: &hyper::http::request::Parts, body: &[u8]) -> Self {
        let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut status = body["status"].take();
        if let Some(status) = status.as_object_mut() {
            status.remove("instances");
        }
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            at: Instant::now(),
            met: false,
            status,
            intent: false,
        }
    }

    /// Finds out whether the request is an intent, by comparison with the requests before it.
    pub fn compare(&mut self, before: &[Asked]) {
        let known =
            |claim: &str| before.iter().any(|b| b.path == self.path && b.claims().any(|c| c == claim));
        self.intent = status_writes(self) && self.claims().any(|claim| !known(claim));
    }

    fn claims(&self) -> impl Iterator<Item = &str> {
        let batches = self.status["batches"].as_array().map_or(&[][..], Vec::as_slice);
        batches.iter().filter_map(|batch| batch["claim"].as_str())
    }
}

/// Writes of a status.
pub fn status_writes(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.path.ends_with("/status")
}

/// Writes of the intent of a wave.
pub fn intents(asked: &Asked) -> bool {
    asked.intent
}

/// Writes of a status with the outcome of a call and without a new intent.
pub fn outcomes(asked: &Asked) -> bool {
    let batches = asked.status["batches"].as_array();
    status_writes(asked)
        && !asked.intent
        && batches.is_some_and(|all| all.iter().any(|b| b["returned"].is_u64()))
}

/// Reads of one object.
pub fn gets(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path.contains("/instancedeletions/")
}

/// Reads of a Secret.
pub fn secrets(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path.contains("/secrets/")
}

/// Watches of the objects.
pub fn watches(asked: &Asked) -> bool {
    asked.path.ends_with("/instancedeletions") && is_watch(asked)
}

fn is_watch(asked: &Asked) -> bool {
    asked.query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1")
}

/// Reads of all guards, as they are made before a wave: not the watch, and not the list that begins it.
pub fn guard_reads(asked: &Asked) -> bool {
    let of_watch =
        is_watch(asked) || asked.query.contains("limit=") || asked.query.contains("resourceVersion");
    asked.path.ends_with("/deletionguards") && !of_watch
}

/// The watch of the guards, which begins after the list that has every object ask anew what they say.
pub fn guard_watches(asked: &Asked) -> bool {
    is_watch(asked) && asked.path.ends_with("/deletionguards")
}

/// Lists.
pub fn lists(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path.ends_with("/instancedeletions") && !is_watch(asked)
}

/// Writes of Events.
pub fn events(asked: &Asked) -> bool {
    asked.path.contains("/events")
}
