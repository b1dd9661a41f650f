//! What a reply means, by what follows from it (design: *Outcomes of a delete call*, *Reading states*).

use std::collections::HashSet;

use k8s_openapi::jiff::Timestamp;
use reqwest::StatusCode;

use super::{
    bodies::{DeleteReply, ListReply, Row, error_of, starts_as_page},
    credential::Secret,
    retry_after::{http_date, retry_after},
};
use crate::engine::{
    InstanceId,
    outcome::{CallOutcome, CloudMessage, Refusal, Trouble},
    state::Seen,
};

/// What was heard. Without Debug: a reply of IAM holds a token.
pub struct HttpReply {
    /// HTTP status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `X-Request-Id`.
    pub request_id: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// `X-Subject-Token`: only IAM sends one.
    pub subject_token: Option<Secret>,
    /// The body, read whole.
    pub body: Vec<u8>,
}

impl HttpReply {
    /// What it says, bounded and printable. `redact` takes secrets out.
    fn message(&self, redact: &dyn Fn(&str) -> String) -> CloudMessage {
        let (code, message) = error_of(&self.body);
        let message = if message.is_empty() { format!("HTTP {}", self.status.as_u16()) } else { message };
        CloudMessage {
            request_id: self.request_id.as_ref().map(|id| printable(&redact(id), 64)),
            code: code.map(|code| printable(&redact(&code), 64)),
            text: printable(&redact(&message), 256),
        }
    }

    fn code(&self) -> String {
        error_of(&self.body).0.unwrap_or_default()
    }

    /// What came of a success that can't be read: a page is not this API's, whatever status it has.
    fn unreadable(&self, message: &mut CloudMessage) -> Trouble {
        let typed = self.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        let page = typed.contains("html") || starts_as_page(&self.body);
        let what = match std::str::from_utf8(&self.body) {
            _ if page => "an HTML page",
            // Encoded (gzip), though it was asked not to be, or in another character set.
            Err(_) => "a body that is no text",
            Ok(_) => "a body that lists no instances",
        };
        message.text = format!("HTTP {} with {what}", self.status.as_u16());
        message.code = None;
        if page { Trouble::EndpointMisconfigured } else { Trouble::CloudUnreachable }
    }

    /// Whether the body may be JSON. A reply without a type is read by its body alone.
    fn may_be_json(&self) -> bool {
        let essence = self.content_type.as_deref().map(|t| t.split(';').next().unwrap_or_default().trim());
        essence.is_none_or(|essence| essence.to_ascii_lowercase().ends_with("json"))
    }

    /// The body of a success, if it is JSON of this form.
    fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        if self.may_be_json() { serde_json::from_slice(&self.body).ok() } else { None }
    }
}

/// Text from outside, cut and with everything but printable ASCII replaced.
pub fn printable(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(most).collect()
}

/// Whether a call that was answered so may have had an effect.
enum Certainty {
    /// It had none.
    Definite,
    /// Nobody knows.
    Unknown,
}

/// What an answer that is no success means for any operation.
fn trouble(heard: &HttpReply, now: Timestamp) -> (Trouble, Certainty) {
    use Certainty::{Definite, Unknown};
    match heard.status.as_u16() {
        401 => (Trouble::CredentialsRejected, Definite),
        403 => (Trouble::Forbidden, Definite),
        429 => {
            // A date is of the clock of whoever states it.
            let now = heard.date.as_deref().and_then(http_date).unwrap_or(now);
            let wait = heard.retry_after.as_deref().and_then(|header| retry_after(header, now));
            (Trouble::Throttled { retry_after: wait }, Definite)
        }
        // An error of the service, not of the gateway: the request was understood and refused.
        404 if heard.code().starts_with("iMetal.") => (Trouble::RequestRefused, Definite),
        404 => (Trouble::EndpointMisconfigured, Definite),
        400 | 409 => (Trouble::RequestRefused, Definite),
        300..=399 => (Trouble::EndpointMisconfigured, Unknown),
        400..=499 => (Trouble::RequestRefused, Unknown),
        _ => (Trouble::CloudUnreachable, Unknown),
    }
}

/// Codes of a state that allows no deletion (ErrorCode page: *state is not ready*, and presumably the instance's own).
const STATE_CODES: [&str; 2] = ["iMetal.0101", "iMetal.0201"];

