//! Signatures with an access key: SDK-HMAC-SHA256 (vendor: API Request Signing Guide, *AK/SK Signing Algorithm*).
//!
//! The canonical request is built from the request as it is sent. Two rules differ from similar algorithms of other vendors: the
//! canonical path always ends with a slash, and the signing key is the secret key itself, without derivation.

use http::{HeaderMap, HeaderValue, header::InvalidHeaderValue};
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use reqwest::{Url, header::AUTHORIZATION};
use ring::{digest, hmac};

use super::secret::Secret;

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const DATE: &str = "x-sdk-date";
const PROJECT: &str = "x-project-id";
const SECURITY_TOKEN: &str = "x-security-token";

/// The signed parts of a request, besides its headers.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The URL.
    pub url: &'a Url,
    /// The body.
    pub body: &'a [u8],
}

/// An access key.
pub struct AccessKey {
    /// The key's id, sent in every request.
    pub id: Secret,
    /// The secret half, which is never sent.
    pub secret: Secret,
    /// The token that belongs to a temporary key, sent with every request.
    pub security_token: Option<Secret>,
}

impl AccessKey {
    /// Adds the headers of this key, and the signature over the request with all its headers.
    pub fn sign(
        &self,
        request: Signed<'_>,
        headers: &mut HeaderMap,
        project: Option<&str>,
        at: Timestamp,
    ) -> Result<(), InvalidHeaderValue> {
        let date = at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        headers.insert(DATE, HeaderValue::from_str(&date)?);
        if let Some(project) = project {
            headers.insert(PROJECT, HeaderValue::from_str(project)?);
        }
        if let Some(token) = &self.security_token {
            headers.insert(SECURITY_TOKEN, token.header()?);
        }
        if let Some(host) = host(request.url) {
            headers.insert(http::header::HOST, HeaderValue::from_str(&host)?);
        }
        let names = signed_names(headers);
        let canonical = canonical_request(request, headers, &names);
        let to_sign = string_to_sign(&date, &canonical);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose().as_bytes());
        let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        let id = self.id.expose();
        let names = names.join(";");
        let value = format!("{ALGORITHM} Access={id}, SignedHeaders={names}, Signature={signature}");
        let mut value = HeaderValue::from_str(&value)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

/// The value of the header `Host`: with the port if the URL has one.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Sorted names of the signed headers: all but `Authorization` and those with an underscore.
fn signed_names(headers: &HeaderMap) -> Vec<String> {
    let names = headers.keys().map(|name| name.as_str().to_owned());
    let mut names: Vec<String> =
        names.filter(|name| !name.contains('_') && name != "authorization").collect();
    names.sort_unstable();
    names
}

fn canonical_request(request: Signed<'_>, headers: &HeaderMap, names: &[String]) -> String {
    let mut lines = String::new();
    for name in names {
        let value = headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
        lines += &format!("{name}:{}\n", String::from_utf8_lossy(value).trim());
    }
    let Signed { method, url, body } = request;
    let (path, query, names) = (canonical_path(url.path()), canonical_query(url), names.join(";"));
    format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{}", sha256(body))
}

/// The path with each segment decoded and encoded again, and a slash at the end.
fn canonical_path(path: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut canonical = decoded.split('/').map(encoded).collect::<Vec<_>>().join("/");
    if !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// The query, sorted by the names and values before they are encoded.
fn canonical_query(url: &Url) -> String {
    let mut pairs: Vec<(String, String)> =
        url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    pairs.sort_unstable();
    let pairs = pairs.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Encodes a segment of a path or a value of a query: all but unreserved characters become `%XX` (RFC 3986).
pub fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn string_to_sign(date: &str, canonical: &str) -> String {
    format!("{ALGORITHM}\n{date}\n{}", sha256(canonical.as_bytes()))
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Requests signed by the vendor's own signer.
    const VECTORS: &str = include_str!("../../../tests/vectors/signing.json");

    fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
        vector[key].as_str().unwrap_or_default()
    }

    fn key(vector: &Value) -> AccessKey {
        let secret = |key| vector[key].as_str().map(|text| Secret::parse(text.as_bytes()).unwrap());
        AccessKey {
            id: secret("ak").unwrap(),
            secret: secret("sk").unwrap(),
            security_token: secret("security_token"),
        }
    }

    fn date(vector: &Value) -> Timestamp {
        let date = text(&vector["headers"], "X-Sdk-Date");
        let (day, time) = date.split_once('T').unwrap();
        format!("{}-{}-{}T{}:{}:{}", &day[..4], &day[4..6], &day[6..], &time[..2], &time[2..4], &time[4..])
            .parse()
            .unwrap()
    }

    #[test]
    fn every_vector_of_the_vendors_signer() {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
        assert_eq!(vectors.len(), 10);
        for vector in &vectors {
            let name = text(vector, "name");
            let (url, body) = (Url::parse(text(vector, "url")).unwrap(), text(vector, "body").as_bytes());
            let request = Signed { method: text(vector, "method"), url: &url, body };
            let mut headers = HeaderMap::new();
            // What the caller sets; the rest is the signer's to add.
            for own in ["Content-Type", "User-Agent"] {
                if let Some(value) = vector["headers"][own].as_str() {
                    headers.insert(http::HeaderName::try_from(own).unwrap(), value.parse().unwrap());
                }
            }
            key(vector).sign(request, &mut headers, vector["project_id"].as_str(), date(vector)).unwrap();
            let names = signed_names(&headers);
            let canonical = canonical_request(request, &headers, &names);
            assert_eq!(canonical, text(vector, "canonical_request"), "{name}");
            let to_sign = string_to_sign(headers[DATE].to_str().unwrap(), &canonical);
            assert_eq!(to_sign, text(vector, "string_to_sign"), "{name}");
            assert_eq!(headers[AUTHORIZATION].to_str().unwrap(), text(vector, "authorization"), "{name}");
            for (header, value) in vector["headers"].as_object().unwrap() {
                assert_eq!(headers[header.as_str()].to_str().ok(), value.as_str(), "{name}: {header}");
            }
        }
    }

    #[test]
    fn s11_the_signature_and_the_security_token_are_not_printed() {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
        let vector = vectors.iter().find(|vector| vector["security_token"].is_string()).unwrap();
        let url = Url::parse(text(vector, "url")).unwrap();
        let mut headers = HeaderMap::new();
        let request = Signed { method: "GET", url: &url, body: b"" };
        key(vector).sign(request, &mut headers, None, date(vector)).unwrap();
        let printed = format!("{headers:?}");
        assert!(
            !printed.contains(text(vector, "security_token")) && !printed.contains("Signature"),
            "{printed}"
        );
    }
}
