//! Replies, and the `Status` object of an error.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Place;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub code: u16,
    /// Body.
    pub body: Arc<Value>,
}

impl Reply {
    /// `reason` of a refusal; empty for anything else.
    #[must_use]
    pub fn reason(&self) -> &str {
        if self.body["kind"] == "Status" { self.body["reason"].as_str().unwrap_or_default() } else { "" }
    }
}

/// An error reply, worded as a real API server does.
#[must_use]
pub fn refusal(code: u16, reason: &str, message: &str, place: Option<&Place>) -> Reply {
    let mut body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    });
    if let Some(place) = place {
        body["details"] = json!({"name": place.name, "group": place.group, "kind": place.plural});
    }
    Reply { code, body: Arc::new(body) }
}

/// The reply to a deletion.
pub fn success(place: &Place, uid: &str) -> Reply {
    let details = json!({"name": place.name, "group": place.group, "kind": place.plural, "uid": uid});
    let body: Value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Reply { code: 200, body: Arc::new(body) }
}
