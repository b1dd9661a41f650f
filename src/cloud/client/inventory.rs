//! What a project has: its instances and its servers, page by page.
//!
//! [`Inventory`] is all that a caller holds. It has no call that changes anything at the cloud.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Client,
    call::{Access, FailedRead},
};
use crate::{
    cloud::{
        bodies::InstanceBody,
        classify,
        credential::{Authorization, Credential, CredentialProblem, Identity, Login, Set, encoded},
        endpoint::Endpoint,
        http::{ClientError, ClientOptions},
        iam::Iam,
    },
    engine::{
        instance_facts::InstanceFacts,
        outcome::{CloudMessage, Trouble},
    },
};

/// Bound on the bytes of a page. A row with all of its user data has some 40 KiB, and a page that is too large is asked for
/// again with fewer rows.
const PAGE_CAP: usize = 8 << 20;
/// Most and least rows of a page (vendor: *ListInstances*, *ListServers*).
const ROWS: usize = 1_000;
const FEWEST_ROWS: usize = 10;
/// Most ids that one list may be asked for (vendor: *ListInstances*).
const IDS: usize = 100;
/// Bound on pages of one list: no project is so large, so the cloud's markers lead in a circle.
const PAGES: usize = 10_000;
/// How often a page is asked for again while the cloud throttles or does not answer, and the wait where it names none.
const TRIES: u32 = 5;
const WAIT: Duration = Duration::from_secs(2);
/// Longest wait that the cloud may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The cloud of one project, for reading alone.
pub struct Inventory {
    client: Arc<Client>,
    endpoint: Endpoint,
    project: String,
    proof: Proof,
}

/// The credential, or the login that obtains it.
enum Proof {
    Ready(Credential),
    OfUser { login: Login, iam: Iam },
}

/// Which instances to list.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// All of the project.
    All,
    /// Those with these ids; an unknown one is left out.
    Ids(&'a [String]),
    /// Those on these servers.
    Servers(&'a [String]),
}

/// An instance, as far as its row could be read: a field that is missing or odd is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InventoryInstance {
    /// Id.
    pub id: String,
    /// State; empty if there is none.
    pub state: String,
    /// What it is beside.
    pub facts: InstanceFacts,
    /// Address of its first network interface.
    pub address: Option<String>,
}

/// A server, as far as its row could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InventoryServer {
    /// Id.
    pub id: String,
    /// Name.
    pub name: Option<String>,
    /// Name of the machine room.
    pub dc: Option<String>,
    /// Name of the rack.
    pub rack: Option<String>,
    /// Place in the rack.
    pub unit: Option<String>,
}

/// Why there is no list.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", sentence(.trouble, .message))]
pub struct InventoryError {
    /// What stands in the way.
    pub trouble: Trouble,
    /// What the cloud or the transport said.
    pub message: CloudMessage,
}

fn sentence(trouble: &Trouble, message: &CloudMessage) -> String {
    let mut text = trouble.reason().to_string();
    let code = message.code.as_deref().map(|code| format!("{code} ")).unwrap_or_default();
    if !message.text.is_empty() {
        text += &format!(": {code}{}", message.text);
    }
    if let Some(request_id) = &message.request_id {
        text += &format!(" (request id {request_id})");
    }
    text
}

impl From<CredentialProblem> for InventoryError {
    fn from(problem: CredentialProblem) -> Self {
        Self { trouble: problem.trouble, message: problem.message }
    }
}

impl From<FailedRead> for InventoryError {
    fn from(failed: FailedRead) -> Self {
        Self { trouble: failed.trouble, message: failed.message }
    }
}

