//! Signs requests whose path and query need no encoding.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The header `Authorization`. `headers` are all signed; their names are lower-case and sorted.
pub fn authorization(
    (id, secret): (&str, &str),
    method: &str,
    path_and_query: &str,
    headers: &[(&str, &str)],
    payload: &str,
) -> String {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let lines = headers.iter().fold(String::new(), |text, (name, value)| text + name + ":" + value + "\n");
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = format!("{method}\n{path}/\n{query}\n{lines}\n{names}\n{payload}");
    let (_, date) = headers.iter().find(|(name, _)| *name == "x-sdk-date").copied().unwrap_or_default();
    let to_sign = format!("SDK-HMAC-SHA256\n{date}\n{}", hex(&Sha256::digest(canonical)));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(to_sign.as_bytes());
    let signature = hex(&mac.finalize().into_bytes());
    format!("SDK-HMAC-SHA256 Access={id}, SignedHeaders={names}, Signature={signature}")
}

pub fn hash(body: &str) -> String {
    hex(&Sha256::digest(body))
}
