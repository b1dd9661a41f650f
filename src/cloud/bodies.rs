//! Bodies of requests and replies (vendor: CloudDC API reference), parsed so that an odd entry affects no other.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

/// Request of DeleteInstances (`BatchDeleteOptions`).
#[derive(Serialize)]
pub struct DeleteRequest {
    /// At most 50 ids.
    pub instance_id_set: Vec<String>,
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
    instances: Vec<Lenient<InstanceBody>>,
}

impl DeleteReply {
    /// The ids as the cloud spells them; `None` for an entry without one.
    pub fn ids(&self) -> impl Iterator<Item = Option<&str>> {
        self.instances.iter().map(|entry| entry.get().and_then(|row| text(row.id.as_ref())))
    }
}

/// An instance in a reply: a list gives all of its fields, ShowInstanceStatus only the state. An old example of the vendor
/// has `status` in place of `state`.
#[derive(Deserialize)]
pub struct InstanceBody {
    id: Option<Lenient<String>>,
    state: Option<Lenient<String>>,
    status: Option<Lenient<String>>,
}

impl InstanceBody {
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
    /// Id and state of each instance of this page that has an id.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.instances.iter().filter_map(|entry| {
            let row = entry.get()?;
            Some((text(row.id.as_ref())?, row.state()))
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

    #[test]
    fn an_odd_row_spoils_no_other() {
        let body = r#"{"instances":[7,null,{"id":5,"state":"x"},{"id":"a","state":null,"status":"running"},{"id":"b","state":[]}]}"#;
        let reply: ListReply = serde_json::from_str(body).unwrap();
        assert_eq!(reply.rows().collect::<Vec<_>>(), [("a", "running"), ("b", "")]);
        let reply: DeleteReply = serde_json::from_str(body).unwrap();
        assert_eq!(reply.ids().collect::<Vec<_>>(), [None, None, None, Some("a"), Some("b")]);
    }
}
