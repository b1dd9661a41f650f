//! What a reply of the cloud means, in terms of what the controller does next.

use std::collections::HashSet;

use k8s_openapi::jiff::Timestamp;
use reqwest::StatusCode;

use super::{
    bodies::{DeleteReply, InstanceBody, ListReply, error_of, starts_as_page},
    retry_after::{http_date, retry_after, stated_limit},
    transport::HttpReply,
};
use crate::engine::{
    InstanceId,
    outcome::{CallOutcome, CloudMessage, Refusal, Trouble},
    state::Seen,
};

impl HttpReply {
    /// The message of the reply, bounded and printable. `redact` removes secrets.
    fn message(&self, redact: &dyn Fn(&str) -> String) -> CloudMessage {
        let (code, message) = error_of(&self.body);
        let limit = stated_limit(&message).map(Box::new);
        let message = if message.is_empty() { format!("HTTP {}", self.status.as_u16()) } else { message };
        CloudMessage {
            request_id: self.request_id.as_ref().map(|id| printable(&redact(id), 64)),
            code: code.map(|code| printable(&redact(&code), 64)),
            text: printable(&redact(&message), 256),
            limit,
        }
    }

    fn code(&self) -> String {
        error_of(&self.body).0.unwrap_or_default()
    }

    /// The trouble of a success that can't be parsed. An HTML page is not from this API, whatever its status.
    fn unreadable(&self, message: &mut CloudMessage) -> Trouble {
        let typed = self.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        let page = typed.contains("html") || starts_as_page(&self.body);
        let what = match std::str::from_utf8(&self.body) {
            _ if page => "an HTML page",
            // Compressed though the request asked for no encoding, or in another character set.
            Err(_) => "a body that is no text",
            Ok(_) => "a body that lists no instances",
        };
        message.text = format!("HTTP {} with {what}", self.status.as_u16());
        message.code = None;
        if page { Trouble::EndpointMisconfigured } else { Trouble::CloudUnreachable }
    }

    /// Whether the body may be JSON. A reply without `Content-Type` is judged by its body alone.
    fn may_be_json(&self) -> bool {
        let essence = self.content_type.as_deref().map(|t| t.split(';').next().unwrap_or_default().trim());
        essence.is_none_or(|essence| essence.to_ascii_lowercase().ends_with("json"))
    }

    /// The body, if it is JSON of this form.
    fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        if self.may_be_json() { serde_json::from_slice(&self.body).ok() } else { None }
    }
}

/// Text from outside, cut to `most` characters, with `?` for everything but printable ASCII.
pub fn printable(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(most).collect()
}

/// Whether a call with this answer may have had an effect.
enum Certainty {
    /// It had no effect.
    Definite,
    /// It may have had one.
    Unknown,
}

/// The trouble that a status outside 2xx means, for any operation.
fn trouble(response: &HttpReply, now: Timestamp) -> (Trouble, Certainty) {
    use Certainty::{Definite, Unknown};
    match response.status.as_u16() {
        401 => (Trouble::CredentialsRejected, Definite),
        403 => (Trouble::Forbidden, Definite),
        429 => {
            // A date in `Retry-After` is by the clock of the sender.
            let now = response.date.as_deref().and_then(http_date).unwrap_or(now);
            let wait = response.retry_after.as_deref().and_then(|header| retry_after(header, now));
            (Trouble::Throttled { retry_after: wait }, Definite)
        }
        // The service, not the gateway, understood and refused the request.
        404 if response.code().starts_with("iMetal.") => (Trouble::RequestRefused, Definite),
        404 => (Trouble::EndpointMisconfigured, Definite),
        400 | 409 => (Trouble::RequestRefused, Definite),
        300..=399 => (Trouble::EndpointMisconfigured, Unknown),
        400..=499 => (Trouble::RequestRefused, Unknown),
        _ => (Trouble::CloudUnreachable, Unknown),
    }
}

/// Codes of a state that allows no deletion (vendor: *Error Codes*). 0101 is about a server; 0201 is presumably the same about
/// an instance: the page is cut off there.
const STATE_CODES: [&str; 2] = ["iMetal.0101", "iMetal.0201"];

/// What a definite refusal says about the ids of the call.
fn refusal(response: &HttpReply, sent: &[InstanceId]) -> Refusal {
    let code = response.code();
    let named = named(response, sent);
    let whole_batch = sent.len() > 1 && named.len() == sent.len();
    let state_code = STATE_CODES.contains(&code.as_str());
    match (response.status.as_u16(), sent, named.is_empty()) {
        (409, _, false) => Refusal::Conflict(named),
        (409, [_], true) => Refusal::Conflict(sent.to_vec()),
        (409, _, true) => Refusal::UnnamedConflict,
        (404, _, _) if !code.starts_with("iMetal.") => Refusal::Whole,
        (404, _, false) => Refusal::Missing(named),
        (404, [_], true) => Refusal::Missing(sent.to_vec()),
        (400, _, _) if code.starts_with("APIGW.") || starts_as_page(&response.body) => Refusal::Whole,
        (400, [_], true) if state_code => Refusal::Conflict(sent.to_vec()),
        // Each id was read alive lately. So whatever the code says of those that it names, their state is at fault. But a refusal
        // that names all ids says no more than one that names none: the request may be at fault.
        (400, _, false) if state_code || !whole_batch => Refusal::Conflict(named),
        (400 | 404, _, _) => Refusal::Unnamed,
        _ => Refusal::Whole,
    }
}

