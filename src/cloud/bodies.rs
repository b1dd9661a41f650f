//! Bodies of requests and replies (vendor: CloudDC API reference), parsed so that an odd entry affects no other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::engine::{
    ServerId,
    instance_facts::InstanceFacts,
    state::{Live, Seen},
};

/// Request of DeleteInstances (`BatchDeleteOptions`).
#[derive(Serialize)]
pub struct DeleteRequest<'a> {
    /// At most 50 ids.
    pub instance_id_set: Vec<&'a str>,
}

/// Request of ChangeServerPowerState (`PowerAction`).
#[derive(Serialize)]
pub struct PowerRequest<'a> {
    /// What to do.
    pub action: PowerAction,
    /// At most 50 ids of servers.
    pub server_id_set: Vec<&'a str>,
}

/// An action of ChangeServerPowerState. The vendor has two more, which nothing here asks for.
#[derive(Clone, Copy, Serialize)]
pub enum PowerAction {
    /// Powers the servers off.
    #[serde(rename = "power off")]
    Off,
}

/// A value of the expected type, or anything else in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Read(T),
    Odd(IgnoredAny),
}

impl<T> Lenient<T> {
    fn get(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Odd(_) => None,
        }
    }
}

fn text(field: Option<&Lenient<String>>) -> Option<&str> {
    field.and_then(Lenient::get).map(String::as_str)
}

/// Reply to DeleteInstances, 202. It lists only the accepted ids and has no field for an error of one id.
#[derive(Deserialize)]
pub struct DeleteReply {
    instances: Vec<Lenient<Accepted>>,
}

/// Reply to ChangeServerPowerState, 200. It lists the accepted servers.
#[derive(Deserialize)]
pub struct PowerReply {
    physical_servers: Vec<Lenient<Accepted>>,
}

/// An entry of a reply that lists what was accepted.
#[derive(Deserialize)]
struct Accepted {
    id: Option<Lenient<String>>,
}

/// Ids that a reply lists as accepted, as the cloud spells them; `None` for an entry without one.
pub type AcceptedIds = Vec<Option<String>>;

fn accepted(entries: &[Lenient<Accepted>]) -> AcceptedIds {
    let id = |entry: &Lenient<Accepted>| text(entry.get()?.id.as_ref()).map(str::to_owned);
    entries.iter().map(id).collect()
}

impl From<DeleteReply> for AcceptedIds {
    fn from(reply: DeleteReply) -> Self {
        accepted(&reply.instances)
    }
}

impl From<PowerReply> for AcceptedIds {
    fn from(reply: PowerReply) -> Self {
        accepted(&reply.physical_servers)
    }
}

/// An instance in a reply: a list gives all of its fields, ShowInstanceStatus only the state. An old example of the vendor
/// has `status` in place of `state`.
#[derive(Deserialize)]
pub struct InstanceBody {
    id: Option<Lenient<String>>,
    state: Option<Lenient<String>>,
    status: Option<Lenient<String>>,
    operation_state: Option<Lenient<String>>,
    name: Option<Lenient<String>>,
    vpc_id: Option<Lenient<String>>,
    tags: Option<Lenient<Vec<Lenient<Tag>>>>,
    server_id: Option<Lenient<String>>,
    created_at: Option<Lenient<String>>,
}

/// A tag of an instance.
#[derive(Deserialize)]
struct Tag {
    key: String,
    value: String,
}

/// Longest name, id or tag that is kept, in bytes; a longer one is odd.
const LONGEST: usize = 1024;

impl InstanceBody {
    /// What the row says about the instance. A deletion that failed is an error, whatever the state still is (vendor: Python
    /// and Go SDK, `operation_state` `uninstall-failed`).
    pub fn seen(&self) -> Seen {
        let seen = Seen::from_state(self.state());
        let failed = text(self.operation_state.as_ref()) == Some("uninstall-failed");
        if failed && seen != Seen::Terminated { Seen::Live(Live::Error) } else { seen }
    }