impl Inventory {
    /// The inventory of a project at an endpoint. `iam` gives tokens where the credentials are a user's password.
    pub fn new(
        options: &ClientOptions,
        endpoint: Endpoint,
        iam: Endpoint,
        project: String,
        credentials: Set,
    ) -> Result<Self, ClientError> {
        let client = Arc::new(Client::new(options)?);
        let ready = |authorization, identity| {
            Proof::Ready(Credential { authorization, identity, version: String::new() })
        };
        let proof = match credentials {
            Set::Token(token) => ready(Authorization::Token(token), Identity::of_secret("", "")),
            Set::AccessKey(key) => {
                let identity = Identity::of_key(&key);
                ready(Authorization::AccessKey(key), identity)
            }
            Set::Login(login) => {
                let iam = Iam::new(Arc::clone(&client), iam, project.clone());
                Proof::OfUser { login, iam }
            }
        };
        Ok(Self { client, endpoint, project, proof })
    }

    /// Lists instances, each once, in the order in which the cloud lists them.
    pub async fn instances(&self, wanted: Wanted<'_>) -> Result<Vec<InventoryInstance>, InventoryError> {
        let mut rows = Vec::new();
        match wanted {
            Wanted::All => self.pages("/instances?", "instances", &mut rows).await?,
            Wanted::Ids(ids) | Wanted::Servers(ids) => {
                let name = if matches!(wanted, Wanted::Ids(_)) { "instance_id" } else { "server_id" };
                for part in ids.chunks(IDS) {
                    let joined: Vec<String> = part.iter().map(|id| encoded(id)).collect();
                    let path = format!("/instances?{name}={}&", joined.join("%2C"));
                    self.pages(&path, "instances", &mut rows).await?;
                }
            }
        }
        Ok(once(rows.iter().filter_map(instance), |row| &row.id))
    }

    /// Lists the servers, each once.
    pub async fn servers(&self) -> Result<Vec<InventoryServer>, InventoryError> {
        let mut rows = Vec::new();
        self.pages("/physicalservers?", "servers", &mut rows).await?;
        Ok(once(rows.iter().filter_map(server), |row| &row.id))
    }

