//! Looks against a server on a raw socket.

mod credentials;
pub mod handlers;
mod pacing;

use std::pin::pin;

use futures::FutureExt;
use tokio::sync::oneshot;

use self::handlers::{Answer, collect};
use super::*;
use crate::{
    cloud::{
        Credential, CredentialProblem, Identity,
        tests::{
            client, credential,
            server::{Script, serve},
        },
    },
    engine::{
        Mono,
        account::rate::Rate,
        outcome::{CloudMessage, LookFailure},
        state::{Live, Seen},
    },
};

struct Fixed;
impl CredentialSource for Fixed {
    fn identity(&self) -> Identity {
        Identity::of_secret("namespace", "name")
    }

    fn refused(&self, _: &Credential) -> bool {
        false
    }

    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        futures::future::ready(Ok(credential("token", "1"))).boxed()
    }
}

fn reader(url: &str) -> Reader {
    reader_with(url, Fixed)
}

struct Panicking;
impl CredentialSource for Panicking {
    fn identity(&self) -> Identity {
        Identity::of_secret("namespace", "name")
    }

    fn refused(&self, _: &Credential) -> bool {
        false
    }

    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        panic!("a bug")
    }
}

/// One pace for everybody.
fn rate_of(rate: f64) -> RateOf {
    let rate = Arc::new(ReadRate::new(Rate::new(rate, Mono::START)));
    Arc::new(move |_| rate.clone())
}

fn reader_with(url: &str, source: impl CredentialSource) -> Reader {
    let endpoint = Endpoint::parse(url, true).unwrap();
    let (client, source) = (Arc::new(client(30)), Arc::new(source));
    Reader::spawn(client, endpoint, "p".repeat(32), source, rate_of(1000.0), Clock::start())
}

impl Reader {
    /// Looks at these ids, as a decision does.
    fn look(&self, ids: Vec<InstanceId>) -> oneshot::Receiver<Answer> {
        let (handler, answer) = collect();
        self.register(ids, handler);
        answer
    }

    /// Looks at these ids, as the schedule does.
    async fn look_in_turn(&self, ids: Vec<InstanceId>) -> oneshot::Receiver<Answer> {
        let (handler, answer) = collect();
        self.register_in_turn(ids, handler).await;
        answer
    }
}

fn ids(range: std::ops::Range<u128>) -> Vec<InstanceId> {
    range.map(InstanceId::from_u128).collect()
}

/// Lists what is asked as running, but ids above 900.
fn list(request: &str) -> (u16, String) {
    list_below(900, request)
}

