//! A request that came to the gateway, and kinds of requests.

use std::time::Instant;

use serde_json::Value;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub at: Instant,
    /// A rule met it.
    pub met: bool,
    /// The status that it would store, without rows: they are many.
    pub status: Value,
    /// A status write that names a claim which none before it named: the intent of a wave.
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

    /// Sees what is new in it.
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

/// Writes of a status that holds the outcome of a call and no new intent.
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

/// Watches.
pub fn watches(asked: &Asked) -> bool {
    asked.query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1")
}

/// Lists.
pub fn lists(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path.ends_with("/instancedeletions") && !watches(asked)
}

/// Events that are told.
pub fn events(asked: &Asked) -> bool {
    asked.path.contains("/events")
}