    /// The facts that a row of a list tells.
    pub fn facts(&self) -> InstanceFacts {
        let kept = |field: &Option<Lenient<String>>| {
            text(field.as_ref()).filter(|text| text.len() <= LONGEST).map(str::to_owned)
        };
        InstanceFacts {
            name: kept(&self.name),
            vpc_id: kept(&self.vpc_id),
            tags: self.tags(),
            server_id: text(self.server_id.as_ref()).and_then(|id| ServerId::parse(id).ok()),
            created_at: text(self.created_at.as_ref()).and_then(|at| at.parse().ok()),
        }
    }

    /// The tags; none if there are none, if one of them is odd, or if two have the same key: each may be one that matters.
    fn tags(&self) -> Option<BTreeMap<String, String>> {
        let all = self.tags.as_ref()?.get()?;
        let read = all.iter().map(|tag| {
            let Tag { key, value } = tag.get()?;
            (key.len() <= LONGEST && value.len() <= LONGEST).then(|| (key.clone(), value.clone()))
        });
        let tags: BTreeMap<_, _> = read.collect::<Option<_>>()?;
        (tags.len() == all.len()).then_some(tags)
    }

    /// The state; empty if there is none.
    pub fn state(&self) -> &str {
        text(self.state.as_ref()).or_else(|| text(self.status.as_ref())).unwrap_or_default()
    }
}

/// Reply to ListInstances, 200.
#[derive(Deserialize)]
pub struct ListReply {
    instances: Vec<Lenient<InstanceBody>>,
    page_info: Option<Lenient<PageInfo>>,
}

#[derive(Deserialize)]
struct PageInfo {
    next_marker: Option<Lenient<String>>,
    current_count: Option<Lenient<u64>>,
}

impl ListReply {
    /// Each instance of this page that has an id.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &InstanceBody)> {
        self.instances.iter().filter_map(|entry| {
            let row = entry.get()?;
            Some((text(row.id.as_ref())?, row))
        })
    }

    /// The marker of the next page. The vendor does not document whether the last page has a null, an empty or no marker:
    /// all three end the list, and so does an empty page.
    pub fn next_marker(&self) -> Option<&str> {
        let info = self.page_info.as_ref()?.get()?;
        let count = info.current_count.as_ref().and_then(Lenient::get);
        if self.instances.is_empty() || count == Some(&0) {
            return None;
        }
        text(info.next_marker.as_ref()).filter(|marker| !marker.is_empty())
    }
}

/// Code and message of an error body: `error_code` and `error_msg` (vendor: *Error Codes*), or the other spellings that the
/// vendor's SDK accepts, at the top level or one below. A body without a code still has a message: a 429 may be a bare string.
pub fn error_of(body: &[u8]) -> (Option<String>, String) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        // Bytes that are not UTF-8 are of no use in a message.
        return (None, no_page(std::str::from_utf8(body).unwrap_or_default().to_owned()));
    };
    if let Value::String(text) = value {
        return (None, no_page(text));
    }
    let nested = value.as_object().into_iter().flat_map(|object| object.values().filter(|v| v.is_object()));
    for object in std::iter::once(&value).chain(nested) {
        for (code, message) in [("error_code", "error_msg"), ("errorCode", "errorMsg"), ("code", "message")] {
            let (code, message) = (&object[code], object[message].as_str());
            if code.is_string() || message.is_some() {
                let message = message.unwrap_or_default().to_owned();
                return (code.as_str().map(str::to_owned), no_page(message));
            }
        }
    }
    (None, String::new())
}

/// Replaces a page of HTML, which is of no use in a status.
fn no_page(text: String) -> String {
    let lower = text.to_ascii_lowercase();
    let page =
        starts_as_page(text.as_bytes()) || ["<html", "<!doctype", "<body"].iter().any(|t| lower.contains(t));
    if page { "an HTML page".to_owned() } else { text }
}

