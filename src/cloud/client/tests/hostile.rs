//! Replies that are not this API's, or have no end: nobody knows what a call that changes instances did, and a read says
//! nothing.

use super::*;

/// The calls, each over a connection of its own.
struct Outcomes {
    delete: (Trouble, CloudMessage),
    power: (Trouble, CloudMessage),
    list: FailedRead,
    show: Result<Seen, FailedRead>,
}

impl Outcomes {
    /// What is said of the calls that change instances, and of the list.
    fn texts(&self) -> [&str; 3] {
        [&self.delete.1.text, &self.power.1.text, &self.list.message.text]
    }

    fn request_ids(&self) -> [Option<&str>; 3] {
        [&self.delete.1, &self.power.1, &self.list.message].map(|message| message.request_id.as_deref())
    }
}

async fn outcomes(name: &str, server: &server::RawServer) -> Outcomes {
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let (client, credential) = (client(1), credential());
    let unknown = async |call: Calling| {
        let reply = call.make(&client, &endpoint, &credential, &ids(2), soon()).await;
        let CallOutcome::Unknown { trouble, message, .. } = reply else { panic!("{name}: {reply:?}") };
        (trouble, message)
    };
    let (delete, power) = (unknown(Calling::Delete).await, unknown(Calling::PowerOff).await);
    let list = client.list_instances(&endpoint, PROJECT, &credential, &ids(2)).await;
    let list = list.expect_err(name);
    let show = client.show_instance_status(&endpoint, PROJECT, &credential, ids(1)[0]).await;
    Outcomes { delete, power, list, show }
}

/// A reply that names both ids and both servers, or that shows one running.
const GOOD: &str = r#"{"instances":[{"id":"00000000-0000-0000-0000-000000000000","state":"running"},{"id":"00000000-0000-0000-0000-000000000001"}],"physical_servers":[{"id":"SRV-0000"},{"id":"SRV-0001"}],"state":"running"}"#;

