//! A Kubernetes API server in memory, as far as a controller of one custom resource uses it.
//!
//! No sockets, no clock, no randomness: [`MemoryApiServer::handle`] takes a request and returns the reply, and the caller
//! sets the time. It knows objects with a status subresource (GET, LIST, PUT, PUT of the status, DELETE with
//! preconditions), Secrets and Events, and keeps every version of every object. An end-to-end test compares it with the
//! real one.

mod objects;
mod path;
mod refusal;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

pub use path::{Path, Place};
pub use refusal::{Reply, refusal};
use serde_json::{Value, json};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Created.
    Added,
    /// Changed.
    Modified,
    /// Deleted: the version holds its last content, at the revision of the deletion.
    Deleted,
}

impl Change {
    /// The `type` of a watch event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One version of one object.
#[derive(Clone, Debug)]
pub struct Version {
    /// Where the object is.
    pub place: Place,
    /// The change that made this version.
    pub change: Change,
    /// The resourceVersion: one counter for all objects.
    pub revision: u64,
    /// The object.
    pub object: Arc<Value>,
}

/// The server.
#[derive(Debug, Default)]
pub struct MemoryApiServer {
    revision: u64,
    made: u64,
    now: String,
    objects: BTreeMap<Place, Arc<Value>>,
    history: Vec<Version>,
    events: Vec<Value>,
}

impl MemoryApiServer {
    /// A server without objects.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time of timestamps.
    pub fn set_time(&mut self, rfc3339: String) {
        self.now = rfc3339;
    }

    /// Every version of every object, oldest first: the events of a watch from the beginning.
    #[must_use]
    pub fn history(&self) -> &[Version] {
        &self.history
    }

    /// Forgets all versions but the current ones.
    pub fn forget_history(&mut self) {
        self.history.clear();
    }

    /// The current object; none if it does not exist.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<&Arc<Value>> {
        self.objects.get(place)
    }

    /// All objects of a kind, in order.
    pub fn list<'a>(&'a self, plural: &'a str) -> impl Iterator<Item = (&'a Place, &'a Arc<Value>)> {
        self.objects.iter().filter(move |(place, _)| place.plural == plural)
    }

    /// Bodies of the Events that clients have created.
    #[must_use]
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    /// Answers a request. `path` is that of the URL, without a query.
    pub fn handle(&mut self, method: &str, path: &str, body: &[u8]) -> Reply {
        let Some(path) = Path::parse(path) else {
            return refusal(404, "NotFound", "the server could not find the requested resource", None);
        };
        let body = if body.is_empty() { Some(Value::Null) } else { serde_json::from_slice(body).ok() };
        let Some(body) = body else {
            return refusal(400, "BadRequest", "the object provided is unrecognized", None);
        };
        match (method, path) {
            ("POST", Path::Collection(place)) if place.plural == "events" => {
                self.events.push(body.clone());
                Reply { code: 201, body: Arc::new(body) }
            }
            ("PATCH", Path::Object(place)) if place.plural == "events" => {
                self.events.push(body.clone());
                Reply { code: 200, body: Arc::new(body) }
            }
            ("POST", Path::Collection(place)) => self.create(&place, body),
            ("GET", Path::Collection(place)) => self.listed(&place),
            ("GET", Path::Object(place)) => match self.objects.get(&place) {
                Some(object) => Reply { code: 200, body: object.clone() },
                None => not_found(&place),
            },
            ("PUT", Path::Object(place)) => self.replace(&place, &body),
            ("PUT", Path::Status(place)) => self.replace_status(&place, &body),
            ("DELETE", Path::Object(place)) => self.delete(&place, &body),
            _ => refusal(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
                None,
            ),
        }
    }
}

impl MemoryApiServer {
    fn listed(&self, place: &Place) -> Reply {
        let in_it = |own: &Place| {
            let namespace = place.namespace.is_empty() || own.namespace == place.namespace;
            own.group == place.group && own.plural == place.plural && namespace
        };
        let items = self.objects.iter().filter(|(own, _)| in_it(own));
        let items: Vec<_> = items.map(|(_, object)| Value::clone(object)).collect();
        let metadata = json!({"resourceVersion": self.revision.to_string()});
        Reply { code: 200, body: Arc::new(json!({"kind": "List", "metadata": metadata, "items": items})) }
    }
}

fn not_found(place: &Place) -> Reply {
    refusal(404, "NotFound", &format!("{} \"{}\" not found", place.resource(), place.name), Some(place))
}

fn conflict(place: &Place, why: &str) -> Reply {
    let text = format!("Operation cannot be fulfilled on {} \"{}\": {why}", place.resource(), place.name);
    refusal(409, "Conflict", &text, Some(place))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The status of a new object, as the schema of the resource has it.
fn fresh_status() -> Value {
    json!({"observedGeneration": -1})
}
