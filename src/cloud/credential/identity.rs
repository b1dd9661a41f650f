//! Who the cloud believes is calling.

use super::{set::Login, sign::AccessKey};

/// Who the cloud counts calls for: the access key, the user, or, for a token, which does not say, the Secret that holds it.
/// The rate of an identity survives a rotation, and Secrets of one identity share it. It has no Debug, since it holds parts of a
/// Secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl Identity {
    /// The identity of an access key.
    #[must_use]
    pub fn of_key(key: &AccessKey) -> Self {
        Self(format!("key {}", key.id.expose()))
    }

    /// The identity of a user of IAM.
    #[must_use]
    pub fn of_user(login: &Login) -> Self {
        Self(format!("user {}@{}", login.username.expose(), login.domain.expose()))
    }

    /// The identity of a token in this Secret.
    #[must_use]
    pub fn of_secret(namespace: &str, name: &str) -> Self {
        Self(format!("secret {namespace}/{name}"))
    }
}
