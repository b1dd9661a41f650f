//! Access keys: pairs of an id, which requests name, and a secret, with which they are signed.

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

/// All access keys, by id.
#[derive(Debug, Default)]
pub(crate) struct AccessKeys(Vec<AccessKey>);

impl AccessKeys {
    pub(crate) fn new(keys: Vec<AccessKey>) -> Self {
        Self(keys)
    }

    /// A key of the same id is replaced.
    pub(crate) fn add(&mut self, key: AccessKey) {
        self.revoke(|one| one.id == key.id);
        self.0.push(key);
    }

    /// Returns how many were revoked.
    pub(crate) fn revoke(&mut self, which: impl Fn(&AccessKey) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|key| !which(key));
        before - self.0.len()
    }

    pub(crate) fn all(&self) -> &[AccessKey] {
        &self.0
    }
}
