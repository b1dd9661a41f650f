//! What goes over the wire, seen by a raw socket.

mod hostile;

use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    clock::Deadline,
    cloud::{
        credential::{AccessKey, Authorization, Identity, Signed},
        dns::NoSuchHost,
        tests::{
            client, server,
            server::{Script, serve},
        },
        transport::HttpReply,
    },
    engine::state::Live,
    leadership::Leadership,
};

const PROJECT: &str = "0123456789abcdef0123456789abcdef";

fn credential() -> Credential {
    crate::cloud::tests::credential("very-secret", "1")
}

fn ids(n: u128) -> Vec<InstanceId> {
    (0..n).map(InstanceId::from_u128).collect()
}

fn within(life: Duration) -> DepartureGuard {
    DepartureGuard::new(Deadline::after(life, &Clock::start()), &Leadership::always())
}

fn soon() -> DepartureGuard {
    within(Duration::from_mins(1))
}

fn closing() -> Script {
    Script::Reply(Box::new(|_| (0, String::new())))
}

/// A call that changes instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calling {
    Delete,
    PowerOff,
}

const BOTH: [Calling; 2] = [Calling::Delete, Calling::PowerOff];

/// The instances, each with a server of its own.
fn on_servers(ids: &[InstanceId]) -> Vec<(InstanceId, ServerId)> {
    let server = |id: &InstanceId| ServerId::parse(&format!("SRV-{}", &id.to_string()[32..])).unwrap();
    ids.iter().map(|id| (*id, server(id))).collect()
}

impl Calling {
    async fn make(
        self,
        client: &Client,
        endpoint: &Endpoint,
        credential: &Credential,
        ids: &[InstanceId],
        departure: DepartureGuard,
    ) -> CallOutcome {
        match self {
            Self::Delete => client.delete_instances(endpoint, PROJECT, credential, ids, departure).await,
            Self::PowerOff => {
                client.power_off(endpoint, PROJECT, credential, &on_servers(ids), departure).await
            }
        }
    }

    /// By a client of its own, with a limit of so many seconds.
    async fn at(self, url: &str, seconds: u64, ids: &[InstanceId], departure: DepartureGuard) -> CallOutcome {
        let endpoint = Endpoint::parse(url, true).unwrap();
        self.make(&client(seconds), &endpoint, &credential(), ids, departure).await
    }
}