fn list_below(end: u128, request: &str) -> (u16, String) {
    let query = request.split_once("instance_id=").unwrap().1;
    let asked = query.split(['&', ' ']).next().unwrap();
    let rows: Vec<_> = asked
        .split("%2C")
        .filter(|id| InstanceId::parse(id).unwrap() < InstanceId::from_u128(end))
        .map(|id| format!(r#"{{"id":"{id}","state":"running"}}"#))
        .collect();
    (200, format!(r#"{{"instances":[{}],"page_info":{{"next_marker":null}},"count":1}}"#, rows.join(",")))
}

fn not_found() -> (u16, String) {
    (404, r#"{"error_code":"iMetal.0200","error_msg":"Instances not found: [x]"}"#.to_owned())
}

#[tokio::test]
async fn looks_of_many_objects_share_calls() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let reader = reader(&server.url);
    let looks: Vec<_> = (0..150).map(|n| reader.look(ids(n..n + 1))).collect();
    let both = reader.look(ids(100..120));
    for (n, look) in looks.into_iter().enumerate() {
        let answer = look.await.unwrap();
        assert_eq!(answer.failure, None);
        assert_eq!(answer.readings.len(), 1, "{n}");
        assert_eq!(answer.readings[0].seen, Seen::Live(Live::Running));
    }
    assert_eq!(both.await.unwrap().readings.len(), 20);
    assert_eq!(server.requests().len(), 2, "a full call and the rest");
}

#[tokio::test]
async fn looks_in_turn_wait_for_room_and_no_other_look_waits_with_them() {
    let server = serve(Script::Reply(Box::new(|request| list_below(u128::MAX, request)))).await;
    let reader = reader(&server.url);
    let each = 100;
    let in_turn = |n: u128| reader.look_in_turn(ids(n * each..(n + 1) * each));
    // The reader itself has not run yet.
    let full = u128::from(ROOM) / each;
    let early: Vec<_> = (0..full).map(|n| in_turn(n).now_or_never().unwrap()).collect();
    let mut late = pin!(in_turn(full));
    assert!(futures::poll!(&mut late).is_pending());
    let own = reader.look(vec![InstanceId::from_u128(7 << 64)]);
    for look in early {
        assert_eq!(look.await.unwrap().readings.len(), 100);
    }
    assert_eq!(own.await.unwrap().readings.len(), 1, "the late one is not registered yet");
    assert_eq!(late.await.await.unwrap().readings.len(), 100);
}

#[tokio::test]
async fn two_looks_of_any_size_find_room() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let reader = reader(&server.url);
    let large = |n: u128| reader.look_in_turn(ids(n * 5_000..(n + 1) * 5_000));
    let two = [large(0).now_or_never().unwrap(), large(1).now_or_never().unwrap()];
    assert!(large(2).now_or_never().is_none());
    drop(two);
}

#[tokio::test]
async fn t05_what_a_list_leaves_out_is_read_one_by_one() {
    let server =
        serve(Script::Reply(Box::new(
            |request| {
                if request.contains("/status") { not_found() } else { list(request) }
            },
        )))
        .await;
    let answer = reader(&server.url).look(ids(898..902)).await.unwrap();
    assert_eq!(answer.failure, None);
    let seen = |n: u128| &answer.readings.iter().find(|r| r.id == InstanceId::from_u128(n)).unwrap().seen;
    assert_eq!((seen(898), seen(901)), (&Seen::Live(Live::Running), &Seen::NotFound));
    assert_eq!(server.requests().len(), 1 + 2);
}

/// Counts the readings that it has each time it is told that others take longer.
struct Delayed {
    readings: usize,
    told: tokio::sync::mpsc::UnboundedSender<usize>,
}

impl LookHandler for Delayed {
    fn reading(&mut self, _: &Reading) {
        self.readings += 1;
    }

    fn delayed(&mut self) {
        let _ = self.told.send(self.readings);
    }

    fn ended(self: Box<Self>, _: Option<LookFailure>) {}
}

#[tokio::test]
async fn x13_a_look_is_told_what_was_read_while_a_list_of_it_is_split() {
    let bad = InstanceId::from_u128(7).to_string();
    let answer =
        move |request: &str| if request.contains(&bad) { (500, String::new()) } else { list(request) };
    let server = serve(Script::Reply(Box::new(answer))).await;
    let (told, mut counts) = tokio::sync::mpsc::unbounded_channel();
    let reader = reader(&server.url);
    reader.register(ids(0..100), Box::new(Delayed { readings: 0, told }));
    let mut all = Vec::new();
    while let Some(readings) = counts.recv().await {
        all.push(readings);
    }
    assert!(all.iter().any(|readings| (50..99).contains(readings)), "long before its end: {all:?}");
    assert_eq!(reader.look(ids(100..200)).await.unwrap().readings.len(), 100);
    assert!(all.len() < 20, "{all:?}");
}

/// Notes which ids it was told of.
struct Noting(Arc<Mutex<Vec<InstanceId>>>, Option<oneshot::Sender<Option<LookFailure>>>);

impl LookHandler for Noting {
    fn reading(&mut self, reading: &Reading) {
        lock(&self.0).push(reading.id);
    }

    fn ended(mut self: Box<Self>, failure: Option<LookFailure>) {
        let _ = self.1.take().unwrap().send(failure);
    }
}

#[tokio::test]
async fn a_reading_is_told_at_once_though_the_rest_of_its_look_hangs() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let told_before = Arc::new(Mutex::new(None));
    let (now, before) = (told.clone(), told_before.clone());
    let list_then_hang = move |request: &str| {
        if request.contains("instance_id=") {
            return list(request);
        }
        lock(&before).get_or_insert_with(|| lock(&now).clone());
        (0, String::new())
    };
    let server = serve(Script::Reply(Box::new(list_then_hang))).await;
    let (ended, end) = oneshot::channel();
    // 899 is listed; the others are asked one by one, and each connection is closed.
    reader(&server.url).register(ids(899..905), Box::new(Noting(told.clone(), Some(ended))));
    assert!(end.await.unwrap().is_some());
    assert_eq!(*lock(&told), [InstanceId::from_u128(899)]);
    assert_eq!(*lock(&told_before), Some(vec![InstanceId::from_u128(899)]), "before the next call");
}

#[tokio::test]
async fn where_listing_is_forbidden_each_is_read_by_itself() {
    let server = serve(Script::Reply(Box::new(|request| {
        if request.contains("/status") {
            (200, r#"{"state":"stopped"}"#.to_owned())
        } else {
            (403, r#"{"error_code":"iMetal.0004","error_msg":"Insufficient permissions"}"#.to_owned())
        }
    })))
    .await;
    let answer = reader(&server.url).look(ids(0..3)).await.unwrap();
    assert_eq!((answer.failure, answer.readings.len()), (None, 3));
}

#[tokio::test]
async fn a_list_over_its_cap_is_asked_again_with_half_the_ids() {
    let server = serve(Script::Reply(Box::new(|request| {
        let (status, mut body) = list(request);
        if request.matches("%2C").count() > 1 {
            body = format!(r#"{{"instances":[{{"id":"{}"}}]}}"#, "x".repeat(5 << 20));
        }
        (status, body)
    })))
    .await;
    let answer = reader(&server.url).look(ids(0..4)).await.unwrap();
    assert_eq!((answer.failure, answer.readings.len()), (None, 4));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_failed_read_marks_no_id_and_says_why() {
    let server = serve(Script::Reply(Box::new(|_| {
        (401, r#"{"error_code":"iMetal.0003","error_msg":"Unauthorized"}"#.into())
    })))
    .await;
    let answer = reader(&server.url).look(ids(0..2)).await.unwrap();
    assert!(answer.readings.is_empty());
    let failure = answer.failure.unwrap();
    assert_eq!(failure.trouble, Trouble::CredentialsRejected);
    assert_eq!(failure.secret_version.as_deref(), Some("1"));
}

#[tokio::test]
async fn t06_pages_are_followed_to_their_end_and_not_in_circles() {
    let server = serve(Script::Reply(Box::new(|request| {
        let row = |n: u128| format!(r#"{{"id":"{}","state":"running"}}"#, InstanceId::from_u128(n));
        let page = |n, marker: &str| {
            (200, format!(r#"{{"instances":[{}],"page_info":{{"next_marker":"{marker}"}}}}"#, row(n)))
        };
        if request.contains("/status") {
            (200, r#"{"state":"stopped"}"#.to_owned())
        } else if request.contains("marker=b%2Fc") || request.contains("marker=again") {
            page(1, "again")
        } else {
            page(0, "b/c")
        }
    })))
    .await;
    let answer = reader(&server.url).look(ids(0..3)).await.unwrap();
    assert_eq!((answer.failure, answer.readings.len()), (None, 3));
    assert_eq!(server.requests().len(), 3 + 1, "three pages, and the id that none of them has");
}

#[tokio::test]
async fn x27_a_reader_that_panics_fails_its_looks_and_serves_those_that_come_after() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let (good, first) = (rate_of(1000.0), std::sync::atomic::AtomicBool::new(true));
    let rate_of: RateOf = Arc::new(move |identity| {
        assert!(!first.swap(false, std::sync::atomic::Ordering::SeqCst), "a bug in the reader's own task");
        good(identity)
    });
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let (client, project) = (Arc::new(client(30)), "p".repeat(32));
    let reader = Reader::spawn(client, endpoint, project, Arc::new(Fixed), rate_of, Clock::start());
    let answer = reader.look(ids(0..3)).await.unwrap();
    assert_eq!(answer.failure.unwrap().message.text, "the read was cut off");
    let answer = reader.look(ids(0..3)).await.unwrap();
    assert_eq!((answer.failure, answer.readings.len()), (None, 3));
    assert!(!reader.silent());
}

#[tokio::test]
async fn one_instance_that_can_not_be_read_keeps_no_other_from_it() {
    let server = serve(Script::Reply(Box::new(|request| {
        let bad = InstanceId::from_u128(900).to_string();
        match (request.contains("/status"), request.contains(&bad)) {
            (true, true) => (500, r#"{"error_code":"iMetal.0099","error_msg":"x"}"#.to_owned()),
            (true, false) => not_found(),
            (false, _) => list(request),
        }
    })))
    .await;
    let answer = reader(&server.url).look(ids(899..910)).await.unwrap();
    assert_eq!(answer.failure.unwrap().trouble, Trouble::CloudUnreachable);
    assert_eq!(answer.readings.len(), 10, "all but one of eleven");
    assert!(answer.readings.iter().all(|r| r.id != InstanceId::from_u128(900)), "nothing is invented");
}

#[tokio::test]
async fn a_list_that_one_unknown_id_spoils_is_read_one_by_one() {
    let server = serve(Script::Reply(Box::new(|request| {
        let state = || (200, r#"{"state":"running"}"#.to_owned());
        let unknown = request.contains(&InstanceId::from_u128(2).to_string());
        if !request.contains("/status") || unknown { not_found() } else { state() }
    })))
    .await;
    let answer = reader(&server.url).look(ids(0..3)).await.unwrap();
    let seen = |n: u128| &answer.readings.iter().find(|r| r.id == InstanceId::from_u128(n)).unwrap().seen;
    assert_eq!(
        (answer.failure.as_ref(), seen(0), seen(2)),
        (None, &Seen::Live(Live::Running), &Seen::NotFound)
    );
}

#[tokio::test]
async fn an_outage_is_not_asked_about_each_instance() {
    let server = serve(Script::Reply(Box::new(|request| {
        if request.contains("/status") { (502, String::new()) } else { (403, String::new()) }
    })))
    .await;
    let answer = reader(&server.url).look(ids(0..100)).await.unwrap();
    assert_eq!(answer.failure.unwrap().trouble, Trouble::CloudUnreachable);
    assert!(server.requests().len() < 30, "{}", server.requests().len());
}

#[tokio::test]
async fn x12_a_cloud_that_answers_nothing_is_probed_by_one_read_at_a_time() {
    let at_once = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let source = Counting { at_once: at_once.clone(), most: Arc::default(), gate: gate.clone() };
    let most = source.most.clone();
    let server = serve(Script::Reply(Box::new(|_| (503, String::new())))).await;
    let reader = reader_with(&server.url, source);
    gate.add_permits(1);
    assert!(reader.look(ids(1..2)).await.unwrap().failure.is_some());
    assert!(reader.silent());
    most.store(0, std::sync::atomic::Ordering::SeqCst);
    // Full calls, so that each is sent at once and none is gathered with another.
    let looks: Vec<_> = (0..6).map(|n| reader.look(ids(n * 100..(n + 1) * 100))).collect();
    while at_once.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(100);
    for look in looks {
        assert_eq!(look.await.unwrap().failure.unwrap().trouble, Trouble::CloudUnreachable);
    }
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(server.requests().len() < 7, "looks that wait while a probe fails are answered by it");
}

/// Counts the calls that are being made at once, and lets none go on without a permit.
struct Counting {
    at_once: Arc<std::sync::atomic::AtomicUsize>,
    most: Arc<std::sync::atomic::AtomicUsize>,
    gate: Arc<tokio::sync::Semaphore>,
}

impl CredentialSource for Counting {
    fn identity(&self) -> Identity {
        Identity::of_secret("namespace", "name")
    }

    fn refused(&self, _: &Credential) -> bool {
        false
    }

    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        use std::sync::atomic::Ordering::SeqCst;
        async {
            self.most.fetch_max(self.at_once.fetch_add(1, SeqCst) + 1, SeqCst);
            self.gate.acquire().await.unwrap().forget();
            self.at_once.fetch_sub(1, SeqCst);
            Fixed.read().await
        }
        .boxed()
    }
}

#[tokio::test]
async fn reading_that_is_forbidden_altogether_is_said() {
    let server = serve(Script::Reply(Box::new(|_| {
        (403, r#"{"error_code":"iMetal.0004","error_msg":"Insufficient permissions"}"#.to_owned())
    })))
    .await;
    let answer = reader(&server.url).look(ids(0..2)).await.unwrap();
    assert_eq!((answer.failure.unwrap().trouble, answer.readings.len()), (Trouble::Forbidden, 0));
}

#[tokio::test]
async fn c07_a_throttled_list_is_told_with_its_wait() {
    let server = serve(Script::Reply(Box::new(|_| (429, "limit:1,time:1 minute".to_owned())))).await;
    let answer = reader(&server.url).look(ids(0..2)).await.unwrap();
    let trouble = answer.failure.unwrap().trouble;
    let Trouble::Throttled { retry_after: Some(wait) } = trouble else { panic!("{trouble:?}") };
    assert!((30.0..=60.0).contains(&wait.as_secs_f64()), "{wait:?}: a minute after the call left");
    assert_eq!(server.requests().len(), 1, "nothing is asked one by one");
}

#[tokio::test]
async fn a_panic_answers_the_look_and_ends_no_other() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let reader = reader_with(&server.url, Panicking);
    for _ in 0..2 {
        let answer = reader.look(ids(0..100)).await.unwrap();
        assert_eq!(answer.failure.unwrap().trouble, Trouble::CloudUnreachable);
    }
}

#[tokio::test]
async fn a_look_is_answered_though_the_last_handle_is_gone() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let reader = reader(&server.url);
    let look = reader.look(ids(0..2));
    drop(reader);
    assert_eq!(look.await.unwrap().readings.len(), 2);
}

#[tokio::test]
async fn a_reading_was_sent_between_its_look_and_its_answer() {
    let server = serve(Script::Reply(Box::new(list))).await;
    let endpoint = Endpoint::parse(&server.url, true).unwrap();
    let clock = Clock::start();
    let (client, source) = (Arc::new(client(30)), Arc::new(Fixed));
    let reader = Reader::spawn(client, endpoint, "p".repeat(32), source, rate_of(1000.0), clock.clone());
    let asked = clock.mono();
    let answer = reader.look(ids(0..100)).await.unwrap();
    let answered = clock.mono();
    assert!(answer.readings.iter().all(|r| asked <= r.read.sent && r.read.answered <= answered));
}
