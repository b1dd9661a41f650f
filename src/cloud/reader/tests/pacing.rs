//! Turns and pages of reads, over a wire without a network and in virtual time.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{credentials::Rotating, *};
use crate::cloud::tests::{Wire, reply};

fn row(n: u128, state: &str) -> String {
    format!(r#"{{"id":"{}","state":"{state}"}}"#, InstanceId::from_u128(n))
}

/// A page of these rows, and where the next one is.
fn page(rows: &[String], next: &str) -> (u16, String) {
    (200, format!(r#"{{"instances":[{}],"page_info":{{"next_marker":"{next}"}}}}"#, rows.join(",")))
}

/// The number in the marker of a request; 0 for a first page.
fn marker(request: &str) -> u128 {
    let (_, rest) = request.split_once("marker=m").unwrap_or(("", "0 "));
    rest.split([' ', '&']).next().unwrap().parse().unwrap()
}

/// A reader over a wire without a network, in virtual time.
fn reader_of(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static, rates: RateOf) -> Reader {
    let clock = Clock::start();
    let wire = Wire(move |request: &reqwest::Request| {
        let (status, body) = answer(&format!("{} ", request.url()));
        reply(status, &body)
    });
    let client = Arc::new(Client::over(wire, Duration::from_secs(30), clock.clone()));
    let endpoint = Endpoint::parse("https://cloud.example", false).unwrap();
    Reader::spawn(client, endpoint, "p".repeat(32), Arc::new(Fixed), rates, clock)
}

#[tokio::test(start_paused = true)]
async fn s12_each_page_of_a_list_waits_for_its_turn() {
    let started = Instant::now();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let record = calls.clone();
    let answer = move |request: &str| {
        record.lock().unwrap().push(started.elapsed());
        let n = marker(request);
        page(&[row(n, "running")], &format!("m{}", n + 1))
    };
    let reader = reader_of(answer, rate_of(2.0));
    let answer = reader.look(ids(0..6)).await.unwrap();
    assert_eq!((answer.failure, answer.readings.len()), (None, 6));
    let calls = calls.lock().unwrap().clone();
    assert_eq!(calls.len(), 6, "six pages");
    let gaps: Vec<_> = calls.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(500)), "two a second: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn t06_pages_without_end_are_followed_so_far_and_no_further() {
    let answer = |request: &str| {
        if request.contains("/status") {
            return (200, r#"{"state":"stopped"}"#.to_owned());
        }
        page(&[row(900, "running")], &format!("m{}", marker(request) + 1))
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let counted = move |request: &str| {
        count.fetch_add(1, SeqCst);
        answer(request)
    };
    let answer = reader_of(counted, rate_of(1000.0)).look(ids(0..2)).await.unwrap();
    assert_eq!((answer.failure, answer.readings.len()), (None, 2), "read one by one");
    assert_eq!(calls.load(SeqCst), 16 + 2);
}

#[tokio::test(start_paused = true)]
async fn t06_of_an_instance_on_two_pages_the_later_row_counts() {
    let answer = |request: &str| match marker(request) {
        0 => page(&[row(0, "running")], "m1"),
        1 => page(&[row(0, "shutting-down"), row(1, "running")], ""),
        _ => unreachable!(),
    };
    let answer = reader_of(answer, rate_of(1.0)).look(ids(0..2)).await.unwrap();
    assert_eq!((answer.failure, answer.readings.len()), (None, 2));
    let of = |n| answer.readings.iter().find(|r| r.id == InstanceId::from_u128(n)).unwrap();
    assert_eq!((&of(0).seen, &of(1).seen), (&Seen::ShuttingDown, &Seen::Live(Live::Running)));
    assert_eq!(of(0).read, of(1).read, "by the page that told it");
}

#[tokio::test(start_paused = true)]
async fn what_the_pages_before_a_failure_told_was_read() {
    type Told = (u16, &'static str);
    let table: [(Told, Option<Trouble>, usize); 4] = [
        ((429, "slow down"), Some(Trouble::Throttled { retry_after: None }), 1),
        ((502, ""), Some(Trouble::CloudUnreachable), 1),
        // Another page may be refused where one is not: the rest is read one by one.
        ((403, ""), None, 3),
        ((400, r#"{"error_code":"iMetal.0001","error_msg":"marker invalid"}"#), None, 3),
    ];
    for ((status, body), trouble, read) in table {
        let answer = move |request: &str| match (request.contains("/status"), marker(request)) {
            (true, _) => (200, r#"{"state":"stopped"}"#.to_owned()),
            (false, 0) => page(&[row(0, "running")], "m1"),
            (false, _) => (status, body.to_owned()),
        };
        let answer = reader_of(answer, rate_of(1000.0)).look(ids(0..3)).await.unwrap();
        let failed = answer.failure.map(|failure| failure.trouble);
        assert_eq!((failed, answer.readings.len()), (trouble, read), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn c07_nothing_is_read_before_a_gate_and_callers_are_told_of_it() {
    let minute = Duration::from_mins(1);
    let calls = Arc::new(Mutex::new(0));
    let count = calls.clone();
    let answer = move |request: &str| {
        let mut calls = count.lock().unwrap();
        *calls += 1;
        if *calls == 1 { (429, "ratelimit,limit:120,time:1 minute".to_owned()) } else { list(request) }
    };
    let rate = Arc::new(ReadRate::new(Rate::new(10.0, Mono::START)));
    let shared = rate.clone();
    let reader = reader_of(answer, Arc::new(move |_| shared.clone()));
    let first = reader.look(ids(0..100)).await.unwrap().failure.unwrap();
    assert_eq!(first.trouble, Trouble::Throttled { retry_after: Some(minute) });
    let second = reader.look(ids(0..100)).await.unwrap().failure.unwrap();
    let Trouble::Throttled { retry_after: Some(left) } = second.trouble else { panic!("{second:?}") };
    assert!(left <= minute && *calls.lock().unwrap() == 1, "told, and nothing sent");
    assert!(!second.message.text.contains("limit:120"), "of another's answer nothing is passed on");
    tokio::time::sleep(left).await;
    assert_eq!(reader.look(ids(0..100)).await.unwrap().failure, None);
    // The limit of 120 a minute is kept from now on.
    let started = Instant::now();
    for n in 1..=4 {
        assert_eq!(reader.look(ids(0..100)).await.unwrap().failure, None, "{n}");
    }
    assert!(started.elapsed() >= minute * 4 / 120);
}

#[tokio::test(start_paused = true)]
async fn readers_of_one_identity_take_turns_and_share_no_answer() {
    let rate = Arc::new(ReadRate::new(Rate::new(2.0, Mono::START)));
    let order = Arc::new(Mutex::new(String::new()));
    let reader = |name: char| {
        let (rate, order) = (rate.clone(), order.clone());
        let answer = move |request: &str| {
            order.lock().unwrap().push(name);
            list(request)
        };
        reader_of(answer, Arc::new(move |_| rate.clone()))
    };
    let (a, b) = (reader('a'), reader('b'));
    let looks: Vec<_> = (0..6)
        .map(|n| n * 100..(n + 1) * 100)
        .flat_map(|n| [a.look(ids(n.clone())), b.look(ids(n))])
        .collect();
    for look in looks {
        assert_eq!(look.await.unwrap().readings.len(), 100);
    }
    let order = order.lock().unwrap().clone();
    let mut ahead = 0_i32;
    for name in order.chars() {
        ahead += if name == 'a' { 1 } else { -1 };
        assert!(ahead.abs() <= 2, "{order}");
    }
    assert_eq!(order.len(), 12, "each asks for itself, though the other has just read the same: {order}");
}

#[tokio::test(start_paused = true)]
async fn gatherings_read_one_by_one_are_answered_one_after_the_other() {
    let answer = |request: &str| {
        let single = request.contains("/status");
        if single { (200, r#"{"state":"stopped"}"#.to_owned()) } else { (403, String::new()) }
    };
    let reader = reader_of(answer, rate_of(5.0));
    let started = Instant::now();
    let looks: Vec<_> = (0..4).map(|n| reader.look(ids(n * 100..(n + 1) * 100))).collect();
    let mut answered = Vec::new();
    for look in looks {
        assert_eq!(look.await.unwrap().readings.len(), 100);
        answered.push(started.elapsed().as_secs() / 20);
    }
    // Lists that are refused and a hundred reads each, five a second.
    assert_eq!(answered, [1, 2, 3, 4], "the first is not read in turns with the others");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_refused_is_asked_for_again_after_five_minutes() {
    let lists = Arc::new(AtomicUsize::new(0));
    let count = lists.clone();
    let answer = move |request: &str| {
        if request.contains("/status") {
            return (200, r#"{"state":"stopped"}"#.to_owned());
        }
        count.fetch_add(1, SeqCst);
        (403, String::new())
    };
    let reader = reader_of(answer, rate_of(1000.0));
    for (waited, expected) in [(0, 1), (0, 1), (290, 1), (10, 2), (0, 2)] {
        tokio::time::sleep(Duration::from_secs(waited)).await;
        assert_eq!(reader.look(ids(0..3)).await.unwrap().readings.len(), 3);
        assert_eq!(lists.load(SeqCst), expected, "after {waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn other_credentials_may_list_what_the_last_ones_may_not() {
    let lists = Arc::new(AtomicUsize::new(0));
    let count = lists.clone();
    let wire = Wire(move |request: &reqwest::Request| {
        let single = request.url().path().ends_with("/status");
        count.fetch_add(usize::from(!single), SeqCst);
        if single { reply(200, r#"{"state":"stopped"}"#) } else { reply(403, "") }
    });
    let clock = Clock::start();
    let client = Arc::new(Client::over(wire, Duration::from_secs(30), clock.clone()));
    let endpoint = Endpoint::parse("https://cloud.example", false).unwrap();
    let source = Arc::new(Rotating::default());
    let rates = rate_of(1000.0);
    let reader = Reader::spawn(client, endpoint, "p".repeat(32), source, rates, clock);
    for expected in 1..4 {
        assert_eq!(reader.look(ids(0..3)).await.unwrap().readings.len(), 3);
        assert_eq!(lists.load(SeqCst), expected, "each look has credentials of its own");
    }
}

/// Takes so long to be read.
struct Slow(Mutex<Vec<Duration>>);

impl CredentialSource for Slow {
    fn read(&self) -> futures::future::BoxFuture<'_, Result<Credential, CredentialProblem>> {
        let takes = self.0.lock().unwrap().pop().unwrap_or_default();
        async move {
            tokio::time::sleep(takes).await;
            Fixed.read().await
        }
        .boxed()
    }

    fn identity(&self) -> Identity {
        Fixed.identity()
    }

    fn refused(&self, credential: &Credential) -> bool {
        Fixed.refused(credential)
    }
}

#[tokio::test(start_paused = true)]
async fn s12_reads_leave_in_time_however_long_their_secret_takes() {
    let started = Instant::now();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let record = calls.clone();
    let wire = Wire(move |request: &reqwest::Request| {
        record.lock().unwrap().push(started.elapsed());
        reply(200, &list(&format!("{} ", request.url())).1)
    });
    let clock = Clock::start();
    let client = Arc::new(Client::over(wire, Duration::from_secs(30), clock.clone()));
    let endpoint = Endpoint::parse("https://cloud.example", false).unwrap();
    // The first takes 400 ms and would otherwise leave just before the second, which takes none.
    let takes = [0, 450, 0, 400].map(Duration::from_millis).to_vec();
    let source = Arc::new(Slow(Mutex::new(takes)));
    let rates = rate_of(2.0);
    let reader = Reader::spawn(client, endpoint, "p".repeat(32), source, rates, clock);
    let looks: Vec<_> = (0..4).map(|n| reader.look(ids(n * 100..(n + 1) * 100))).collect();
    for look in looks {
        assert_eq!(look.await.unwrap().readings.len(), 100);
    }
    let calls = calls.lock().unwrap().clone();
    let gaps: Vec<_> = calls.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    assert!(calls.len() == 4 && gaps.iter().all(|gap| *gap >= Duration::from_millis(500)), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn c07_a_read_that_is_refused_now_and_then_is_told_to_nobody_and_one_that_stays_refused_is() {
    // How often a read is refused before it is answered, what the refusal says, and what waiting callers are told.
    let table: [(usize, &str, Option<Option<u64>>); 6] = [
        (1, "", None),
        (3, "", None),
        (4, "", Some(None)),
        (1, "ratelimit,limit:5,time:10 second", None),
        (1, "ratelimit,limit:5,time:11 second", Some(Some(11))),
        (usize::MAX, "", Some(None)),
    ];
    for (refusals, says, told) in table {
        for single in [false, true] {
            let refused = Arc::new(AtomicUsize::new(0));
            let answer = move |request: &str| match (request.contains("/status"), single) {
                (false, true) => (403, String::new()),
                _ if refused.fetch_add(1, SeqCst) < refusals => (429, says.to_owned()),
                (true, _) => (200, r#"{"state":"stopped"}"#.to_owned()),
                (false, _) => list(request),
            };
            let answer = reader_of(answer, rate_of(10.0)).look(ids(0..1)).await.unwrap();
            let trouble = answer.failure.map(|failure| failure.trouble);
            let expected = told.map(|wait| Trouble::Throttled { retry_after: wait.map(Duration::from_secs) });
            assert_eq!(trouble, expected, "{refusals} {says} {single}");
            assert_eq!(answer.readings.len(), usize::from(told.is_none()));
        }
    }
}
