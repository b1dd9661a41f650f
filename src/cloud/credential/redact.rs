//! Secrets that this process has sent lately, to be removed from every text of the cloud.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::secret::Secret;

/// Bound on the secrets remembered. A rotation adds at most three, so 64 cover the latest twenty rotations.
const MOST: usize = 64;

/// A secret of another request is removed from this many characters on. Shorter ones stand in texts by chance, and would garble
/// what the cloud says to others.
const LONG: usize = 16;

/// The secrets that this process has sent lately, of all objects, the newest last. A server may echo in one reply a secret of
/// another request, also after a rotation.
#[derive(Default)]
pub struct RedactionList(Mutex<VecDeque<Secret>>);

impl RedactionList {
    /// Remembers secrets that are about to be sent.
    pub fn learn<'a>(&self, sent: impl IntoIterator<Item = &'a Secret>) {
        let known = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in sent {
            known.retain(|other| other.expose() != secret.expose());
            if known.len() == MOST {
                known.pop_front();
            }
            known.push_back(secret.clone());
        }
    }

    /// Returns the text without those of these secrets that have [`LONG`] characters, nor those `sent` in the request that the
    /// text answers: these are redacted however short they are, and however many others were sent meanwhile.
    #[must_use]
    pub fn redact<'a>(&self, sent: impl IntoIterator<Item = &'a Secret>, text: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&Secret> = known.iter().filter(|secret| secret.expose().len() >= LONG).collect();
        for secret in sent {
            found.push(secret);
        }
        found.retain(|secret| text.contains(secret.expose()));
        // The longest first: a secret that is part of another must not leave the rest of it.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        found.into_iter().fold(text.to_owned(), |text, secret| secret.redact(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn s11_what_was_sent_lately_is_told_in_no_text() {
        let known = RedactionList::default();
        assert_eq!(known.redact([], "old-of-the-fleet"), "old-of-the-fleet");
        let (old, key) = (secret("old-of-the-fleet"), secret("old-of-the-fleet-key"));
        known.learn([&old, &key]);
        let text = "an old-of-the-fleet-key, an old-of-the-fleet one";
        assert_eq!(known.redact([&old, &key], text), "an [redacted], an [redacted] one");
        assert_eq!(known.redact([], text), "an [redacted], an [redacted] one", "also in another's reply");
        for number in 0..MOST {
            // The key is used all the time.
            known.learn([&key, &secret(&format!("token-of-the-fleet-{number:02}"))]);
        }
        let text = "old-of-the-fleet old-of-the-fleet-key token-of-the-fleet-00 token-of-the-fleet-63";
        assert_eq!(known.redact([], text), "old-of-the-fleet [redacted] token-of-the-fleet-00 [redacted]");
        assert_eq!(known.redact([&old], "old-of-the-fleet"), "[redacted]", "its own request's");
    }

    #[test]
    fn x26_a_short_secret_of_another_tenant_garbles_nothing() {
        let known = RedactionList::default();
        let (short, long) = (secret("1"), secret("0123456789abcdef"));
        known.learn([&short, &secret("over ratelimit".replace(' ', "-").as_str()), &long]);
        let text = "over-ratelimit,limit:10,time:1 minute, 0123456789abcdef";
        assert_eq!(known.redact([], text), "over-ratelimit,limit:10,time:1 minute, [redacted]");
        assert!(!known.redact([&short], text).contains('1'), "its own is redacted however short it is");
    }
}
