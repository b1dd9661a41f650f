//! Verifies signatures of the algorithm SDK-HMAC-SHA256, from what is on the wire.
//!
//! The rule is that of the vendor's signing guide and of its Python SDK. Not said there, and chosen here: a header
//! listed twice has a line for each value (as the Go SDK signs it), a `+` in a query is a plus sign, and a body that
//! `X-Sdk-Content-Sha256` does not fit is a wrong signature.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

use crate::{
    access_keys::AccessKey,
    authorization::{ALGORITHM, Authorization},
    calendar::read_sdk_date,
};

const DATE: &str = "x-sdk-date";
const SECURITY_TOKEN: &str = "x-security-token";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const LARGEST_SKEW_SECONDS: u64 = 15 * 60;

/// All but `A-Za-z0-9-_.~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A request as it is on the wire.
#[derive(Clone, Copy)]
pub struct SignedRequest<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path and query.
    pub uri: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// Why a signed request is refused. The text is the `error_msg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header `Authorization` has another form.
    #[error("Incorrect app authentication information: malformed Authorization header")]
    Malformed,
    /// No such access key.
    #[error("Incorrect IAM authentication information: Get secretKey failed,ak:******,err:ak not exist")]
    UnknownKey,
    /// `X-Sdk-Date` is more than 15 minutes off.
    #[error("Incorrect IAM authentication information: signature expired")]
    Expired,
    /// `X-Security-Token` of a temporary key is missing, wrong or not signed (undocumented text).
    #[error("Incorrect IAM authentication information: security token missing, wrong or not signed")]
    SecurityToken,
    /// The signature is that of another request, key or date, or does not cover the date.
    #[error("Incorrect IAM authentication information: verify aksk signature fail")]
    Wrong,
}

impl SignatureError {
    /// `error_code` of the 401.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "APIGW.0303",
            Self::UnknownKey | Self::Expired | Self::SecurityToken | Self::Wrong => "APIGW.0301",
        }
    }
}

/// Returns the key with which the request is signed. `unix_seconds` is the time at the cloud.
pub fn verify_signature<'k>(
    request: &SignedRequest<'_>,
    keys: &'k [AccessKey],
    unix_seconds: u64,
) -> Result<&'k AccessKey, SignatureError> {
    let authorization = authorization(request.headers).ok_or(SignatureError::Malformed)?;
    let key = keys.iter().find(|key| key.id == authorization.access).ok_or(SignatureError::UnknownKey)?;
    let names = authorization.names();
    let date = header(request.headers, DATE).filter(|_| names.contains(DATE)).ok_or(SignatureError::Wrong)?;
    let signed_at = read_sdk_date(date).ok_or(SignatureError::Wrong)?;
    if signed_at.abs_diff(unix_seconds) > LARGEST_SKEW_SECONDS {
        return Err(SignatureError::Expired);
    }
    let canonical = canonical_request(request, &names)?;
    let to_sign = format!("{ALGORITHM}\n{date}\n{}", sha256_hex(&canonical));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.secret.as_bytes()).map_err(|_| SignatureError::Wrong)?;
    mac.update(to_sign.as_bytes());
    // Takes the same time whatever differs.
    mac.verify_slice(&authorization.signature).map_err(|_| SignatureError::Wrong)?;
    if let Some(token) = &key.security_token {
        let sent = header(request.headers, SECURITY_TOKEN).filter(|_| names.contains(SECURITY_TOKEN));
        if sent != Some(token) {
            return Err(SignatureError::SecurityToken);
        }
    }
    Ok(key)
}

/// The header taken apart; none if it is missing or malformed.
pub(crate) fn authorization(headers: &HeaderMap) -> Option<Authorization<'_>> {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(Authorization::read)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn canonical_request(
    request: &SignedRequest<'_>,
    names: &BTreeSet<String>,
) -> Result<Vec<u8>, SignatureError> {
    let (path, query) = request.uri.split_once('?').unwrap_or((request.uri, ""));
    let head = [&request.method.to_ascii_uppercase(), &canonical_path(path), &canonical_query(query), ""];
    let mut canonical = head.join("\n").into_bytes();
    for name in names {
        let mut values = request.headers.get_all(name).into_iter().peekable();
        if values.peek().is_none() {
            return Err(SignatureError::Wrong);
        }
        for value in values {
            canonical.extend_from_slice(name.as_bytes());
            canonical.push(b':');
            canonical.extend_from_slice(value.as_bytes().trim_ascii());
            canonical.push(b'\n');
        }
    }
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    canonical.extend_from_slice(format!("\n{}\n{}", listed.join(";"), payload(request)?).as_bytes());
    Ok(canonical)
}

/// Decoded as a whole, then encoded part by part: an encoded slash divides like any other.
fn canonical_path(path: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let parts: Vec<String> = decoded.split(|byte| *byte == b'/').map(encode).collect();
    let mut canonical = parts.join("/");
    if !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// Sorted by what is meant, not by what is written.
fn canonical_query(query: &str) -> String {
    let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
}

fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, ENCODED).to_string()
}

/// The last line: the body's hash, or that it is not signed, which a body of JSON must be.
fn payload(request: &SignedRequest<'_>) -> Result<String, SignatureError> {
    let may_be_unsigned = request.headers.get(CONTENT_TYPE).is_some_and(|value| !is_json(value.as_bytes()));
    let hash = sha256_hex(request.body);
    match header(request.headers, "x-sdk-content-sha256") {
        Some(UNSIGNED) if may_be_unsigned => Ok(UNSIGNED.to_owned()),
        Some(said) if said == hash => Ok(hash),
        Some(_) => Err(SignatureError::Wrong),
        None if may_be_unsigned && !request.body.is_empty() => Ok(UNSIGNED.to_owned()),
        None => Ok(hash),
    }
}

/// JSON or BSON, whatever its parameters.
fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [&b"application/json"[..], b"application/bson"].iter().any(|json| media_type.eq_ignore_ascii_case(json))
}

fn sha256_hex(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
