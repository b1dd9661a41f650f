//! What a reply of the cloud means, in terms of what the controller does next.

use std::collections::HashSet;

use k8s_openapi::jiff::Timestamp;
use reqwest::StatusCode;

use super::{
    bodies::{AcceptedIds, DeleteReply, InstanceBody, ListReply, PowerReply, error_of, starts_as_page},
    change::{Change, ChangeKind},
    retry_after::{http_date, retry_after, stated_limit},
    transport::HttpReply,
};
use crate::engine::{
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

    /// The trouble of a success that can't be parsed as a list of `lists`. An HTML page is not from this API, whatever its
    /// status.
    fn unreadable(&self, lists: &str, message: &mut CloudMessage) -> Trouble {
        let typed = self.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        let page = typed.contains("html") || starts_as_page(&self.body);
        let what = match std::str::from_utf8(&self.body) {
            _ if page => "an HTML page".to_owned(),
            // Compressed though the request asked for no encoding, or in another character set.
            Err(_) => "a body that is no text".to_owned(),
            Ok(_) => format!("a body that lists no {lists}"),
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
        // A parser skips what it is not asked for, and so may overlook that a body is no text.
        let text = std::str::from_utf8(&self.body).ok().filter(|_| self.may_be_json())?;
        serde_json::from_str(text).ok()
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

/// Codes of a state that does not allow the call (vendor: *Error Codes*). 0101 is about a server; 0201 is presumably the same
/// about an instance: the page is cut off there.
const STATE_CODES: [&str; 2] = ["iMetal.0101", "iMetal.0201"];

/// What a definite refusal says about the ids of the call.
fn refusal(response: &HttpReply, change: &Change) -> Refusal {
    let (code, message) = error_of(&response.body);
    let code = code.unwrap_or_default();
    let (all, named) = (change.ids(), change.named_in(&message));
    let alone = all.len() == 1;
    let whole_batch = !alone && named.len() == all.len();
    let state_code = STATE_CODES.contains(&code.as_str());
    match (response.status.as_u16(), named.is_empty()) {
        (409, false) => Refusal::Conflict(named),
        (409, true) if alone => Refusal::Conflict(all),
        (409, true) => Refusal::UnnamedConflict,
        (404, _) if !code.starts_with("iMetal.") => Refusal::Whole,
        (404, false) => Refusal::Missing(named),
        (404, true) if alone => Refusal::Missing(all),
        (400, _) if code.starts_with("APIGW.") || starts_as_page(&response.body) => Refusal::Whole,
        (400, true) if alone && state_code => Refusal::Conflict(all),
        (400, true) if state_code => Refusal::UnnamedState,
        // Each id was read alive lately. So whatever the code says of those that it names, their state is at fault. But a refusal
        // that names all ids says no more than one that names none: the request may be at fault.
        (400, false) if state_code || !whole_batch => Refusal::Conflict(named),
        (400 | 404, _) => Refusal::Unnamed,
        _ => Refusal::Whole,
    }
}

/// Ids that a success lists as accepted; `None` if it is no list of them.
fn accepted(response: &HttpReply, change: &Change) -> Option<AcceptedIds> {
    match change.kind() {
        ChangeKind::Delete => response.json::<DeleteReply>().map(AcceptedIds::from),
        ChangeKind::PowerOff => response.json::<PowerReply>().map(AcceptedIds::from),
    }
}

/// What the reply to a call that changes instances means.
pub fn changed(
    response: &HttpReply,
    change: &Change,
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> CallOutcome {
    let mut message = response.message(redact);
    if !response.status.is_success() {
        let unavailable = response.status == StatusCode::SERVICE_UNAVAILABLE;
        return match trouble(response, now) {
            (trouble, Certainty::Definite) => {
                CallOutcome::Refused { refusal: refusal(response, change), trouble, message }
            }
            (trouble, Certainty::Unknown) => CallOutcome::Unknown { trouble, unavailable, message },
        };
    }
    let Some(accepted) = accepted(response, change) else {
        let trouble = response.unreadable(change.lists(), &mut message);
        return CallOutcome::Unknown { trouble, unavailable: false, message };
    };
    let mut ids = Vec::new();
    let mut own = HashSet::new();
    let mut foreign = 0;
    for spelled in accepted {
        match spelled.and_then(|spelled| change.meant_by(&spelled)) {
            Some(id) => {
                if own.insert(id) {
                    ids.push(id);
                }
            }
            None => foreign += 1,
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
        (response.unreadable("instances", &mut message), message)
    })
}

/// What ShowInstanceStatus shows; `None` if the reply says nothing about the instance.
pub fn shown(response: &HttpReply, redact: &dyn Fn(&str) -> String) -> Option<Seen> {
    if response.status.is_success() {
        let row = response.json::<InstanceBody>();
        return Some(row.map_or(Seen::Unreadable, |row| seen(&row, redact)));
    }
    // Only the service itself can say that it does not know an instance (vendor: *Error Codes*, iMetal.0200). The gateway
    // answers 404 for a wrong address.
    (response.status == StatusCode::NOT_FOUND && response.code().starts_with("iMetal."))
        .then_some(Seen::NotFound)
}

/// What a row says about its instance. An unknown state is kept for people to read, so it is redacted like every text.
pub fn seen(row: &InstanceBody, redact: &dyn Fn(&str) -> String) -> Seen {
    match row.seen() {
        Seen::Other(_) => Seen::from_state(&redact(row.state())),
        known => known,
    }
}

#[cfg(test)]
mod tests;