#[tokio::test]
async fn a_call_that_changes_instances_is_what_the_vendor_documents() {
    let [first, second] = [InstanceId::from_u128(0), InstanceId::from_u128(1)];
    let table = [
        (
            Calling::Delete,
            202,
            format!(r#"{{"instances":[{{"id":"{second}"}}]}}"#),
            format!("POST /v1/{PROJECT}/instances/batch-delete HTTP/1.1\r\n"),
            format!(r#"{{"instance_id_set":["{first}","{second}"]}}"#),
        ),
        (
            Calling::PowerOff,
            200,
            r#"{"physical_servers":[{"id":"srv-0001"}]}"#.to_owned(),
            format!("PUT /v1/{PROJECT}/physicalservers/power-state HTTP/1.1\r\n"),
            r#"{"action":"power off","server_id_set":["SRV-0000","SRV-0001"]}"#.to_owned(),
        ),
    ];
    for (call, status, body, line, sent) in table {
        let server = serve(Script::Reply(Box::new(move |_| (status, body.clone())))).await;
        let reply = call.at(&server.url, 30, &ids(2), soon()).await;
        let CallOutcome::Accepted { ids, foreign: 0, message } = reply else { panic!("{reply:?}") };
        assert_eq!((ids, message.request_id.as_deref()), (vec![second], Some("r")));
        let request = server.requests().pop().unwrap();
        let lower = request.to_ascii_lowercase();
        assert!(request.starts_with(&line), "{request}");
        assert!(lower.contains("x-auth-token: very-secret\r\n"));
        assert!(lower.contains("content-length: ") && !lower.contains("chunked"), "{request}");
        assert!(lower.contains("content-type: application/json"));
        assert!(request.ends_with(&format!("\r\n\r\n{sent}")), "{request}");
    }
}

/// A DNS without names, or one that fails.
struct Dns(fn(String) -> Box<dyn std::error::Error + Send + Sync>);

impl reqwest::dns::Resolve for Dns {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        std::future::ready(Err((self.0)(name.as_str().to_owned()))).boxed()
    }
}

#[tokio::test]
async fn x28_a_host_that_does_not_exist_is_a_wrong_endpoint_and_a_dns_that_fails_is_not() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = Endpoint::parse("https://clouddc.nowhere-1.example", false).unwrap();
    let none: Dns = Dns(|name| NoSuchHost(name).into());
    let fails: Dns = Dns(|_| "Temporary failure in name resolution".into());
    let table = [
        (none, Trouble::EndpointMisconfigured, "no host has the name clouddc.nowhere-1.example"),
        (fails, Trouble::CloudUnreachable, "Temporary failure"),
    ];
    for (dns, expected, says) in table {
        let http = Http::resolving(&crate::cloud::tests::options(5), Arc::new(dns)).unwrap();
        let client = Client::over(http, Duration::from_secs(5), Clock::start());
        for call in BOTH {
            let reply = call.make(&client, &endpoint, &credential(), &ids(2), soon()).await;
            let CallOutcome::Refused { refusal: Refusal::Whole, trouble, message } = reply else {
                panic!("{reply:?}")
            };
            assert!(trouble == expected && message.text.contains(says), "{trouble:?}: {}", message.text);
        }
        let failed = client.list_instances(&endpoint, PROJECT, &credential(), &ids(2)).await.unwrap_err();
        assert!(failed.trouble == expected && failed.message.text.contains(says), "{failed:?}");
        let secret = |text: &str| Secret::parse(text.as_bytes()).unwrap();
        let login =
            Login { username: secret("user"), password: secret("password"), domain: secret("domain") };
        let asked = client.obtain_token(&endpoint, &login, Vec::new()).await;
        let Err(NoToken { trouble, message, .. }) = asked else { panic!("a token") };
        assert!(trouble == expected && message.text.contains(says), "{trouble:?}: {}", message.text);
    }
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset ends it as well; what came before is in the buffer.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn s13_of_a_call_that_is_too_late_no_byte_leaves() {
    for call in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            rest(&mut stream).await
        };
        let (ids, now) = (ids(1), within(Duration::ZERO));
        let (bytes, reply) = tokio::join!(server, call.at(&url, 30, &ids, now));
        assert_eq!(reply, CallOutcome::NotSent(Unsent::TooLate));
        assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[tokio::test]
async fn s13_nor_on_a_connection_that_is_open_already() {
    for call in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap()), true).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = server::request(&mut stream).await;
            server::reply(&mut stream, 202, "{}").await.unwrap();
            (first, rest(&mut stream).await)
        };
        let calls = async {
            // Dropped at the end, and with it every open connection.
            let (client, credential) = (client(30), credential());
            let _ = call.make(&client, &endpoint, &credential, &ids(1), soon()).await;
            call.make(&client, &endpoint, &credential, &ids(2), within(Duration::ZERO)).await
        };
        let ((first, bytes), reply) = tokio::join!(server, calls);
        assert_eq!((first.is_some(), reply), (true, CallOutcome::NotSent(Unsent::TooLate)));
        assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
        // Should the second call have opened a connection of its own, nothing came over it either.
        while let Some(Ok((mut stream, _))) = listener.accept().now_or_never() {
            assert!(rest(&mut stream).await.is_empty());
        }
    }
}

