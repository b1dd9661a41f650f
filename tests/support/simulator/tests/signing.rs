//! Signatures against requests that the vendor's own signer has signed.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use clouddc_simulator::{AccessKey, Projects, SignatureError, SignedRequest, verify_signature};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// `20260101T010203Z`, the date of all of them.
const SIGNED_AT: u64 = 1_767_229_323;
const QUARTER_OF_AN_HOUR: u64 = 15 * 60;

#[derive(Clone)]
struct Vector {
    name: String,
    key: AccessKey,
    method: String,
    uri: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Vector {
    fn verify_at(&self, unix_seconds: u64) -> Result<(), SignatureError> {
        let Self { method, uri, headers, body, .. } = self;
        let request = SignedRequest { method, uri, headers, body };
        verify_signature(&request, std::slice::from_ref(&self.key), unix_seconds).map(|_| ())
    }

    fn verify(&self) -> Result<(), SignatureError> {
        self.verify_at(SIGNED_AT)
    }

    fn with_header(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        changed
    }
}

fn vectors() -> Vec<Vector> {
    let all: Vec<Value> = serde_json::from_str(include_str!("signing.json")).unwrap();
    assert_eq!(all.len(), 10);
    all.iter().map(vector).collect()
}

fn vector(value: &Value) -> Vector {
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    let mut headers = HeaderMap::new();
    for (name, value) in value["headers"].as_object().unwrap() {
        headers.insert(name.parse::<HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap());
    }
    headers.insert("authorization", text("authorization").parse().unwrap());
    let (url, mut key) = (text("url"), AccessKey::new("vector", text("ak"), text("sk"), Projects::All));
    key.security_token = value["security_token"].as_str().map(str::to_owned);
    let (_, rest) = url.split_once("://").unwrap();
    Vector {
        name: text("name"),
        key,
        method: text("method"),
        uri: rest[rest.find('/').unwrap()..].to_owned(),
        headers,
        body: value["body"].as_str().unwrap_or_default().into(),
    }
}

/// Every text with one byte of this one changed, from the place `from` on.
fn one_byte_changed(text: &str, from: usize) -> impl Iterator<Item = String> {
    (from..text.len()).map(move |at| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        String::from_utf8(bytes).unwrap()
    })
}

#[test]
fn what_the_vendor_has_signed_is_right() {
    for vector in vectors() {
        assert_eq!(vector.verify(), Ok(()), "{}", vector.name);
        for skew in [0, 1, QUARTER_OF_AN_HOUR] {
            assert_eq!(vector.verify_at(SIGNED_AT + skew), Ok(()));
            assert_eq!(vector.verify_at(SIGNED_AT - skew), Ok(()));
        }
        assert_eq!(vector.verify_at(SIGNED_AT + QUARTER_OF_AN_HOUR + 1), Err(SignatureError::Expired));
        assert_eq!(vector.verify_at(SIGNED_AT - QUARTER_OF_AN_HOUR - 1), Err(SignatureError::Expired));
    }
}

#[test]
fn one_byte_of_body_path_or_query_breaks_it() {
    for vector in vectors() {
        for at in 0..vector.body.len() {
            let mut changed = vector.clone();
            changed.body[at] ^= 1;
            assert_eq!(changed.verify(), Err(SignatureError::Wrong), "{} body {at}", vector.name);
        }
        let mut longer = vector.clone();
        longer.body.push(b' ');
        assert_eq!(longer.verify(), Err(SignatureError::Wrong), "{}", vector.name);
        for uri in one_byte_changed(&vector.uri, 1) {
            // A query that begins elsewhere is another path too.
            let changed = Vector { uri, ..vector.clone() };
            assert_eq!(changed.verify(), Err(SignatureError::Wrong), "{} {}", vector.name, changed.uri);
        }
        let changed = Vector { method: "PATCH".to_owned(), ..vector.clone() };
        assert_eq!(changed.verify(), Err(SignatureError::Wrong));
    }
}

#[test]
fn one_byte_of_a_signed_header_breaks_it() {
    for vector in vectors() {
        for (name, value) in &vector.headers {
            if name == "authorization" || name == "x-sdk-date" {
                continue;
            }
            for value in one_byte_changed(value.to_str().unwrap(), 0) {
                let changed = vector.with_header(name.as_str(), &value);
                assert_eq!(changed.verify(), Err(SignatureError::Wrong), "{} {name}", vector.name);
            }
            let mut without = vector.clone();
            without.headers.remove(name);
            assert_eq!(without.verify(), Err(SignatureError::Wrong), "{} {name}", vector.name);
        }
    }
}