/// Ids of the call that the message of a refusal names, in upper or lower case.
fn named(response: &HttpReply, sent: &[InstanceId]) -> Vec<InstanceId> {
    let (_, message) = error_of(&response.body);
    let message = message.to_ascii_lowercase();
    sent.iter().filter(|id| message.contains(&id.to_string())).copied().collect()
}

/// What the reply to a delete call for these ids means.
pub fn deleted(
    response: &HttpReply,
    sent: &[InstanceId],
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> CallOutcome {
    let mut message = response.message(redact);
    if !response.status.is_success() {
        let unavailable = response.status == StatusCode::SERVICE_UNAVAILABLE;
        return match trouble(response, now) {
            (trouble, Certainty::Definite) => {
                CallOutcome::Refused { refusal: refusal(response, sent), trouble, message }
            }
            (trouble, Certainty::Unknown) => CallOutcome::Unknown { trouble, unavailable, message },
        };
    }
    let Some(reply) = response.json::<DeleteReply>() else {
        let trouble = response.unreadable(&mut message);
        return CallOutcome::Unknown { trouble, unavailable: false, message };
    };
    let sent: HashSet<InstanceId> = sent.iter().copied().collect();
    let mut ids = Vec::new();
    let mut own = HashSet::new();
    let mut foreign = 0;
    for spelled in reply.ids() {
        match spelled.map(InstanceId::parse_reply) {
            Some(Ok(id)) if sent.contains(&id) => {
                if own.insert(id) {
                    ids.push(id);
                }
            }
            _ => foreign += 1,
        }
    }
    message.text = format!("HTTP {}", response.status.as_u16());
    message.code = None;
    if ids.is_empty() {
        message.text += " that lists none of the ids";
        return CallOutcome::Unknown { trouble: Trouble::CloudUnreachable, unavailable: false, message };
    }
    CallOutcome::Accepted { ids, foreign, message }
}

/// What a reply to a read outside 2xx means.
pub fn read_failed(
    response: &HttpReply,
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> (Trouble, CloudMessage) {
    (trouble(response, now).0, response.message(redact))
}

/// Whether IAM refused the password of a request for a token. Its other refusals are about the project or the form.
pub fn is_wrong_password(response: &HttpReply) -> bool {
    response.status == StatusCode::UNAUTHORIZED
}

/// What a reply of IAM without a token means. IAM answers 400 or 404 when it does not know the user, domain or project.
pub fn no_token(
    response: &HttpReply,
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> (Trouble, CloudMessage) {
    let (trouble, message) = read_failed(response, redact, now);
    match response.status {
        StatusCode::BAD_REQUEST => (Trouble::CredentialsRejected, message),
        StatusCode::NOT_FOUND if response.json::<serde_json::Value>().is_some() => {
            (Trouble::CredentialsRejected, message)
        }
        status if status.is_success() => {
            let text = format!("HTTP {} without a token", status.as_u16());
            (Trouble::EndpointMisconfigured, CloudMessage { text, ..message })
        }
        _ => (trouble, message),
    }
}

/// One page of ListInstances.
pub fn listed(
    response: &HttpReply,
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> Result<ListReply, (Trouble, CloudMessage)> {
    if !response.status.is_success() {
        return Err(read_failed(response, redact, now));
    }
    response.json().ok_or_else(|| {
        let mut message = response.message(redact);
        (response.unreadable(&mut message), message)
    })
}

/// What ShowInstanceStatus shows; `None` if the reply says nothing about the instance.
pub fn shown(response: &HttpReply, redact: &dyn Fn(&str) -> String) -> Option<Seen> {
    if response.status.is_success() {
        let row = response.json::<InstanceBody>();
        return Some(row.map_or(Seen::Unreadable, |row| seen(row.state(), redact)));
    }
    // Only the service itself can say that it does not know an instance (vendor: *Error Codes*, iMetal.0200). The gateway
    // answers 404 for a wrong address.
    (response.status == StatusCode::NOT_FOUND && response.code().starts_with("iMetal."))
        .then_some(Seen::NotFound)
}

/// Parses a state. An unknown one is kept for people to read, so it is redacted like every text.
pub fn seen(state: &str, redact: &dyn Fn(&str) -> String) -> Seen {
    match Seen::from_state(state) {
        Seen::Other(_) => Seen::from_state(&redact(state)),
        known => known,
    }
}

#[cfg(test)]
mod tests;
