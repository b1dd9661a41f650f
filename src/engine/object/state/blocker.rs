//! Blockers: a trouble that stands in the way of an object, and when the controller tries again.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::engine::{
    backoff::backoff,
    outcome::{CloudMessage, Retry, Trouble},
    settings::{SECRET_REREAD, Settings},
    time::{Mono, Now},
};

/// A trouble, and when the controller tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// What stands in the way.
    pub trouble: Trouble,
    /// What the cloud or the transport said.
    pub message: CloudMessage,
    /// How often the same trouble came up in a row before.
    pub failures: u32,
    /// The controller does not try again before this.
    pub retry_at: Mono,
    /// The same moment for people. It is fixed when the trouble comes up, so that it changes no
    /// status by itself.
    pub retry_time: Time,
    /// resourceVersion of the Secret that was used; another version is tried at once.
    pub secret_version: Option<String>,
}

impl Hash for Blocker {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { trouble, message, failures, retry_at, retry_time, secret_version } = self;
        (trouble, message, failures, retry_at, secret_version).hash(state);
        retry_time.0.hash(state);
    }
}

/// The time between two calls at the lowest rate of an account.
const SLOWEST: Duration = Duration::from_secs(10);

/// The blocker of a trouble that comes up now, after the blocker `before`.
#[must_use]
pub fn blocker(
    trouble: Trouble,
    message: CloudMessage,
    before: Option<&Blocker>,
    secret_version: Option<String>,
    now: &Now,
    settings: &Settings,
    random: u64,
) -> Blocker {
    let failures = before.filter(|b| b.trouble.reason() == trouble.reason()).map_or(0, |b| b.failures + 1);
    // The message of the first of its kind stays: another request id each time would be a status
    // write each time.
    let same = |b: &&Blocker| b.message.code == message.code && b.message.text == message.text;
    let message = before.filter(same).map(|b| b.message.clone()).unwrap_or(message);
    let wait = match (trouble.retry(), trouble) {
        (Retry::Slow | Retry::SlowOrSecretChange, _) => settings.retry_max,
        (Retry::SecretChange, _) => SECRET_REREAD,
        (Retry::Governor, Trouble::Throttled { retry_after: Some(wait) }) => wait.min(settings.retry_max),
        // The account's rate says when the next call may be made. The object asks as often as the
        // lowest rate allows calls.
        (Retry::Governor, _) => {
            backoff(failures, settings.retry_min, settings.retry_max.min(SLOWEST), random)
        }
        (Retry::Backoff, _) => backoff(failures, settings.retry_min, settings.retry_max, random),
    };
    let retry_at = now.mono + wait;
    // People read the whole wait that the cloud asked for, though the controller asks again
    // earlier.
    let goes_on = match trouble {
        Trouble::Throttled { retry_after: Some(wait) } => now.mono + wait,
        _ => retry_at,
    };
    let told = before.filter(|b| b.trouble.reason() == trouble.reason()).map(|b| &b.retry_time);
    let retry_time = now.time_at(goes_on);
    let same = |told: &&Time| told.0.duration_since(retry_time.0).abs().as_secs() == 0;
    let retry_time = told.filter(same).cloned().unwrap_or(retry_time);
    Blocker { trouble, message, failures, retry_at, retry_time, secret_version }
}

