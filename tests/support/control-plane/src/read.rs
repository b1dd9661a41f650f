//! Reads from the API server without kubectl. Tests read an object again and again while they wait for a change; a start of
//! kubectl takes 0.1 s of processor time each.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;

/// How long the server may take for each part of its answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A GET with a bearer token: the status, and the JSON of the answer. `authority` is a file with the certificates to trust.
pub(crate) fn get(port: u16, authority: &Path, token: &str, path: &str) -> io::Result<(u16, Value)> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let connection = ClientConnection::new(Arc::new(config), server).map_err(io::Error::other)?;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut stream = StreamOwned::new(connection, stream);
    // HTTP/1.0: the body ends with the connection, and comes in one piece.
    let head =
        format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer of HTTP with JSON"))
}

fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, serde_json::from_slice(answer.get(end + 4..)?).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn an_answer_is_its_status_and_its_json() {
        let cases: [(&str, _); 4] = [
            ("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"a\":1}", Some((200, json!({"a": 1})))),
            ("HTTP/1.0 404 Not Found\r\n\r\n{}", Some((404, json!({})))),
            ("HTTP/1.0 200 OK\r\n\r\n{\"a\":", None),
            ("HTTP/1.0 200 OK\r\n", None),
        ];
        for (answer, expected) in cases {
            assert_eq!(parse(answer.as_bytes()), expected, "{answer}");
        }
    }
}
