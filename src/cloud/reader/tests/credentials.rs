//! Reads with credentials that are missing, end, or are rotated.

use super::*;

/// A Secret that can't be used.
struct Broken;
impl CredentialSource for Broken {
    fn identity(&self) -> Identity {
        Identity::of_secret("namespace", "name")
    }

    fn refused(&self, _: &Credential) -> bool {
        false
    }

    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        let message = CloudMessage { text: "gone".to_owned(), ..CloudMessage::default() };
        let version = Some("7".to_owned());
        futures::future::ready(Err(CredentialProblem { trouble: Trouble::SecretInvalid, message, version }))
            .boxed()
    }
}

/// Another token at each call.
#[derive(Default)]
pub struct Rotating(std::sync::atomic::AtomicUsize);
impl CredentialSource for Rotating {
    fn identity(&self) -> Identity {
        Identity::of_secret("namespace", "name")
    }

    fn refused(&self, _: &Credential) -> bool {
        false
    }

    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        futures::future::ready(Ok(credential(&format!("token-{n}"), &n.to_string()))).boxed()
    }
}

#[tokio::test]
async fn i07_without_credentials_nothing_is_sent_and_the_version_is_told() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let failure = reader_with(&server.url, Broken).look(ids(0..2)).await.unwrap().failure.unwrap();
    assert_eq!((failure.trouble, failure.secret_version.as_deref()), (Trouble::SecretInvalid, Some("7")));
    assert_eq!(failure.message.text, "gone");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn i08_a_rotation_takes_effect_at_the_next_call() {
    let server =
        serve(Script::Reply(Box::new(
            |request| {
                if request.contains("/status") { not_found() } else { list(request) }
            },
        )))
        .await;
    let answer = reader_with(&server.url, Rotating::default()).look(ids(899..901)).await.unwrap();
    assert_eq!(answer.failure, None);
    let requests = server.requests();
    let used = |n: usize| requests[n].to_ascii_lowercase().contains(&format!("x-auth-token: token-{n}\r\n"));
    assert!(requests.len() == 2 && used(0) && used(1), "{requests:?}");
}

/// A token that is replaced when it is refused, as often as `left` says.
struct Renewing {
    left: std::sync::atomic::AtomicUsize,
}

impl CredentialSource for Renewing {
    fn identity(&self) -> Identity {
        Identity::of_secret("namespace", "name")
    }

    fn refused(&self, _: &Credential) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        let left = self.left.load(std::sync::atomic::Ordering::SeqCst);
        futures::future::ready(Ok(credential(&format!("token-{left}"), &left.to_string()))).boxed()
    }
}

#[tokio::test]
async fn c03_a_token_that_ended_is_renewed_and_the_read_made_once_more() {
    for (left, good, reads) in [(1, "token-0", 2), (9, "token-8", 2), (9, "none", 2), (0, "none", 1)] {
        let server = serve(Script::Reply(Box::new(move |request| {
            if request.contains(good) {
                list(request)
            } else {
                (401, r#"{"error_code":"APIGW.0307","error_msg":"The token must be updated"}"#.to_owned())
            }
        })))
        .await;
        let source = Renewing { left: left.into() };
        let answer = reader_with(&server.url, source).look(ids(0..1)).await.unwrap();
        let trouble = answer.failure.map(|failure| failure.trouble);
        let expected = (good == "none").then_some(Trouble::CredentialsRejected);
        assert_eq!((trouble, server.requests().len()), (expected, reads), "{left} {good}");
    }
}

/// A Secret that was rotated to the key of another identity.
struct Moved;

impl CredentialSource for Moved {
    fn identity(&self) -> Identity {
        Identity::of_secret("namespace", "before")
    }

    fn refused(&self, _: &Credential) -> bool {
        false
    }

    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        let identity = Identity::of_secret("namespace", "after");
        futures::future::ready(Ok(Credential { identity, ..credential("token", "2") })).boxed()
    }
}

#[tokio::test]
async fn i08_a_rotation_to_another_identity_uses_that_one_s_budget() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let rates: [_; 2] = std::array::from_fn(|_| Arc::new(ReadRate::new(Rate::new(0.001, Mono::START))));
    let [before, after] = rates.clone();
    let rate_of: RateOf = Arc::new(move |identity| {
        if *identity == Identity::of_secret("namespace", "after") { after.clone() } else { before.clone() }
    });
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let (client, source) = (Arc::new(client(30)), Arc::new(Moved));
    let reader = Reader::spawn(client, endpoint, "p".repeat(32), source, rate_of, Clock::start());
    assert_eq!(reader.look(ids(0..1)).await.unwrap().failure, None);
    let left = rates.map(|rate| rate.rate().take(1, Mono::START));
    assert_eq!(left, [1, 0]);
}