#[tokio::test]
async fn c11_a_connection_closed_after_the_request_is_not_tried_again() {
    for call in BOTH {
        let server = serve(closing()).await;
        let reply = call.at(&server.url, 30, &ids(1), soon()).await;
        assert!(
            matches!(reply, CallOutcome::Unknown { trouble: Trouble::CloudUnreachable, .. }),
            "{reply:?}"
        );
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn c11_nor_when_the_connection_had_served_a_call_before() {
    for call in BOTH {
        let calls = AtomicUsize::new(0);
        let server = serve(Script::Reply(Box::new(move |_| {
            if calls.fetch_add(1, Ordering::Relaxed) == 0 { (202, "{}".into()) } else { (0, String::new()) }
        })))
        .await;
        let endpoint = Endpoint::parse(&server.url, true).unwrap();
        let (client, credential) = (client(30), credential());
        let _ = call.make(&client, &endpoint, &credential, &ids(1), soon()).await;
        let reply = call.make(&client, &endpoint, &credential, &ids(2), soon()).await;
        assert!(
            matches!(reply, CallOutcome::Unknown { trouble: Trouble::CloudUnreachable, .. }),
            "{reply:?}"
        );
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn c10_a_connection_that_is_never_made_sent_nothing() {
    for call in BOTH {
        let server = serve(Script::Mute).await;
        let url = server.url.replace("http:", "https:");
        let reply = call.at(&url, 2, &ids(1), soon()).await;
        assert!(
            matches!(reply, CallOutcome::Refused { trouble: Trouble::CloudUnreachable, .. }),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn c10_a_refused_connection_sent_nothing() {
    for call in BOTH {
        let server = serve(closing()).await;
        let url = server.url.clone();
        drop(server);
        // The listener is gone when its task has ended.
        let reply = loop {
            let reply = call.at(&url, 30, &ids(1), soon()).await;
            if !matches!(reply, CallOutcome::Unknown { .. }) {
                break reply;
            }
        };
        assert!(
            matches!(reply, CallOutcome::Refused { trouble: Trouble::CloudUnreachable, .. }),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn c13_a_body_that_never_ends_is_cut_by_the_total_deadline() {
    for call in BOTH {
        let server = serve(Script::Raw("HTTP/1.1 202 X\r\nContent-Length: 100\r\n\r\n{\"inst")).await;
        let reply = call.at(&server.url, 1, &ids(1), soon()).await;
        let CallOutcome::Unknown { message, .. } = reply else { panic!("{reply:?}") };
        assert!(message.text.contains("no answer within 1 s"), "{}", message.text);
    }
}

#[tokio::test]
async fn s12_an_oversized_reply_is_an_unknown_outcome() {
    for call in BOTH {
        let server = serve(Script::Reply(Box::new(|_| (202, "x".repeat((1 << 20) + 1))))).await;
        let reply = call.at(&server.url, 30, &ids(1), soon()).await;
        let CallOutcome::Unknown { message, .. } = reply else { panic!("{reply:?}") };
        assert!(message.text.contains("larger than 1 MiB"), "{}", message.text);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for call in BOTH {
        let head = "HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
        let server = serve(Script::Raw(head)).await;
        let reply = call.at(&server.url, 30, &ids(1), soon()).await;
        assert!(
            matches!(reply, CallOutcome::Unknown { trouble: Trouble::EndpointMisconfigured, .. }),
            "{reply:?}"
        );
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn nor_is_one_of_a_read_whose_token_would_go_with_it() {
    let head = "HTTP/1.1 302 X\r\nLocation: /elsewhere\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let server = serve(Script::Raw(head)).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let (client, credential) = (client(30), credential());
    let show = client.show_instance_status(&endpoint, PROJECT, &credential, ids(1)[0]).await;
    assert_eq!(show.unwrap_err().trouble, Trouble::EndpointMisconfigured);
    let list = client.list_instances(&endpoint, PROJECT, &credential, &ids(1)).await;
    assert_eq!(list.unwrap_err().trouble, Trouble::EndpointMisconfigured);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn s02_a_batch_that_may_not_be_sent_is_not() {
    for call in BOTH {
        let server = serve(closing()).await;
        for ids in [ids(0), ids(51), [ids(1), ids(1)].concat()] {
            let reply = call.at(&server.url, 30, &ids, soon()).await;
            assert!(
                matches!(reply, CallOutcome::Refused { trouble: Trouble::RequestRefused, .. }),
                "{reply:?}"
            );
        }
        assert!(server.requests().is_empty());
    }
}

#[tokio::test]
async fn s11_an_echoed_token_is_in_no_note() {
    for call in BOTH {
        let body = r#"{"error_code":"iMetal.0003","error_msg":"bad token very-secret"}"#;
        let server = serve(Script::Reply(Box::new(|_| (401, body.to_owned())))).await;
        let reply = call.at(&server.url, 30, &ids(1), soon()).await;
        let CallOutcome::Refused { message, .. } = reply else { panic!("{reply:?}") };
        assert_eq!(message.text, "bad token [redacted]");
    }
}

#[tokio::test]
async fn s12_a_body_without_end_is_cut_at_its_cap() {
    for call in BOTH {
        let server = serve(Script::Endless("HTTP/1.1 202 X\r\nConnection: close\r\n\r\n")).await;
        let reply = call.at(&server.url, 30, &ids(1), soon()).await;
        let CallOutcome::Unknown { message, .. } = reply else { panic!("{reply:?}") };
        assert!(message.text.contains("larger than 1 MiB"), "{}", message.text);
    }
}

#[tokio::test]
async fn x11_a_list_names_its_ids_and_its_limit_and_heeds_no_other_row() {
    let server = serve(Script::Reply(Box::new(|_| {
        let row =
            |n: u128, state: &str| format!(r#"{{"id":"{}","state":{state}}}"#, InstanceId::from_u128(n));
        let rows =
            [row(0, r#""running""#), row(9, r#""stopped""#), row(0, r#""shutting-down""#), row(1, "7")];
        (200, format!(r#"{{"instances":[{}]}}"#, rows.join(",")))
    })))
    .await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let listed = client(30).list_instances(&endpoint, PROJECT, &credential(), &ids(3)).await.unwrap();
    // The row read last counts; one whose state can't be read was read all the same.
    let expected =
        [(InstanceId::from_u128(0), Seen::ShuttingDown), (InstanceId::from_u128(1), Seen::Unreadable)];
    assert_eq!(listed, expected);
    let request = server.requests().pop().unwrap();
    let joined = ids(3).iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
    let line = format!("GET /v1/{PROJECT}/instances?instance_id={joined}&limit=1000 HTTP/1.1\r\n");
    assert!(request.starts_with(&line), "{request}");
}

#[tokio::test]
async fn a_list_of_nothing_or_of_too_much_is_never_asked_for() {
    let server = serve(closing()).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    for ids in [ids(0), ids(101)] {
        let failure = client(30).list_instances(&endpoint, PROJECT, &credential(), &ids).await.unwrap_err();
        assert_eq!(failure.trouble, Trouble::RequestRefused);
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_path_before_the_api_is_kept() {
    let server = serve(Script::Reply(Box::new(|_| (200, r#"{"state":"running"}"#.to_owned())))).await;
    let endpoint = Endpoint::parse(&format!("{}/clouddc/", server.url), true).unwrap();
    let id = InstanceId::from_u128(7);
    let seen = client(30).show_instance_status(&endpoint, PROJECT, &credential(), id).await;
    assert_eq!(seen, Ok(Seen::Live(Live::Running)));
    let line = format!("GET /clouddc/v1/{PROJECT}/instances/{id}/status HTTP/1.1\r\n");
    assert!(server.requests()[0].starts_with(&line), "{:?}", server.requests());
    let _ = client(30).show_instance_status(&endpoint, "../a?b#c", &credential(), id).await;
    assert!(server.requests()[1].starts_with("GET /clouddc/v1/..%2Fa%3Fb%23c/instances/"));
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn s11_a_token_that_the_cloud_echoes_is_in_no_log_and_in_no_answer() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With a single subscriber, a test in another thread that comes first to a line of code turns it off for all.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let echo = "HTTP/1.1 200 X\r\nConnection: close\r\nX-Request-Id: id-very-secret\r\nContent-Length: 23\r\n\r\n{\"state\":\"very-secret\"}";
    let server = serve(Script::Raw(echo)).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let (client, credential) = (client(30), credential());
    let seen = client.show_instance_status(&endpoint, PROJECT, &credential, ids(1)[0]).await;
    let list = client.list_instances(&endpoint, PROJECT, &credential, &ids(1)).await;
    let delete = Calling::Delete.make(&client, &endpoint, &credential, &ids(1), soon()).await;
    let power = Calling::PowerOff.make(&client, &endpoint, &credential, &ids(1), soon()).await;
    let told = format!("{seen:?} {list:?} {delete:?} {power:?}");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for operation in ["ShowInstanceStatus", "ListInstances", "DeleteInstances", "ChangeServerPowerState"] {
        assert!(log.contains(operation), "{log}");
    }
    assert!(told.contains("id-[redacted]") && log.contains("id-[redacted]"), "{told} {log}");
    assert!(!told.contains("very-secret") && !log.contains("very-secret"), "{told} {log}");
}

fn access_key() -> Credential {
    let secret = |text: &str| crate::cloud::Secret::parse(text.as_bytes()).unwrap();
    let key = AccessKey {
        id: secret("AKIDEXAMPLE"),
        secret: secret("sk-example"),
        security_token: Some(secret("temporary")),
    };
    let identity = Identity::of_key(&key);
    Credential { authorization: Authorization::AccessKey(key), identity, version: "1".to_owned() }
}

#[tokio::test]
async fn a_request_is_signed_as_it_leaves_with_its_body_and_its_query() {
    let server = serve(Script::Reply(Box::new(|_| (404, String::new())))).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let (client, key) = (client(30), access_key());
    let _ = client.list_instances(&endpoint, PROJECT, &key, &ids(2)).await;
    for call in BOTH {
        let _ = call.make(&client, &endpoint, &key, &ids(2), soon()).await;
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let mut signatures = Vec::new();
    for request in &requests {
        let header = |name: &str| {
            let line =
                request.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
            line.map(|line| line[name.len() + 2..].to_owned()).unwrap_or_default()
        };
        // What a verifier sees: only what is on the wire.
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let (method, path) = head.split_once(" HTTP").unwrap().0.split_once(' ').unwrap();
        let url = Url::parse(&format!("{}{path}", server.url)).unwrap();
        let date = header("x-sdk-date");
        let (day, time) = date.split_once('T').unwrap();
        let at = format!(
            "{}-{}-{}T{}:{}:{}",
            &day[..4],
            &day[4..6],
            &day[6..],
            &time[..2],
            &time[2..4],
            &time[4..]
        );
        let mut headers = http::HeaderMap::new();
        headers.insert(CONTENT_TYPE, header("content-type").parse().unwrap());
        let signed = Signed { method, url: &url, body: body.as_bytes() };
        key.authorize(signed, &mut headers, PROJECT, at.parse().unwrap()).unwrap();
        let authorization = header("authorization");
        assert_eq!(authorization, headers["authorization"].to_str().unwrap());
        assert_eq!(
            (header("x-security-token"), header("x-project-id")),
            ("temporary".into(), PROJECT.into())
        );
        assert_eq!(format!("http://{}", header("host")), server.url);
        assert!(!request.contains("sk-example") && header("x-auth-token").is_empty(), "{request}");
        signatures.push(authorization);
    }
    let distinct: HashSet<_> = signatures.iter().collect();
    assert_eq!(distinct.len(), 3);
}

#[tokio::test]
async fn c03_a_clock_that_is_off_is_set_by_the_first_refusal() {
    let dates = Arc::new(Mutex::new(Vec::new()));
    let seen = dates.clone();
    let wire = crate::cloud::tests::Wire(move |request: &Request| {
        seen.lock().unwrap().push(request.headers()["x-sdk-date"].to_str().unwrap().to_owned());
        let refused = r#"{"error_code":"APIGW.0301","error_msg":"signature expired"}"#;
        HttpReply {
            date: Some("Thu, 01 Jan 2026 10:00:00 GMT".to_owned()),
            ..crate::cloud::tests::reply(401, refused)
        }
    });
    let clock = Clock::with_wall(|| "2026-01-01T09:00:00Z".parse().unwrap());
    let client = Client::over(wire, Duration::from_secs(30), clock);
    let endpoint = Endpoint::parse("https://clouddc.example", false).unwrap();
    let show = async |credential: &Credential| {
        let shown = client.show_instance_status(&endpoint, PROJECT, credential, ids(1)[0]).await;
        shown.map_err(|failure| (failure.trouble, failure.clock_set)).unwrap_err()
    };
    assert_eq!(show(&access_key()).await, (Trouble::CredentialsRejected, true));
    assert_eq!(show(&access_key()).await, (Trouble::CredentialsRejected, false), "the clock is right now");
    assert_eq!(*dates.lock().unwrap(), ["20260101T090000Z", "20260101T100000Z"]);
}

#[tokio::test]
async fn c03_a_call_that_changes_instances_sets_a_clock_that_is_off_too() {
    for call in BOTH {
        let dates = Arc::new(Mutex::new(Vec::new()));
        let seen = dates.clone();
        let wire = crate::cloud::tests::Wire(move |request: &Request| {
            seen.lock().unwrap().push(request.headers()["x-sdk-date"].to_str().unwrap().to_owned());
            let refused = r#"{"error_code":"APIGW.0301","error_msg":"signature expired"}"#;
            HttpReply {
                date: Some("Thu, 01 Jan 2026 10:00:00 GMT".to_owned()),
                ..crate::cloud::tests::reply(401, refused)
            }
        });
        let clock = Clock::with_wall(|| "2026-01-01T09:00:00Z".parse().unwrap());
        let client = Client::over(wire, Duration::from_secs(30), clock);
        let endpoint = Endpoint::parse("https://clouddc.example", false).unwrap();
        for _ in 0..2 {
            let reply = call.make(&client, &endpoint, &access_key(), &ids(2), soon()).await;
            let CallOutcome::Refused { refusal: Refusal::Whole, trouble, .. } = reply else {
                panic!("{reply:?}")
            };
            assert_eq!(trouble, Trouble::CredentialsRejected, "{call:?}");
        }
        assert_eq!(*dates.lock().unwrap(), ["20260101T090000Z", "20260101T100000Z"], "{call:?}");
    }
}

#[tokio::test]
async fn each_call_is_counted_under_its_operation() {
    let server = serve(Script::Reply(Box::new(|_| (429, String::new())))).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let client = client(30);
    let _ = Calling::Delete.make(&client, &endpoint, &credential(), &ids(2), soon()).await;
    for _ in 0..2 {
        let _ = Calling::PowerOff.make(&client, &endpoint, &credential(), &ids(2), soon()).await;
    }
    let _ = Calling::PowerOff.make(&client, &endpoint, &credential(), &ids(2), within(Duration::ZERO)).await;
    let text = crate::metrics::testing::scraped(|registry| client.metrics().register(registry));
    let of = |operation: &str, outcome: &str| {
        let row = format!("cloud_calls_total{{operation=\"{operation}\",outcome=\"{outcome}\"}}");
        crate::metrics::testing::sample(&text, &row)
    };
    let table = [
        ("DeleteInstances", "throttled", 1.0),
        ("ChangeServerPowerState", "throttled", 2.0),
        ("DeleteInstances", "too_late", 0.0),
        ("ChangeServerPowerState", "too_late", 1.0),
    ];
    for (operation, outcome, expected) in table {
        assert!((of(operation, outcome) - expected).abs() < f64::EPSILON, "{operation} {outcome}");
    }
}