/// The blocker of an object whose account may make no call for `left`, because the cloud said so to
/// some object of the account.
#[must_use]
pub fn closed(left: Duration, before: Option<&Blocker>, now: &Now, settings: &Settings) -> Blocker {
    let trouble = Trouble::Throttled { retry_after: Some(left) };
    let heard = before.filter(|before| before.trouble.reason() == trouble.reason());
    // The message that another object heard may concern another Secret: it is not passed on.
    let earlier = || CloudMessage { text: "it said so earlier".to_owned(), ..CloudMessage::default() };
    let message = heard.map_or_else(earlier, |before| before.message.clone());
    blocker(trouble, message, before, None, now, settings, 0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::engine::object::tests::case::then;

    fn at(mono: Mono) -> Now {
        Now { mono, wall: Timestamp::UNIX_EPOCH + mono.since_start() }
    }

    fn message(text: &str) -> CloudMessage {
        CloudMessage {
            request_id: Some(text.into()),
            code: Some("c".into()),
            text: text.into(),
            ..CloudMessage::default()
        }
    }

    #[test]
    fn a_trouble_waits_as_its_kind_says_and_counts_only_its_own_kind() {
        let settings = Settings::default();
        let (min, max) = (settings.retry_min, settings.retry_max);
        let asked = |wait| Trouble::Throttled { retry_after: Some(Duration::from_secs(wait)) };
        let before = |trouble: Trouble, failures| Blocker {
            trouble,
            message: message("first"),
            failures,
            retry_at: Mono::START,
            retry_time: at(Mono::START).time(),
            secret_version: None,
        };
        let unreachable = Trouble::CloudUnreachable;
        let table = [
            (Trouble::Forbidden, None, 0, max),
            (Trouble::CredentialsRejected, None, 0, max),
            (Trouble::SecretNotFound, None, 0, SECRET_REREAD),
            (asked(7), None, 0, Duration::from_secs(7)),
            (asked(100_000), None, 0, max),
            (Trouble::Throttled { retry_after: None }, None, 0, min / 2),
            (
                Trouble::Throttled { retry_after: None },
                Some(before(Trouble::Throttled { retry_after: None }, 20)),
                21,
                SLOWEST / 2,
            ),
            (unreachable, None, 0, min / 2),
            (unreachable, Some(before(unreachable, 2)), 3, min * 8 / 2),
            (unreachable, Some(before(Trouble::Forbidden, 2)), 0, min / 2),
        ];
        for (trouble, before, failures, wait) in table {
            let now = at(then());
            let blocker = blocker(trouble, message("now"), before.as_ref(), None, &now, &settings, 0);
            assert_eq!(
                (blocker.failures, blocker.retry_at - then()),
                (failures, wait),
                "{trouble:?} {before:?}"
            );
        }
    }

    #[test]
    fn the_first_message_of_its_kind_stays_for_all_that_say_the_same() {
        let settings = Settings::default();
        let message = |request: &str, code: &str, text: &str| CloudMessage {
            request_id: Some(request.into()),
            code: Some(code.into()),
            text: text.into(),
            ..CloudMessage::default()
        };
        let now = at(then());
        let unreachable = Trouble::CloudUnreachable;
        let first = blocker(unreachable, message("r-1", "c", "down"), None, None, &now, &settings, 0);
        let then = |message: CloudMessage| {
            blocker(unreachable, message, Some(&first), None, &now, &settings, 0).message
        };
        assert_eq!(then(message("r-2", "c", "down")), first.message, "another request id alone is no news");
        for news in [message("r-2", "d", "down"), message("r-2", "c", "up")] {
            assert_eq!(then(news.clone()), news);
        }
    }

    #[test]
    fn it_is_told_when_a_wait_that_was_asked_for_is_over_and_always_the_same() {
        let settings = Settings::default();
        let hour = Duration::from_hours(1);
        let gate = |left| Trouble::Throttled { retry_after: Some(left) };
        let now = at(then());
        let first = blocker(gate(hour), message("hour"), None, None, &now, &settings, 0);
        assert_eq!(
            first.retry_at,
            then() + settings.retry_max,
            "whether it is still so is looked at earlier"
        );
        assert_eq!(first.retry_time, now.time_at(then() + hour));
        // Asked again, what is left comes to nearly the same moment.
        let later = at(then() + settings.retry_max);
        for (off, same) in [(0, true), (900, true), (1_100, false)] {
            let left = hour.saturating_sub(settings.retry_max) + Duration::from_millis(off);
            let again = blocker(gate(left), message("hour"), Some(&first), None, &later, &settings, 0);
            assert_eq!(again.retry_time == first.retry_time, same, "{off} ms");
        }
        let unreachable = Trouble::CloudUnreachable;
        let other = blocker(unreachable, message("down"), Some(&first), None, &later, &settings, 0);
        assert_eq!(other.retry_time, later.time_at(other.retry_at));
    }

    #[test]
    fn a_closed_account_is_told_with_what_the_object_heard_itself() {
        let settings = Settings::default();
        let (now, minute) = (at(then()), Duration::from_mins(1));
        let said = |before: Option<&Blocker>| {
            let closed = closed(minute, before, &now, &settings);
            assert_eq!(closed.retry_at, then() + minute);
            closed.message.text
        };
        assert_eq!(said(None), "it said so earlier");
        let of = |trouble| blocker(trouble, message("heard"), None, None, &now, &settings, 0);
        assert_eq!(said(Some(&of(Trouble::Throttled { retry_after: None }))), "heard");
        assert_eq!(said(Some(&of(Trouble::CloudUnreachable))), "it said so earlier", "of something else");
    }

    #[test]
    fn blockers_that_differ_are_different_states() {
        let settings = Settings::default();
        let digest = |blocker: &Blocker| {
            let mut hasher = std::hash::DefaultHasher::new();
            blocker.hash(&mut hasher);
            hasher.finish()
        };
        let now = at(then());
        let one = blocker(Trouble::CloudUnreachable, message("down"), None, None, &now, &settings, 0);
        assert_eq!(digest(&one), digest(&one.clone()));
        let others = [
            Blocker { trouble: Trouble::Forbidden, ..one.clone() },
            Blocker { message: message("up"), ..one.clone() },
            Blocker { failures: 1, ..one.clone() },
            Blocker { retry_at: then(), ..one.clone() },
            Blocker { retry_time: at(Mono::START).time(), ..one.clone() },
            Blocker { secret_version: Some("7".into()), ..one.clone() },
        ];
        assert!(others.iter().all(|other| digest(other) != digest(&one)));
    }
}