/// Whether a body begins with `<`, as HTML does and JSON can't.
pub fn starts_as_page(body: &[u8]) -> bool {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_every_spelling() {
        let table = [
            (r#"{"error_code":"A","error_msg":"b"}"#, Some("A"), "b"),
            (r#"{"errorCode":"A","errorMsg":"b"}"#, Some("A"), "b"),
            (r#"{"code":"A","message":"b"}"#, Some("A"), "b"),
            (r#"{"error":{"code":"A","message":"b"}}"#, Some("A"), "b"),
            (r#"{"x":{"y":{"code":"A","message":"b"}}}"#, None, ""),
            (r#"{"error_msg":"b"}"#, None, "b"),
            (r#"{"code":429,"message":"b"}"#, None, "b"),
            (r#"{"error_code":null,"error_msg":null,"code":"A"}"#, Some("A"), ""),
            (r#""b""#, None, "b"),
            ("b", None, "b"),
            ("[1]", None, ""),
            ("", None, ""),
            (" <html>x", None, "an HTML page"),
            ("\u{feff}<!DOCTYPE html>", None, "an HTML page"),
            ("Error: <HTML>x", None, "an HTML page"),
            (r#"{"error_code":"A","error_msg":"see <html>"}"#, Some("A"), "an HTML page"),
        ];
        for (body, code, message) in table {
            assert_eq!(error_of(body.as_bytes()), (code.map(str::to_owned), message.to_owned()), "{body}");
        }
        for body in
            [&b"\x1f\x8b\x08\x00"[..], b"{\"error_code\":\"iMetal.0200\",\"error_msg\":\"\xff\"}", b"\xff"]
        {
            assert_eq!(error_of(body), (None, String::new()), "{body:?}");
        }
    }

    #[test]
    fn t06_every_way_in_which_a_list_may_end() {
        let table = [
            (r#"{"instances":[{}],"page_info":{"next_marker":"m","current_count":1}}"#, Some("m")),
            (r#"{"instances":[{}],"page_info":{"next_marker":"m"}}"#, Some("m")),
            (r#"{"instances":[{}],"page_info":{"next_marker":"m","current_count":0}}"#, None),
            (r#"{"instances":[],"page_info":{"next_marker":"m","current_count":1}}"#, None),
            (r#"{"instances":[{}],"page_info":{"next_marker":""}}"#, None),
            (r#"{"instances":[{}],"page_info":{"next_marker":null}}"#, None),
            (r#"{"instances":[{}],"page_info":{"next_marker":7}}"#, None),
            (r#"{"instances":[{}],"page_info":{}}"#, None),
            (r#"{"instances":[{}],"page_info":null}"#, None),
            (r#"{"instances":[{}]}"#, None),
        ];
        for (body, marker) in table {
            let reply: ListReply = serde_json::from_str(body).unwrap();
            assert_eq!(reply.next_marker(), marker, "{body}");
        }
    }

    fn row(body: &str) -> InstanceBody {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn a_failed_deletion_is_an_error_whatever_the_state_still_is() {
        let table = [
            (r#"{"state":"running","operation_state":"uninstall-failed"}"#, Seen::Live(Live::Error)),
            (r#"{"state":"shutting-down","operation_state":"uninstall-failed"}"#, Seen::Live(Live::Error)),
            (r#"{"state":"odd","operation_state":"uninstall-failed"}"#, Seen::Live(Live::Error)),
            (r#"{"operation_state":"uninstall-failed"}"#, Seen::Live(Live::Error)),
            (r#"{"state":"terminated","operation_state":"uninstall-failed"}"#, Seen::Terminated),
            (r#"{"state":"running","operation_state":"install-failed"}"#, Seen::Live(Live::Running)),
            (r#"{"state":"shutting-down","operation_state":"uninstall-processing"}"#, Seen::ShuttingDown),
            (r#"{"state":"running","operation_state":7}"#, Seen::Live(Live::Running)),
        ];
        for (body, expected) in table {
            assert_eq!(row(body).seen(), expected, "{body}");
        }
    }

    #[test]
    fn f1_a_fact_that_is_missing_or_odd_is_unknown_and_spoils_no_other() {
        let whole = r#"{"name":"n","vpc_id":"v","server_id":"s","created_at":"2026-05-01T00:00:00Z",
            "tags":[{"key":"rack","value":"12"},{"key":"env","value":""}]}"#;
        let facts = row(whole).facts();
        let tags = BTreeMap::from([("rack".into(), "12".into()), ("env".into(), String::new())]);
        assert_eq!(facts.tags, Some(tags));
        assert_eq!(
            (facts.name.as_deref(), facts.vpc_id.as_deref(), facts.server_id.as_ref().map(ServerId::as_str)),
            (Some("n"), Some("v"), Some("s"))
        );
        assert_eq!(facts.created_at.map(|at| at.to_string()).as_deref(), Some("2026-05-01T00:00:00Z"));
        assert_eq!(row("{}").facts(), InstanceFacts::default());
        assert_eq!(row(r#"{"tags":[]}"#).facts().tags, Some(BTreeMap::new()), "it has none");
        let odd_tags = [
            "null",
            "7",
            r#"{"rack":"12"}"#,
            r#"[{"key":"rack"}]"#,
            r#"[{"key":"rack","value":"12"},7]"#,
            r#"[{"key":"rack","value":"12"},{"key":"rack","value":"13"}]"#,
        ];
        for tags in odd_tags {
            let facts = row(&format!(r#"{{"name":"n","tags":{tags}}}"#)).facts();
            assert_eq!((facts.tags, facts.name.as_deref()), (None, Some("n")), "{tags}");
        }
        let odd =
            row(r#"{"name":5,"vpc_id":null,"server_id":[],"created_at":"yesterday","tags":[]}"#).facts();
        let known = InstanceFacts { tags: Some(BTreeMap::new()), ..InstanceFacts::default() };
        assert_eq!(odd, known);
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(row(&format!(r#"{{"name":"{long}"}}"#)).facts().name, None);
    }

    #[test]
    fn an_odd_row_spoils_no_other() {
        let body = r#"{"instances":[7,null,{"id":5,"state":"x"},{"id":"a","state":null,"status":"running"},{"id":"b","state":[]}]}"#;
        let reply: ListReply = serde_json::from_str(body).unwrap();
        let states: Vec<_> = reply.rows().map(|(id, row)| (id, row.state())).collect();
        assert_eq!(states, [("a", "running"), ("b", "")]);
        let reply: DeleteReply = serde_json::from_str(body).unwrap();
        let ids: AcceptedIds = reply.into();
        assert_eq!(ids, [None, None, None, Some("a".to_owned()), Some("b".to_owned())]);
    }

    fn ids<T: serde::de::DeserializeOwned + Into<AcceptedIds>>(body: &str) -> Option<AcceptedIds> {
        serde_json::from_str::<T>(body).ok().map(Into::into)
    }

    #[test]
    fn a_request_and_a_reply_of_each_call_that_changes_instances() {
        let delete = DeleteRequest { instance_id_set: vec!["a", "b"] };
        assert_eq!(serde_json::to_string(&delete).unwrap(), r#"{"instance_id_set":["a","b"]}"#);
        let power = PowerRequest { action: PowerAction::Off, server_id_set: vec!["a"] };
        let expected = r#"{"action":"power off","server_id_set":["a"]}"#;
        assert_eq!(serde_json::to_string(&power).unwrap(), expected);
        let table: [(&str, Option<&[Option<&str>]>); 8] = [
            (r#"{"FIELD":[{"id":"a"},{"id":"B "}]}"#, Some(&[Some("a"), Some("B ")])),
            (r#"{"FIELD":[{"id":"a","more":{}}],"count":1}"#, Some(&[Some("a")])),
            (
                r#"{"FIELD":[7,null,"a",{"id":7},{"id":null},{},{"id":"a"}]}"#,
                Some(&[None, None, None, None, None, None, Some("a")]),
            ),
            (r#"{"FIELD":[]}"#, Some(&[])),
            (r#"{"FIELD":null}"#, None),
            (r#"{"FIELD":{"id":"a"}}"#, None),
            (r#"{"servers":[{"id":"a"}]}"#, None),
            ("null", None),
        ];
        for (body, expected) in table {
            let expected: Option<AcceptedIds> =
                expected.map(|ids| ids.iter().map(|id| id.map(str::to_owned)).collect());
            assert_eq!(ids::<DeleteReply>(&body.replace("FIELD", "instances")), expected, "{body}");
            assert_eq!(ids::<PowerReply>(&body.replace("FIELD", "physical_servers")), expected, "{body}");
        }
    }
}
