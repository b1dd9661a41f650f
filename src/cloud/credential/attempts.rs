//! How often credentials are tried that the cloud may refuse.
//!
//! The vendor locks an IAM user for 15 minutes after five wrong passwords, and an access key for five minutes after more than five
//! wrong signatures, for everybody who uses it. So one request finds out whether a password or a key is good, and all others
//! that would use it wait for what it finds, whatever their project, namespace or Secret.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{identity::Identity, secret::Secret, set::Login, sign::AccessKey};
use crate::{
    clock::Clock,
    cloud::endpoint::Endpoint,
    engine::{
        Mono,
        outcome::{CloudMessage, Trouble},
    },
    lock::lock,
};

/// Most refusals of one owner within its window. The vendor locks at five, and people use the same user.
const MOST: usize = 3;
/// A password that IAM accepted is taken for good for this long: requests for tokens of other projects leave side by side.
const FRESH: Duration = Duration::from_mins(1);
/// How long a failure other than a refusal is the answer to all who waited for the same attempt, so that they don't wait for
/// a silent server one after the other.
const FAILED_FOR: Duration = Duration::from_secs(5);
/// Records that are not used are removed when there are more than this.
const MANY: usize = 256;

/// A user or an access key: the vendor locks it after a few refusals.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A user of IAM, which is one for all regions.
    User(Identity),
    /// An access key at one endpoint.
    Key(Endpoint, Identity),
}

impl Owner {
    /// How long the vendor is taken to count a refusal; its lock lasts as long.
    fn window(&self) -> Duration {
        match self {
            Self::User(_) => Duration::from_mins(15),
            Self::Key(..) => Duration::from_mins(5),
        }
    }
}

/// A digest that tells one password or key from another. It does not hold the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// That of a user's password.
    pub fn of_login(login: &Login) -> Self {
        Self::of([&login.password])
    }

    /// That of a key with its parts.
    pub fn of_key(key: &AccessKey) -> Self {
        Self::of([&key.id, &key.secret].into_iter().chain(&key.security_token))
    }

    fn of<'a>(parts: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut digest = Context::new(&SHA256);
        for part in parts {
            digest.update(&part.expose().len().to_be_bytes());
            digest.update(part.expose().as_bytes());
        }
        let mut fingerprint = Self([0; SHA256_OUTPUT_LEN]);
        fingerprint.0.copy_from_slice(digest.finish().as_ref());
        fingerprint
    }
}

/// Why a request is not sent.
#[derive(Clone, Debug)]
pub struct NotTried {
    /// The trouble that keeps the request from being sent.
    pub trouble: Trouble,
    /// What the cloud said to the request that found out, or this process's own words.
    pub message: CloudMessage,
}

/// What is known of the credentials of one owner.
struct Record {
    refused: Vec<Refused>,
    accepted: Option<(Fingerprint, Mono)>,
    failed: Option<(Trouble, Mono)>,
    /// Held by the one attempt with a credential that may be refused.
    turn: Arc<Semaphore>,
    used: Mono,
}

struct Refused {
    credential: Fingerprint,
    at: Mono,
    message: CloudMessage,
}

enum Verdict {
    /// The credential is known to be good.
    Good,
    /// The credential may be refused.
    Open,
    NotTried(NotTried),
}

impl Record {
    fn new(now: Mono) -> Self {
        Self {
            refused: Vec::new(),
            accepted: None,
            failed: None,
            turn: Arc::new(Semaphore::new(1)),
            used: now,
        }
    }

    fn verdict(&mut self, owner: &Owner, credential: &Fingerprint, waited: bool, now: Mono) -> Verdict {
        self.used = now;
        self.refused.retain(|refused| now - refused.at < owner.window());
        let rejected =
            |message| Verdict::NotTried(NotTried { trouble: Trouble::CredentialsRejected, message });
        if let Some(refused) = self.refused.iter().find(|refused| refused.credential == *credential) {
            return rejected(refused.message.clone());
        }
        let accepted = self.accepted.filter(|(accepted, _)| accepted == credential).map(|(_, at)| at);
        // Every request with a key tries it: one that was good goes on, whatever others try under its id.
        if accepted.is_some() && matches!(owner, Owner::Key(..)) {
            return Verdict::Good;
        }
        if self.refused.len() >= MOST {
            return rejected(own_message(
                "not tried: the cloud refused three others of the same owner lately, and locks it after a few more",
            ));
        }
        if let Some((trouble, _)) = self.failed.filter(|(_, at)| waited && now - *at < FAILED_FOR) {
            let message = own_message("another request with the same owner failed a moment ago");
            return Verdict::NotTried(NotTried { trouble, message });
        }
        if accepted.is_some_and(|at| now - at < FRESH) { Verdict::Good } else { Verdict::Open }
    }