#[test]
fn one_byte_of_key_date_or_signature_breaks_it() {
    for vector in vectors() {
        for secret in one_byte_changed(&vector.key.secret, 0) {
            let key = AccessKey { secret, ..vector.key.clone() };
            assert_eq!(Vector { key, ..vector.clone() }.verify(), Err(SignatureError::Wrong));
        }
        for id in one_byte_changed(&vector.key.id, 0) {
            let key = AccessKey { id, ..vector.key.clone() };
            assert_eq!(Vector { key, ..vector.clone() }.verify(), Err(SignatureError::UnknownKey));
        }
        // Another second within the quarter of an hour, and what is no date.
        for date in ["20260101T010204Z", "20260101T010203z", "20260101 010203Z", ""] {
            let changed = vector.with_header("x-sdk-date", date);
            assert_eq!(changed.verify(), Err(SignatureError::Wrong), "{date}");
        }
        let authorization = vector.headers["authorization"].to_str().unwrap().to_owned();
        let (head, signature) = authorization.split_once("Signature=").unwrap();
        for at in 0..signature.len() {
            let mut digits = signature.as_bytes().to_vec();
            digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
            let forged = format!("{head}Signature={}", String::from_utf8(digits).unwrap());
            let changed = vector.with_header("authorization", &forged);
            assert_eq!(changed.verify(), Err(SignatureError::Wrong));
        }
    }
}

#[test]
fn the_date_must_be_signed_and_the_header_well_formed() {
    let vector = vectors().remove(0);
    let authorization = vector.headers["authorization"].to_str().unwrap().to_owned();
    let undated = vector.with_header("authorization", &authorization.replace(";x-sdk-date", ""));
    assert_eq!(undated.verify(), Err(SignatureError::Wrong));
    for malformed in ["", "Basic YTpi", &authorization.replace("Access=", "AccessKey=")] {
        assert_eq!(
            vector.with_header("authorization", malformed).verify(),
            Err(SignatureError::Malformed),
            "{malformed}"
        );
    }
    let mut without = vector.clone();
    without.headers.remove("authorization");
    assert_eq!(without.verify(), Err(SignatureError::Malformed));
    assert_eq!(SignatureError::Malformed.code(), "APIGW.0303");
    assert_eq!(SignatureError::Wrong.code(), "APIGW.0301");
}

#[test]
fn a_temporary_key_needs_its_token_and_a_permanent_one_none() {
    for vector in vectors() {
        let other = AccessKey { security_token: Some("another".to_owned()), ..vector.key.clone() };
        assert_eq!(
            Vector { key: other, ..vector.clone() }.verify(),
            Err(SignatureError::SecurityToken),
            "{}",
            vector.name
        );
        let permanent = AccessKey { security_token: None, ..vector.key.clone() };
        assert_eq!(Vector { key: permanent, ..vector.clone() }.verify(), Ok(()));
        if vector.key.security_token.is_none() {
            // Added after signing, as a proxy might.
            let key = vector.key.clone().with_security_token("later");
            let later = Vector { key, ..vector.with_header("x-security-token", "later") };
            assert_eq!(later.verify(), Err(SignatureError::SecurityToken));
        }
    }
}

#[test]
fn a_body_of_json_is_always_signed() {
    for vector in vectors() {
        let unsigned = vector.with_header("x-sdk-content-sha256", "UNSIGNED-PAYLOAD");
        assert_eq!(unsigned.verify(), Err(SignatureError::Wrong), "{}", vector.name);
        let other = vector.with_header("x-sdk-content-sha256", &"0".repeat(64));
        assert_eq!(other.verify(), Err(SignatureError::Wrong), "{}", vector.name);
        let mut more = vector.clone();
        more.headers.insert("x-not-signed", HeaderValue::from_static("whatever"));
        assert_eq!(more.verify(), Ok(()), "a header that is not listed does not count");
    }
}

#[test]
fn secrets_are_not_shown() {
    let key = AccessKey::new("label", "ak", "very-secret", Projects::All).with_security_token("also-secret");
    let shown = format!("{key:?}");
    assert!(shown.contains("label") && !shown.contains("secret"), "{shown}");
}