fn reply(headers: &str, body: &[u8]) -> Script {
    let head =
        format!("HTTP/1.1 202 X\r\nX-Request-Id: req-7\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    Script::Bytes([head.as_bytes(), body].concat())
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn a_reply_that_is_not_this_apis_says_nothing_whatever_it_looks_like() {
    let good = GOOD.as_bytes();
    let gzip = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03".as_slice(), good].concat();
    // As Latin-1 has it.
    let latin: Vec<u8> = GOOD.replace("running", "runn\u{ef}ng").chars().map(|c| c as u8).collect();
    let broken = latin.as_slice();
    let encoded = format!("{JSON}Content-Encoding: gzip\r\n");
    let (no_instances, no_text) =
        ("HTTP 202 with a body that lists no instances", "HTTP 202 with a body that is no text");
    let table: [(&str, &str, &[u8], Trouble, &str); 10] = [
        ("text", "Content-Type: text/plain\r\n", good, Trouble::CloudUnreachable, no_instances),
        (
            "octets",
            "Content-Type: application/octet-stream\r\n",
            good,
            Trouble::CloudUnreachable,
            no_instances,
        ),
        ("a list", JSON, b"[]", Trouble::CloudUnreachable, no_instances),
        (
            "an object of another shape",
            JSON,
            br#"{"instances":{"id":1},"physical_servers":{"id":1}}"#,
            Trouble::CloudUnreachable,
            no_instances,
        ),
        ("a text of JSON", JSON, br#""ok""#, Trouble::CloudUnreachable, no_instances),
        (
            "two in one",
            JSON,
            br#"{"physical_servers":[],"instances":[]}{"instances":[]}"#,
            Trouble::CloudUnreachable,
            no_instances,
        ),
        (
            "HTML as JSON",
            JSON,
            b" <html>Welcome</html>",
            Trouble::EndpointMisconfigured,
            "HTTP 202 with an HTML page",
        ),
        (
            "HTML",
            "Content-Type: text/html\r\n",
            good,
            Trouble::EndpointMisconfigured,
            "HTTP 202 with an HTML page",
        ),
        ("Latin-1", JSON, broken, Trouble::CloudUnreachable, no_text),
        ("gzip", &encoded, &gzip, Trouble::CloudUnreachable, no_text),
    ];
    for (name, headers, body, trouble, text) in table {
        let server = serve(reply(headers, body)).await;
        let heard = outcomes(name, &server).await;
        assert_eq!([heard.delete.0, heard.power.0], [trouble; 2], "{name}");
        let of_servers = text.replace("no instances", "no servers");
        assert_eq!(heard.texts(), [text, &of_servers, text], "{name}");
        assert_eq!(heard.request_ids(), [Some("req-7"); 3], "{name}");
        assert_eq!((heard.list.trouble, heard.list.too_large), (trouble, false), "{name}");
        assert_eq!(heard.show, Ok(Seen::Unreadable), "{name}");
        assert_eq!(server.requests().len(), 4, "{name}: nothing is asked twice");
    }
    let server = serve(reply(JSON, good)).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let listed = client(1).list_instances(&endpoint, PROJECT, &credential(), &ids(2)).await;
    assert_eq!(listed.map(|rows| rows.len()), Ok(2), "the good one is good");
    for call in BOTH {
        let server = serve(reply(JSON, good)).await;
        let outcome = call.at(&server.url, 1, &ids(2), soon()).await;
        let CallOutcome::Accepted { ids: accepted, .. } = outcome else { panic!("{call:?}: {outcome:?}") };
        assert_eq!(accepted, ids(2), "{call:?}: the good one is good");
    }
}

#[tokio::test]
async fn what_a_reply_would_expand_to_is_never_seen() {
    // A thousand times as much, were it expanded; and none of it is asked for.
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03".repeat(50_000);
    let encoded = format!("{JSON}Content-Encoding: gzip\r\n");
    let server = serve(reply(&encoded, &bomb)).await;
    let heard = outcomes("bomb", &server).await;
    assert_eq!(heard.texts(), ["HTTP 202 with a body that is no text"; 3]);
    for request in server.requests() {
        assert!(request.to_ascii_lowercase().contains("\r\naccept-encoding: identity\r\n"), "{request}");
    }
    // An error keeps its meaning, and its body says nothing.
    let refused = "HTTP/1.1 403 X\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n";
    for call in BOTH {
        let server = serve(Script::Bytes([refused.as_bytes(), b"\x1f\x8b\x08\x00"].concat())).await;
        let outcome = call.at(&server.url, 1, &ids(2), soon()).await;
        let CallOutcome::Refused { trouble, message, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((trouble, message.text.as_str()), (Trouble::Forbidden, "HTTP 403"));
    }
}

#[tokio::test]
async fn c19_a_reply_that_ends_too_early_says_nothing() {
    let head = "HTTP/1.1 202 X\r\nX-Request-Id: req-7\r\nContent-Type: application/json\r\n";
    for cut in [
        "Content-Length: 999\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n99\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let server = serve(Script::Bytes(format!("{head}{cut}{GOOD}").into_bytes())).await;
        let heard = outcomes(cut, &server).await;
        let troubles = [heard.delete.0, heard.power.0, heard.list.trouble];
        assert_eq!(troubles, [Trouble::CloudUnreachable; 3]);
        assert!(heard.show.is_err());
        assert_eq!(heard.request_ids(), [Some("req-7"); 3], "the head had come");
    }
}

#[tokio::test]
async fn c13_a_reply_that_drips_ends_with_the_total_deadline_of_each_call() {
    for drip in
        ["HTTP/1.1 202 X\r\nX-Request-Id: req-7\r\n\r\n", "HTTP/1.1 202 X\r\nX-Request-Id: req-7\r\nX-More: "]
    {
        let server = serve(Script::Drip(drip)).await;
        let heard = outcomes(drip, &server).await;
        assert_eq!(heard.texts(), ["no answer within 1 s"; 3]);
        assert_eq!(heard.show.clone().unwrap_err().message.text, "no answer within 1 s");
        let whole_head = drip.ends_with("\r\n\r\n").then_some("req-7");
        assert_eq!(heard.request_ids(), [whole_head; 3]);
    }
}

#[tokio::test]
async fn s12_a_reply_without_end_is_cut_at_the_cap_of_its_operation() {
    let head = "HTTP/1.1 202 X\r\nX-Request-Id: req-7\r\nConnection: close\r\n\r\n";
    let server = serve(Script::Endless(head)).await;
    let heard = outcomes("endless", &server).await;
    let (one, four) = ("the reply is larger than 1 MiB", "the reply is larger than 4 MiB");
    assert_eq!(heard.texts(), [one, one, four]);
    assert!(heard.list.too_large);
    assert_eq!(heard.list.message.request_id.as_deref(), Some("req-7"));
    assert_eq!(heard.show.unwrap_err().message.text, "the reply is larger than 1 MiB");
    // A head has no end either.
    let server = serve(Script::Endless("HTTP/1.1 202 X\r\nX-More: ")).await;
    let heard = outcomes("endless head", &server).await;
    assert!(heard.show.is_err() && !heard.list.too_large);
    assert!(heard.texts().iter().all(|text| !text.contains("no answer within")), "{:?}", heard.texts());
}

#[tokio::test]
async fn calls_share_a_connection_and_say_who_makes_them() {
    let server = serve(Script::Reply(Box::new(|_| (200, GOOD.to_owned())))).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let (client, credential) = (client(30), credential());
    for _ in 0..3 {
        client.list_instances(&endpoint, PROJECT, &credential, &ids(2)).await.unwrap();
        client.show_instance_status(&endpoint, PROJECT, &credential, ids(1)[0]).await.unwrap();
        for call in BOTH {
            call.make(&client, &endpoint, &credential, &ids(2), soon()).await;
        }
    }
    assert_eq!((server.requests().len(), server.connections()), (12, 1));
    let named = |request: &String| request.to_ascii_lowercase().contains("\r\nuser-agent: test\r\n");
    assert!(server.requests().iter().all(named));
}

#[tokio::test]
async fn a_password_does_not_follow_a_redirect() {
    let elsewhere = serve(closing()).await;
    for status in [301, 302, 307, 308] {
        let head =
            format!("HTTP/1.1 {status} X\r\nLocation: {}/v3\r\nContent-Length: 0\r\n\r\n", elsewhere.url);
        let server = serve(Script::Bytes(head.into_bytes())).await;
        let endpoint = Endpoint::parse(&server.url, true).unwrap();
        let body = br#"{"password":"very-secret"}"#.to_vec();
        let secret = |text: &[u8]| Secret::parse(text).unwrap();
        let login =
            Login { username: secret(b"a-user"), password: secret(b"a-password"), domain: secret(b"acme") };
        let obtained = client(30).obtain_token(&endpoint, &login, body).await;
        let Err(failed) = obtained else { panic!("{status}") };
        assert_eq!(
            (failed.trouble, server.requests().len()),
            (Trouble::EndpointMisconfigured, 1),
            "{status}"
        );
    }
    assert_eq!(elsewhere.connections(), 0);
}