    fn is_needed(&self, window: Duration, now: Mono) -> bool {
        now - self.used < window || self.turn.available_permits() == 0
    }
}

fn own_message(text: &str) -> CloudMessage {
    CloudMessage { text: text.to_owned(), ..CloudMessage::default() }
}

/// All owners whose credentials this process has tried lately.
pub struct Attempts {
    clock: Clock,
    records: Mutex<HashMap<Owner, Record>>,
}

impl Attempts {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, records: Mutex::default() }
    }

    /// The number of users and keys.
    pub fn entries(&self) -> usize {
        lock(&self.records).len()
    }

    /// Waits until a credential may be tried. The caller reports how the attempt ended; one that is dropped says nothing.
    pub async fn admit(&self, owner: Owner, credential: Fingerprint) -> Result<Attempt<'_>, NotTried> {
        let turn = match self.verdict(&owner, &credential, false) {
            (Verdict::NotTried(why), _) => return Err(why),
            (Verdict::Good, _) => None,
            (Verdict::Open, turn) => {
                let waits = turn.available_permits() == 0;
                // The semaphore is never closed, so this always brings a permit.
                let permit = turn.acquire_owned().await.ok();
                match self.verdict(&owner, &credential, waits).0 {
                    Verdict::NotTried(why) => return Err(why),
                    Verdict::Good => None,
                    Verdict::Open => permit,
                }
            }
        };
        Ok(Attempt { attempts: self, owner, credential, _turn: turn })
    }

    fn verdict(&self, owner: &Owner, credential: &Fingerprint, waited: bool) -> (Verdict, Arc<Semaphore>) {
        let now = self.clock.mono();
        let records = &mut *lock(&self.records);
        if records.len() > MANY {
            records.retain(|owner, record| record.is_needed(owner.window(), now));
        }
        let record = records.entry(owner.clone()).or_insert_with(|| Record::new(now));
        (record.verdict(owner, credential, waited, now), record.turn.clone())
    }
}