    /// Adds the rows of all pages of a list. The list ends with its last marker, with an empty page, or with a marker that
    /// was there before.
    async fn pages(&self, path: &str, field: &str, rows: &mut Vec<Value>) -> Result<(), InventoryError> {
        let (mut limit, mut marker, mut seen) = (ROWS, None::<String>, HashSet::new());
        for _ in 0..PAGES {
            let at =
                marker.as_deref().map(|marker| format!("&marker={}", encoded(marker))).unwrap_or_default();
            let body = match self.page(&format!("{path}limit={limit}{at}")).await {
                Ok(body) => body,
                Err(failed) if failed.too_large && limit > FEWEST_ROWS => {
                    limit = (limit / 4).max(FEWEST_ROWS);
                    continue;
                }
                Err(failed) => return Err(failed.into()),
            };
            let Some(page) = body.get(field).and_then(Value::as_array) else {
                let text = format!("the reply has no {field}");
                let message = CloudMessage { text, ..CloudMessage::default() };
                return Err(InventoryError { trouble: Trouble::EndpointMisconfigured, message });
            };
            rows.extend(page.iter().cloned());
            marker = next_marker(&body, page.is_empty());
            match &marker {
                Some(next) if seen.insert(next.clone()) => {}
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// One page. Asks again where the cloud throttles, does not answer, or shows that this machine's clock is wrong.
    async fn page(&self, path: &str) -> Result<Value, FailedRead> {
        let mut tries = 0;
        loop {
            tries += 1;
            let failed = match self.ask(path).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            let wait = match failed.trouble {
                _ if failed.too_large || tries > TRIES => return Err(failed),
                _ if failed.clock_set => Duration::ZERO,
                Trouble::Throttled { retry_after } => retry_after.unwrap_or(WAIT * tries).min(LONGEST_WAIT),
                Trouble::CloudUnreachable if tries <= 2 => WAIT,
                _ => return Err(failed),
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn ask(&self, path: &str) -> Result<Value, FailedRead> {
        let issued;
        let credential = match &self.proof {
            Proof::Ready(credential) => credential,
            Proof::OfUser { login, iam } => {
                let (token, version) = iam.token(login, "").await.map_err(no_credential)?;
                let authorization = Authorization::Token(token);
                issued = Credential { authorization, identity: Identity::of_user(login), version };
                &issued
            }
        };
        let access = Access { endpoint: &self.endpoint, project: &self.project, credential };
        let caller = &self.client.caller;
        let request = caller.request_of(Method::GET, access, path, b"");
        let reply = caller.read("List", 0, request, access, PAGE_CAP).await?;
        let redact = |text: &str| caller.redact(access, text);
        let body = Some(&reply).filter(|reply| reply.status.is_success());
        if let Some(body) = body.and_then(|reply| serde_json::from_slice::<Value>(&reply.body).ok()) {
            return Ok(body);
        }
        let (trouble, message) = classify::read_failed(&reply, &redact, caller.clock.wall());
        Err(caller.refused(access, &reply, trouble, message))
    }
}

fn no_credential(problem: CredentialProblem) -> FailedRead {
    FailedRead {
        trouble: problem.trouble,
        message: problem.message,
        too_large: false,
        unavailable: false,
        sent: super::Sent::NotTried,
        clock_set: false,
    }
}

fn once<T>(rows: impl Iterator<Item = T>, id: impl Fn(&T) -> &String) -> Vec<T> {
    let mut seen = HashSet::new();
    rows.filter(|row| seen.insert(id(row).clone())).collect()
}

fn text(row: &Value, field: &str) -> Option<String> {
    row.get(field)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The marker of the next page; `None` on the last one, which may have a null, an empty or no marker, or no rows.
fn next_marker(body: &Value, empty: bool) -> Option<String> {
    let info = body.get("page_info")?;
    let ended = empty || info.get("current_count").and_then(Value::as_u64) == Some(0);
    text(info, "next_marker").filter(|_| !ended)
}

/// A row of ListInstances; `None` without an id.
fn instance(row: &Value) -> Option<InventoryInstance> {
    let address = row.pointer("/network_interfaces/0").and_then(|one| text(one, "ipv4_address"));
    let id = text(row, "id")?;
    let body = InstanceBody::deserialize(row).ok()?;
    Some(InventoryInstance { id, state: body.state().to_owned(), facts: body.facts(), address })
}

/// A row of ListServers; `None` without an id. Names of racks and places may come as numbers.
fn server(row: &Value) -> Option<InventoryServer> {
    let location = row.get("location").cloned().unwrap_or_default();
    let place = |field: &str| match location.get(field) {
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => text(&location, field),
    };
    let (dc, rack, unit) = (place("dc"), place("rack"), place("unit"));
    Some(InventoryServer { id: text(row, "id")?, name: text(row, "name"), dc, rack, unit })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_odd_field_of_a_row_is_unknown_and_spoils_no_other() {
        let row = json!({
            "id": "a", "state": "running", "name": 7, "vpc_id": "v", "network_interfaces": [{"ipv4_address": "10.0.0.1"}],
        });
        let facts = InstanceFacts { vpc_id: Some("v".to_owned()), ..InstanceFacts::default() };
        let (id, state, address) = ("a".to_owned(), "running".to_owned(), Some("10.0.0.1".to_owned()));
        assert_eq!(instance(&row), Some(InventoryInstance { id, state, facts, address }));

        let odd = json!({"id": "a", "state": [], "network_interfaces": "none"});
        assert_eq!(instance(&odd), Some(InventoryInstance { id: "a".to_owned(), ..Default::default() }));
        assert_eq!((instance(&json!({"name": "x"})), instance(&json!(7))), (None, None));
    }

    #[test]
    fn a_rack_may_be_a_number() {
        let row = json!({"id": "s", "location": {"dc": "dc-1", "rack": 12, "unit": []}});
        let read = server(&row).unwrap();
        let place = (read.dc.as_deref(), read.rack.as_deref(), read.unit.as_deref());
        assert_eq!(place, (Some("dc-1"), Some("12"), None));
        assert_eq!(server(&json!({"id": "s"})).unwrap().rack, None);
    }
}