/// What a definite refusal says about the ids of the call (design: *Outcomes of a delete call*).
fn refusal(heard: &HttpReply, sent: &[InstanceId]) -> Refusal {
    let code = heard.code();
    let named = named(heard, sent);
    let whole_batch = sent.len() > 1 && named.len() == sent.len();
    match (heard.status.as_u16(), sent, named.is_empty()) {
        (409, _, false) => Refusal::Conflict(named),
        (409, [_], true) => Refusal::Conflict(sent.to_vec()),
        (409, _, true) => Refusal::UnnamedConflict,
        (404, _, _) if !code.starts_with("iMetal.") => Refusal::Whole,
        (404, _, false) => Refusal::Missing(named),
        (404, [_], true) => Refusal::Missing(sent.to_vec()),
        (400, _, _) if code.starts_with("APIGW.") || starts_as_page(&heard.body) => Refusal::Whole,
        (400, _, false) if STATE_CODES.contains(&code.as_str()) => Refusal::Conflict(named),
        (400, [_], true) if STATE_CODES.contains(&code.as_str()) => Refusal::Conflict(sent.to_vec()),
        // Naming all of them says no more than naming none: it may be the request.
        (400, _, false) if !whole_batch => Refusal::Invalid(named),
        (400 | 404, _, _) => Refusal::Unnamed,
        _ => Refusal::Whole,
    }
}

/// Ids of the call that the message of a refusal names, in whatever case.
fn named(heard: &HttpReply, sent: &[InstanceId]) -> Vec<InstanceId> {
    let (_, message) = error_of(&heard.body);
    let message = message.to_ascii_lowercase();
    sent.iter().filter(|id| message.contains(&id.to_string())).copied().collect()
}

/// The reply to a delete call that named these ids.
pub fn deleted(
    heard: &HttpReply,
    sent: &[InstanceId],
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> CallOutcome {
    let mut message = heard.message(redact);
    if !heard.status.is_success() {
        let unavailable = heard.status == StatusCode::SERVICE_UNAVAILABLE;
        return match trouble(heard, now) {
            (trouble, Certainty::Definite) => {
                CallOutcome::Refused { refusal: refusal(heard, sent), trouble, message }
            }
            (trouble, Certainty::Unknown) => CallOutcome::Unknown { trouble, unavailable, message },
        };
    }
    let Some(reply) = heard.json::<DeleteReply>() else {
        let trouble = heard.unreadable(&mut message);
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
    message.text = format!("HTTP {}", heard.status.as_u16());
    message.code = None;
    if ids.is_empty() {
        message.text += " that lists none of the ids";
        return CallOutcome::Unknown { trouble: Trouble::CloudUnreachable, unavailable: false, message };
    }
    CallOutcome::Accepted { ids, foreign, message }
}

/// The reply to a read that is no success.
pub fn read_failed(
    heard: &HttpReply,
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> (Trouble, CloudMessage) {
    (trouble(heard, now).0, heard.message(redact))
}

/// The reply of IAM without a token. 400 and 404 are how it says that it does not know a user, a domain or a project.
pub fn no_token(
    heard: &HttpReply,
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> (Trouble, CloudMessage) {
    let (trouble, message) = read_failed(heard, redact, now);
    match heard.status {
        StatusCode::BAD_REQUEST => (Trouble::CredentialsRejected, message),
        StatusCode::NOT_FOUND if heard.json::<serde_json::Value>().is_some() => {
            (Trouble::CredentialsRejected, message)
        }
        status if status.is_success() => {
            let text = format!("HTTP {} without a token", status.as_u16());
            (Trouble::EndpointMisconfigured, CloudMessage { text, ..message })
        }
        _ => (trouble, message),
    }
}

/// The reply to ListInstances: one page.
pub fn listed(
    heard: &HttpReply,
    redact: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> Result<ListReply, (Trouble, CloudMessage)> {
    if !heard.status.is_success() {
        return Err(read_failed(heard, redact, now));
    }
    heard.json().ok_or_else(|| {
        let mut message = heard.message(redact);
        (heard.unreadable(&mut message), message)
    })
}

/// The reply to ShowInstanceStatus; none if it says nothing about the instance.
pub fn shown(heard: &HttpReply, redact: &dyn Fn(&str) -> String) -> Option<Seen> {
    if heard.status.is_success() {
        let row = heard.json::<Row>();
        return Some(row.map_or(Seen::Unreadable, |row| seen(row.state(), redact)));
    }
    // Only the service itself can say that it does not know an instance (ErrorCode page, iMetal.0200).
    (heard.status == StatusCode::NOT_FOUND && heard.code().starts_with("iMetal.")).then_some(Seen::NotFound)
}

/// A state as it was spelled. An unknown one is kept for people to read, so it is redacted like every text.
pub fn seen(state: &str, redact: &dyn Fn(&str) -> String) -> Seen {
    match Seen::from_state(state) {
        Seen::Other(_) => Seen::from_state(&redact(state)),
        known => known,
    }
}

#[cfg(test)]
mod tests;