/// One request with a credential that may be refused, from its permit to its end.
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    owner: Owner,
    credential: Fingerprint,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Attempt<'_> {
    /// The cloud accepted the credential.
    pub fn accepted(self) {
        self.enter(|record, credential, now| {
            record.accepted = Some((credential, now));
            record.failed = None;
        });
    }

    /// The cloud refused the credential, and said this. A key that it had accepted is tried once more before it counts as bad:
    /// the refusal may have been about that one request.
    pub fn refused(self, message: CloudMessage) {
        let is_key = matches!(self.owner, Owner::Key(..));
        self.enter(|record, credential, at| {
            let was_good = record.accepted.take_if(|(accepted, _)| *accepted == credential).is_some();
            if !(was_good && is_key) {
                record.refused.push(Refused { credential, at, message });
            }
        });
    }

    /// The request failed for another reason.
    pub fn failed(self, trouble: Trouble) {
        self.enter(|record, _, now| record.failed = Some((trouble, now)));
    }

    fn enter(&self, enter: impl FnOnce(&mut Record, Fingerprint, Mono)) {
        let now = self.attempts.clock.mono();
        let mut records = lock(&self.attempts.records);
        enter(records.entry(self.owner.clone()).or_insert_with(|| Record::new(now)), self.credential, now);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::parse(text.as_bytes()).unwrap()
    }

    fn password(text: &str) -> Fingerprint {
        Fingerprint::of([&secret(text)])
    }

    fn user() -> Owner {
        Owner::User(Identity::of_secret("any", "user"))
    }

    fn key() -> Owner {
        let endpoint = Endpoint::parse("https://one.example", false).unwrap();
        Owner::Key(endpoint, Identity::of_secret("any", "key"))
    }

    /// A cloud that takes a second to answer each attempt.
    struct Cloud {
        attempts: Attempts,
        good: Option<&'static str>,
        tried: Mutex<usize>,
    }

    impl Cloud {
        fn new(good: Option<&'static str>) -> Self {
            Self { attempts: Attempts::new(Clock::start()), good, tried: Mutex::new(0) }
        }

        async fn tries(&self, owner: Owner, text: &str) -> Result<bool, Trouble> {
            let attempt = self.attempts.admit(owner, password(text)).await.map_err(|why| why.trouble)?;
            *lock(&self.tried) += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            match self.good {
                None => attempt.failed(Trouble::CloudUnreachable),
                Some(good) if good == text => attempt.accepted(),
                Some(_) => attempt.refused(own_message("wrong")),
            }
            Ok(self.good == Some(text))
        }

        fn tried(&self) -> usize {
            std::mem::take(&mut *lock(&self.tried))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn c03_one_refusal_finds_out_for_all_who_would_try_the_same() {
        for owner in [user(), key()] {
            let cloud = Cloud::new(Some("right"));
            let all = join_all((0..6).map(|_| cloud.tries(owner.clone(), "stale"))).await;
            assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1, "{all:?}");
            assert!(all.iter().skip(1).all(|one| *one == Err(Trouble::CredentialsRejected)), "{all:?}");
            assert_eq!(cloud.tried(), 1);
            // A corrected one is tried at once.
            assert_eq!(cloud.tries(owner.clone(), "right").await, Ok(true));
            assert_eq!(cloud.tries(owner.clone(), "stale").await, Err(Trouble::CredentialsRejected));
            tokio::time::advance(owner.window()).await;
            assert_eq!(cloud.tries(owner, "stale").await, Ok(false), "it is tried again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn c03_three_attempts_in_a_window_whatever_is_tried() {
        for owner in [user(), key()] {
            let cloud = Cloud::new(Some("right"));
            let guesses = ["a", "b", "c", "d", "e", "f"];
            let _ = join_all(guesses.map(|text| cloud.tries(owner.clone(), text))).await;
            assert_eq!(cloud.tried(), 3);
            assert_eq!(cloud.tries(owner.clone(), "right").await, Err(Trouble::CredentialsRejected));
            let start = tokio::time::Instant::now();
            while start.elapsed() < Duration::from_hours(1) {
                let _ = join_all(guesses.map(|text| cloud.tries(owner.clone(), text))).await;
                tokio::time::advance(Duration::from_secs(15)).await;
            }
            let windows =
                usize::try_from(Duration::from_hours(1).as_secs() / owner.window().as_secs()).unwrap();
            assert!(cloud.tried() <= 3 * (windows + 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_good_goes_on_whatever_others_try_under_its_id() {
        let cloud = Cloud::new(Some("right"));
        assert_eq!(cloud.tries(key(), "right").await, Ok(true));
        for wrong in ["a", "b", "c"] {
            let _ = cloud.tries(key(), wrong).await;
        }
        let start = tokio::time::Instant::now();
        let all = join_all((0..9).map(|_| cloud.tries(key(), "right"))).await;
        assert!(
            all.iter().all(|one| *one == Ok(true)) && start.elapsed() < Duration::from_secs(2),
            "{all:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_good_is_tried_once_more_and_a_password_is_not() {
        for (owner, tried) in [(key(), 2), (user(), 1)] {
            let mut cloud = Cloud::new(Some("any"));
            assert_eq!(cloud.tries(owner.clone(), "any").await, Ok(true));
            cloud.tried();
            cloud.good = Some("another");
            for _ in 0..6 {
                let _ = cloud.tries(owner.clone(), "any").await;
            }
            assert_eq!(cloud.tried(), tried);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_waited_for_a_silent_cloud_are_told_and_do_not_wait_in_turn() {
        for owner in [user(), key()] {
            let cloud = Cloud::new(None);
            let start = tokio::time::Instant::now();
            let all = join_all((0..50).map(|_| cloud.tries(owner.clone(), "any"))).await;
            assert_eq!((cloud.tried(), all.iter().filter(|one| one.is_err()).count()), (1, 49));
            assert!(start.elapsed() < Duration::from_secs(2));
            assert_eq!(cloud.tries(owner, "any").await, Ok(false), "one that comes later tries itself");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_dropped_lets_the_next_one_try() {
        let attempts = Attempts::new(Clock::start());
        let first = attempts.admit(user(), password("any")).await.ok().unwrap();
        assert!(attempts.admit(user(), password("any")).now_or_never().is_none());
        drop(first);
        assert!(attempts.admit(user(), password("any")).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn owners_that_nobody_uses_are_forgotten() {
        let attempts = Attempts::new(Clock::start());
        let owner = |n: usize| Owner::User(Identity::of_secret("any", &n.to_string()));
        for n in 0..10_000 {
            attempts.admit(owner(n), password("any")).await.ok().unwrap().refused(own_message("wrong"));
        }
        tokio::time::advance(owner(0).window()).await;
        attempts.admit(owner(0), password("any")).await.ok().unwrap().accepted();
        assert_eq!(lock(&attempts.records).len(), 1);
    }
}
