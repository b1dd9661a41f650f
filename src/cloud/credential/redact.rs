//! What was sent lately and must not be told.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::secret::Secret;

/// Secrets that are remembered. A rotation brings three at the most.
const MOST: usize = 64;

/// Every secret that this process has sent lately, whoever it belongs to, the newest last. A server may echo in one reply what it
/// was sent in another, also after a rotation.
#[derive(Default)]
pub struct RedactionList(Mutex<VecDeque<Secret>>);

impl RedactionList {
    /// Remembers what is about to be sent.
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

    /// Text with every occurrence of each replaced, and of what was `sent` in the request that it answers: however many others
    /// were sent meanwhile, that is known.
    #[must_use]
    pub fn redact<'a>(&self, sent: impl IntoIterator<Item = &'a Secret>, text: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&Secret> = known.iter().collect();
        for secret in sent {
            found.push(secret);
        }
        found.retain(|secret| text.contains(secret.expose()));
        // One that is part of another must not leave the rest of it.
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
        assert_eq!(known.redact([], "old-key"), "old-key");
        let (old, key) = (secret("old"), secret("old-key"));
        known.learn([&old, &key]);
        assert_eq!(known.redact([&old, &key], "an old-key, an old one"), "an [redacted], an [redacted] one");
        assert_eq!(known.redact([], "an old one"), "an [redacted] one", "also in another's reply");
        for number in 0..MOST {
            // The key is used all the time.
            known.learn([&key, &secret(&format!("token-{number:02}"))]);
        }
        assert_eq!(known.redact([], "old old-key token-00 token-63"), "old [redacted] token-00 [redacted]");
        assert_eq!(known.redact([&old], "old"), "[redacted]", "its own request's");
    }
}
