//! Access keys: pairs of an id, which requests name, and a secret, with which they are signed.

use std::{collections::HashMap, time::Duration};

use crate::projects::Projects;

/// An access key (AK/SK), and the name it has in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Name in the log.
    pub label: String,
    /// The access key (AK): what requests name.
    pub id: String,
    /// The secret key (SK): what they are signed with.
    pub secret: String,
    /// A temporary key comes with this; requests must then have it as a signed `X-Security-Token`.
    pub security_token: Option<String>,
    /// Where it is good for.
    pub projects: Projects,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("label", &self.label)
            .field("id", &self.id)
            .field("temporary", &self.security_token.is_some())
            .field("projects", &self.projects)
            .finish_non_exhaustive()
    }
}

impl AccessKey {
    /// A permanent key good for `projects`.
    pub fn new(
        label: impl Into<String>,
        id: impl Into<String>,
        secret: impl Into<String>,
        projects: Projects,
    ) -> Self {
        Self { label: label.into(), id: id.into(), secret: secret.into(), security_token: None, projects }
    }

    /// Makes it a temporary key, which needs this token too.
    #[must_use]
    pub fn with_security_token(mut self, token: impl Into<String>) -> Self {
        self.security_token = Some(token.into());
        self
    }
}

/// "AK/SK authentication fails for more than five consecutive times, and the AK/SK pair is locked for five minutes."
/// (Signing guide, *Common Errors Related to IAM Authentication Information*.)
const MOST_FAILURES: u32 = 5;
const LOCKED_FOR: Duration = Duration::from_mins(5);

/// All access keys, by id, and how they are locked.
#[derive(Debug, Default)]
pub(crate) struct AccessKeys {
    keys: Vec<AccessKey>,
    failing: HashMap<String, Failing>,
}

/// A key whose last request was refused.
#[derive(Debug, Default)]
struct Failing {
    /// In a row.
    failures: u32,
    locked_until: Option<Duration>,
}

impl AccessKeys {
    pub(crate) fn new(keys: Vec<AccessKey>) -> Self {
        Self { keys, failing: HashMap::new() }
    }

    /// A key of the same id is replaced, and not locked.
    pub(crate) fn add(&mut self, key: AccessKey) {
        self.revoke(|one| one.id == key.id);
        self.keys.push(key);
    }

    /// Returns how many were revoked.
    pub(crate) fn revoke(&mut self, which: impl Fn(&AccessKey) -> bool) -> usize {
        let before = self.keys.len();
        let failing = &mut self.failing;
        self.keys.retain(|key| {
            let kept = !which(key);
            if !kept {
                failing.remove(&key.id);
            }
            kept
        });
        before - self.keys.len()
    }

    pub(crate) fn all(&self) -> &[AccessKey] {
        &self.keys
    }

    /// Whether requests with the key of this id are refused, however they are signed. When a lock is over, counting
    /// begins anew.
    pub(crate) fn locked(&mut self, id: &str, now: Duration) -> bool {
        let Some(until) = self.failing.get(id).and_then(|failing| failing.locked_until) else { return false };
        if now >= until {
            self.failing.remove(id);
        }
        now < until
    }

    /// A request was signed rightly with the key of this id, or not.
    pub(crate) fn authenticated(&mut self, id: &str, rightly: bool, now: Duration) {
        if rightly {
            self.failing.remove(id);
            return;
        }
        let failing = self.failing.entry(id.to_owned()).or_default();
        failing.failures += 1;
        if failing.failures > MOST_FAILURES {
            failing.locked_until = Some(now + LOCKED_FOR);
        }
    }
}
