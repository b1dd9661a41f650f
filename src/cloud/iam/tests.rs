//! Tokens, over a wire without a network and in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::future::join_all;
use serde_json::Value;

use super::*;
use crate::{
    clock::Clock,
    cloud::{
        ExchangeError, HttpReply, HttpTransport,
        tests::{Wire, reply},
    },
};

const PROJECT: &str = "0123456789abcdef0123456789abcdef";

fn login() -> Login {
    let secret = |text: &str| Secret::parse_with_spaces(text.as_bytes()).unwrap();
    Login { username: secret("deleter"), password: secret("hun ter2"), domain: secret("acme") }
}

/// A token of this number that lives for so long.
fn granted(number: usize, life: u64) -> HttpReply {
    let body = json!({"token": {
        "issued_at": "2026-01-01T00:00:00.000000Z",
        "expires_at": (Timestamp::from_second(1_767_225_600).unwrap() + Duration::from_secs(life)).to_string(),
    }});
    let subject_token = Secret::parse(format!("token-{number}").as_bytes()).ok();
    HttpReply { subject_token, ..reply(201, &body.to_string()) }
}

struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn times(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// An IAM that answers by the number of the request.
fn iam(answer: impl Fn(usize) -> HttpReply + Send + Sync + 'static) -> (Iam, Asked) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let wire = Wire(move |request: &reqwest::Request| {
        assert_eq!(request.url().as_str(), "https://iam.example/v3/auth/tokens?nocatalog=true");
        let body: Value = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
        let password = &body["auth"]["identity"]["password"]["user"]["password"];
        assert!(password == "hun ter2" || password == "cor rect");
        let user = json!({"name": "deleter", "password": password, "domain": {"name": "acme"}});
        assert_eq!(body["auth"]["identity"], json!({"methods": ["password"], "password": {"user": user}}));
        assert_eq!(body["auth"]["scope"], json!({"project": {"id": PROJECT}}));
        answer(count.fetch_add(1, SeqCst) + 1)
    });
    let client = Client::over(wire, Duration::from_secs(30), Clock::start());
    let endpoint = Endpoint::parse("https://iam.example", false).unwrap();
    (Iam::new(Arc::new(client), endpoint, PROJECT.to_owned()), Asked(asked))
}

async fn token(iam: &Iam, version: &str) -> Result<(String, String), Trouble> {
    let given = iam.token(&login(), version).await;
    given.map(|(token, version)| (token.expose().to_owned(), version)).map_err(|problem| problem.trouble)
}

fn given(number: usize, version: &str) -> (String, String) {
    (format!("token-{number}"), version.to_owned())
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// Lets tasks run until each waits for something.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_request_serves_all_who_wait_and_the_token_is_renewed_at_four_fifths_of_its_life() {
    let (iam, asked) = iam(|number| granted(number, 1_000));
    for waiting in join_all((0..20).map(|_| token(&iam, "7"))).await {
        assert_eq!(waiting, Ok(given(1, "7#1")));
    }
    pass(799).await;
    assert_eq!((token(&iam, "7").await, asked.times()), (Ok(given(1, "7#1")), 1));
    pass(1).await;
    assert_eq!(token(&iam, "7").await, Ok(given(1, "7#1")), "it serves while the next one is fetched");
    settle().await;
    assert_eq!((token(&iam, "7").await, asked.times()), (Ok(given(2, "7#2")), 2));
}

/// An IAM that answers once and then never.
struct Hanging(AtomicUsize);

