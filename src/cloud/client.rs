//! The three operations.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use reqwest::{
    Method, Request, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::time::Instant;
use tracing::debug;

use super::{
    classify::{self, Heard, printable},
    credential::Credential,
    endpoint::Endpoint,
    transport::{ClientError, ClientOptions, Exchange, Http, LeaveBy, Lost, Transport},
    wire::DeleteRequest,
};
use crate::{
    clock::{Clock, Deadline},
    engine::{
        InstanceId,
        reply::{Note, Refusal, Reply, Trouble},
        settings::{BATCH_SIZE, READ_SIZE},
        state::Seen,
    },
};

/// Always sent: without it 100 ids may be answered by 10 rows (the page contradicts itself on the default).
const LIMIT: &str = "1000";
/// Pages that 100 ids can fill when each has the least documented size, and a few more.
const PAGES: usize = 16;
const REPLY_CAP: usize = 1 << 20;
/// 100 rows may carry 32 KiB of user data each.
const LIST_CAP: usize = 4 << 20;

/// Why a read brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What stands in the way.
    pub trouble: Trouble,
    /// What was heard.
    pub note: Note,
    /// The reply was larger than its cap: fewer ids may fit.
    pub too_large: bool,
    /// HTTP 503: the account should be called more slowly.
    pub unavailable: bool,
}

/// The CloudDC API.
pub struct Client {
    transport: Transport,
    clock: Clock,
}

impl Client {
    /// Makes the client.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Ok(Self::over(Http::new(options)?, options.request_timeout, Clock::start()))
    }

    /// A client over another wire than HTTP: a simulation's.
    #[must_use]
    pub fn over(wire: impl Exchange, request_timeout: Duration, clock: Clock) -> Self {
        Self { transport: Transport::new(wire, request_timeout), clock }
    }

    /// DeleteInstances for 1 to 50 distinct ids. The request leaves before `leave_by`, or not at all.
    pub async fn delete_instances(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        ids: &[InstanceId],
        leave_by: Deadline,
    ) -> Reply {
        let distinct: HashSet<_> = ids.iter().collect();
        if ids.is_empty() || ids.len() > BATCH_SIZE || distinct.len() != ids.len() {
            // What an empty set means is not documented. No decision makes such a batch.
            let text = format!("a batch of {} ids ({} distinct) is never sent", ids.len(), distinct.len());
            let note = Note { text, ..Note::default() };
            return Reply::Refused { refusal: Refusal::Whole, trouble: Trouble::RequestRefused, note };
        }
        let body = DeleteRequest { instance_id_set: ids.iter().map(ToString::to_string).collect() };
        let Ok(body) = serde_json::to_vec(&body) else {
            let note = Note { text: "the request can't be encoded".to_owned(), ..Note::default() };
            return Reply::Refused { refusal: Refusal::Whole, trouble: Trouble::RequestRefused, note };
        };
        let request =
            request(Method::POST, endpoint, project, "/batch-delete", credential).map(|mut request| {
                *request.body_mut() = Some(reqwest::Body::wrap(LeaveBy::new(body, leave_by)));
                request
            });
        let redact = |text: &str| credential.token.redact(text);
        let unreachable = Trouble::CloudUnreachable;
        match self.exchange("DeleteInstances", ids.len(), request, credential, REPLY_CAP).await {
            Ok(heard) => classify::deleted(&heard, ids, &redact, self.clock.wall()),
            Err(Lost::TooLate) => Reply::TooLate,
            Err(lost @ Lost::NotSent(_)) => {
                let note = note_of(&lost, credential, REPLY_CAP);
                Reply::Refused { refusal: Refusal::Whole, trouble: unreachable, note }
            }
            Err(lost @ (Lost::Unknown(_) | Lost::TooLarge)) => {
                let note = note_of(&lost, credential, REPLY_CAP);
                Reply::Unknown { trouble: unreachable, unavailable: false, note }
            }
        }
    }

    /// ShowInstanceStatus.
    pub async fn show_instance_status(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        id: InstanceId,
    ) -> Result<Seen, Failure> {
        let path = format!("/{id}/status");
        let request = request(Method::GET, endpoint, project, &path, credential);
        let heard = self.read("ShowInstanceStatus", 1, request, credential, REPLY_CAP).await?;
        classify::shown(&heard, &|text| credential.token.redact(text))
            .ok_or_else(|| self.failure(&heard, credential))
    }

    /// ListInstances for 1 to 100 ids. An id that the list leaves out is not in the result: that says nothing about it.
    pub async fn list_instances(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        ids: &[InstanceId],
    ) -> Result<Vec<(InstanceId, Seen)>, Failure> {
        if ids.is_empty() || ids.len() > READ_SIZE {
            // A list without ids would be one of the whole project.
            let note =
                Note { text: format!("a list of {} ids is never asked for", ids.len()), ..Note::default() };
            return Err(Failure {
                trouble: Trouble::RequestRefused,
                note,
                too_large: false,
                unavailable: false,
            });
        }
        let redact = |text: &str| credential.token.redact(text);
        let asked: HashSet<InstanceId> = ids.iter().copied().collect();
        let joined = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
        // The row read last is the newest: an instance may change between two pages.
        let mut listed = BTreeMap::new();
        let (mut query, mut markers) = (String::new(), HashSet::new());
        for _ in 0..PAGES {
            let path = format!("?instance_id={joined}&limit={LIMIT}{query}");
            let request = request(Method::GET, endpoint, project, &path, credential);
            let heard = self.read("ListInstances", ids.len(), request, credential, LIST_CAP).await?;
            let page = classify::listed(&heard, &redact, self.clock.wall())
                .map_err(|(trouble, note)| refused(&heard, trouble, note))?;
            for (spelled, state) in page.rows() {
                if let Ok(id) = InstanceId::parse_reply(spelled)
                    && asked.contains(&id)
                {
                    listed.insert(id, classify::seen(state, &redact));
                }
            }
            match page.next_marker() {
                // A repeated marker would go round for ever; what is missing is read one by one.
                Some(next) if listed.len() < asked.len() && markers.insert(next.to_owned()) => {
                    query = format!("&marker={}", encoded(next));
                }
                _ => break,
            }
        }
        Ok(listed.into_iter().collect())
    }

    fn failure(&self, heard: &Heard, credential: &Credential) -> Failure {
        let redact = |text: &str| credential.token.redact(text);
        let (trouble, note) = classify::read_failed(heard, &redact, self.clock.wall());
        refused(heard, trouble, note)
    }

    async fn read(
        &self,
        operation: &str,
        ids: usize,
        request: Result<Request, Lost>,
        credential: &Credential,
        cap: usize,
    ) -> Result<Heard, Failure> {
        self.exchange(operation, ids, request, credential, cap).await.map_err(|lost| Failure {
            trouble: Trouble::CloudUnreachable,
            note: note_of(&lost, credential, cap),
            too_large: matches!(lost, Lost::TooLarge),
            unavailable: false,
        })
    }

    /// One exchange, told to the log. Of what the cloud sent only its request id is logged, and that redacted: a server
    /// may echo anything anywhere.
    async fn exchange(
        &self,
        operation: &str,
        ids: usize,
        request: Result<Request, Lost>,
        credential: &Credential,
        cap: usize,
    ) -> Result<Heard, Lost> {
        let started = Instant::now();
        let result = match request {
            Ok(request) => self.transport.exchange(request, cap).await,
            Err(lost) => Err(lost),
        };
        let status = result.as_ref().ok().map(|heard| heard.status.as_u16());
        let request_id = result.as_ref().ok().and_then(|heard| heard.request_id.as_deref());
        let request_id = request_id.map(|id| printable(&credential.token.redact(id), 64));
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        debug!(operation, ids, status, request_id, ms, "call to the cloud");
        result
    }
}