impl HttpTransport for Hanging {
    fn exchange<'a>(
        &'a self,
        _: reqwest::Request,
        _: usize,
        _: &'a std::sync::OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        let number = self.0.fetch_add(1, SeqCst) + 1;
        async move {
            if number > 1 {
                std::future::pending::<()>().await;
            }
            Ok(granted(number, 1_000))
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_serves_while_an_iam_hangs_and_none_is_waited_for_by_those_who_may_not() {
    let client = Client::over(Hanging(AtomicUsize::new(0)), Duration::from_secs(30), Clock::start());
    let endpoint = Endpoint::parse("https://iam.example", false).unwrap();
    let iam = Iam::new(Arc::new(client), endpoint, PROJECT.to_owned());
    assert_eq!(token(&iam, "7").await, Ok(given(1, "7#1")));
    pass(800).await;
    for _ in 0..149 {
        let started = tokio::time::Instant::now();
        assert_eq!(token(&iam, "7").await, Ok(given(1, "7#1")));
        assert!(started.elapsed().is_zero());
        pass(1).await;
    }
    pass(1).await;
    let TokenNow::Asked(answer) = iam.current(&login(), "7") else { panic!("it has ended") };
    assert!(answer.await.is_err_and(|problem| problem.message.text.contains("no answer within 30 s")));
}

#[tokio::test(start_paused = true)]
async fn c03_one_stale_password_is_tried_once_for_all_projects_of_its_user() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let wire = Wire(move |_: &reqwest::Request| {
        count.fetch_add(1, SeqCst);
        reply(401, r#"{"error":{"message":"The username or password is wrong."}}"#)
    });
    let client = Arc::new(Client::over(wire, Duration::from_secs(30), Clock::start()));
    let endpoint = |n: usize| Endpoint::parse(&format!("https://iam-{}.example", n % 2), false).unwrap();
    let iams: Vec<_> = (0..6).map(|n| Iam::new(client.clone(), endpoint(n), format!("{n:032x}"))).collect();
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(899) {
        // Each has a Secret of its own.
        let versions: Vec<_> = (0..iams.len()).map(|n| n.to_string()).collect();
        for answer in join_all(iams.iter().zip(&versions).map(|(iam, version)| token(iam, version))).await {
            assert_eq!(answer, Err(Trouble::CredentialsRejected));
        }
        pass(15).await;
    }
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn i08_another_version_of_the_secret_is_signed_in_with_at_once() {
    let (iam, asked) = iam(|number| granted(number, 1_000));
    assert_eq!(token(&iam, "7").await, Ok(given(1, "7#1")));
    assert_eq!(token(&iam, "8").await, Ok(given(2, "8#2")));
    assert_eq!((token(&iam, "8").await, asked.times()), (Ok(given(2, "8#2")), 2));
}

#[tokio::test(start_paused = true)]
async fn c03_a_refused_token_is_replaced_at_once_and_not_again_and_again() {
    let (iam, asked) = iam(|number| granted(number, 86_400));
    assert!(!iam.refused("7#1"), "there is none");
    assert_eq!(token(&iam, "7").await, Ok(given(1, "7#1")));
    assert!(iam.refused("7#1"));
    assert_eq!(token(&iam, "7").await, Ok(given(2, "7#2")));
    assert!(iam.refused("7#1"), "another call was refused with the old one: there is a new one");
    pass(299).await;
    assert!(!iam.refused("7#2"), "the token is not the reason");
    assert!(!iam.refused("7"), "a static token is not this one's business");
    assert_eq!((token(&iam, "7").await, asked.times()), (Ok(given(2, "7#2")), 2));
    pass(1).await;
    assert!(iam.refused("7#2"));
    assert_eq!((token(&iam, "7").await, asked.times()), (Ok(given(3, "7#3")), 3));
}

#[tokio::test(start_paused = true)]
async fn c03_a_refused_password_is_not_tried_again_and_again() {
    let refused = r#"{"error":{"code":401,"message":"The username or password hun ter2 is wrong.","title":"Unauthorized"}}"#;
    let (iam, asked) = iam(|number| if number == 3 { granted(3, 1_000) } else { reply(401, refused) });
    let Err(problem) = iam.token(&login(), "7").await else { panic!("a token") };
    assert_eq!((problem.trouble, problem.version.as_deref()), (Trouble::CredentialsRejected, Some("7")));
    assert_eq!(problem.message.text, "IAM: The username or password [redacted] is wrong.");
    for waiting in join_all((0..20).map(|_| token(&iam, "7"))).await {
        assert_eq!(waiting, Err(Trouble::CredentialsRejected));
    }
    assert_eq!(
        token(&iam, "8").await,
        Err(Trouble::CredentialsRejected),
        "the Secret changed, and not the password"
    );
    pass(890).await;
    assert_eq!((token(&iam, "7").await, asked.times()), (Err(Trouble::CredentialsRejected), 1));
    pass(10).await;
    assert_eq!((token(&iam, "7").await, asked.times()), (Err(Trouble::CredentialsRejected), 2));
    let corrected = Login { password: Secret::parse_with_spaces(b"cor rect").unwrap(), ..login() };
    let Ok((_, version)) = iam.token(&corrected, "9").await else {
        panic!("a corrected one is tried at once")
    };
    assert_eq!((version.as_str(), asked.times()), ("9#1", 3));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_can_not_be_renewed_is_used_until_it_ends() {
    let (iam, asked) = iam(|number| if number == 1 { granted(1, 1_000) } else { reply(503, "") });
    assert_eq!(token(&iam, "7").await, Ok(given(1, "7#1")));
    pass(800).await;
    for waiting in join_all((0..20).map(|_| token(&iam, "7"))).await {
        assert_eq!(waiting, Ok(given(1, "7#1")));
    }
    settle().await;
    assert_eq!(asked.times(), 2, "IAM is down: all who need one ask it once");
    pass(5).await;
    assert_eq!(token(&iam, "7").await, Ok(given(1, "7#1")));
    settle().await;
    assert_eq!(asked.times(), 3);
    pass(145).await;
    assert_eq!(token(&iam, "7").await, Err(Trouble::CloudUnreachable), "shortly before it ends");
}

#[tokio::test(start_paused = true)]
async fn what_iam_answers_says_what_stands_in_the_way() {
    let throttled = Trouble::Throttled { retry_after: Some(Duration::from_mins(1)) };
    let table: [(u16, &str, Trouble); 9] = [
        (400, r#"{"error":{"message":"bad"}}"#, Trouble::CredentialsRejected),
        (401, "{}", Trouble::CredentialsRejected),
        (403, "{}", Trouble::Forbidden),
        (404, r#"{"error":{"message":"Could not find project"}}"#, Trouble::CredentialsRejected),
        (404, "<html>", Trouble::EndpointMisconfigured),
        (429, r#"{"error_msg":"over ratelimit,limit:5,time:1 minute"}"#, throttled),
        (500, "{}", Trouble::CloudUnreachable),
        (201, "{}", Trouble::EndpointMisconfigured),
        (302, "", Trouble::EndpointMisconfigured),
    ];
    for (status, body, trouble) in table {
        let (iam, _) = iam(move |_| reply(status, body));
        assert_eq!(token(&iam, "7").await, Err(trouble), "{status} {body}");
    }
}

#[test]
fn a_token_lives_as_long_as_its_issuer_says() {
    let table = [
        (
            r#"{"token":{"issued_at":"2026-01-01T00:00:00.000000Z","expires_at":"2026-01-02T00:00:00.000000Z"}}"#,
            86_400,
        ),
        (r#"{"token":{"issued_at":"2026-01-02T00:00:00Z","expires_at":"2026-01-01T00:00:00Z"}}"#, 3_600),
        (r#"{"token":{"expires_at":"soon"}}"#, 3_600),
        ("", 3_600),
    ];
    for (body, seconds) in table {
        assert_eq!(life(body.as_bytes()), Duration::from_secs(seconds), "{body}");
    }
}