/// What is said of an exchange that brought no reply.
fn note_of(lost: &Lost, credential: &Credential, cap: usize) -> Note {
    let text = match lost {
        Lost::NotSent(why) | Lost::Unknown(why) => printable(&credential.token.redact(why), 256),
        Lost::TooLate => "not sent: too late".to_owned(),
        Lost::TooLarge => format!("the reply is larger than {} MiB", cap >> 20),
    };
    Note { text, ..Note::default() }
}

fn refused(heard: &Heard, trouble: Trouble, note: Note) -> Failure {
    Failure { trouble, note, too_large: false, unavailable: heard.status.as_u16() == 503 }
}

fn request(
    method: Method,
    endpoint: &Endpoint,
    project: &str,
    path: &str,
    credential: &Credential,
) -> Result<Request, Lost> {
    // Whoever calls has parsed the project; it can't become another path all the same.
    let url = format!("{endpoint}/v1/{}/instances{path}", encoded(project));
    // A token was parsed from printable ASCII, so it always is a header; an empty one is refused by the cloud.
    let token = credential.token.header().unwrap_or_else(|| HeaderValue::from_static(""));
    let url = Url::parse(&url).map_err(|_| Lost::NotSent("the endpoint makes no URL".to_owned()))?;
    let mut request = Request::new(method, url);
    request.headers_mut().insert("x-auth-token", token);
    let json = HeaderValue::from_static("application/json;charset=utf-8");
    request.headers_mut().insert(CONTENT_TYPE, json);
    Ok(request)
}

/// Text for one segment of a path or one value of a query.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests;
