//! Credentials: types that can't be printed.

mod redact;
mod secret;
mod set;
mod sign;

use futures::future::BoxFuture;
use http::{HeaderMap, header::InvalidHeaderValue};
use k8s_openapi::jiff::Timestamp;

pub use self::{
    redact::RedactionList,
    secret::{Secret, Unusable},
    set::{InvalidSet, Login, Set},
    sign::{AccessKey, Signed},
};
use crate::engine::outcome::{CloudMessage, Trouble};

/// What a request is authorized with.
pub enum Authorization {
    /// Sent as X-Auth-Token.
    Token(Secret),
    /// The request is signed with it.
    AccessKey(AccessKey),
}

/// Whom the cloud counts calls for: the access key, the user, or for a token, which does not say, the Secret that it came from.
/// Its budget survives a rotation, and Secrets of one identity share it. Without Debug: parts of a Secret are in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl Identity {
    /// Of an access key.
    #[must_use]
    pub fn of_key(key: &AccessKey) -> Self {
        Self(format!("key {}", key.id.expose()))
    }

    /// Of a user of IAM.
    #[must_use]
    pub fn of_user(login: &Login) -> Self {
        Self(format!("user {}@{}", login.username.expose(), login.domain.expose()))
    }

    /// Of whatever a Secret holds.
    #[must_use]
    pub fn of_secret(namespace: &str, name: &str) -> Self {
        Self(format!("secret {namespace}/{name}"))
    }
}

/// A credential, and the version of where it came from.
pub struct Credential {
    /// What is sent.
    pub authorization: Authorization,
    /// Whose it is.
    pub identity: Identity,
    /// Another version may be another credential.
    pub version: String,
}

impl Credential {
    /// Adds what proves to the cloud who asks. `at` is the cloud's time, as far as it is known.
    pub(super) fn authorize(
        &self,
        request: Signed<'_>,
        headers: &mut HeaderMap,
        project: &str,
        at: Timestamp,
    ) -> Result<(), InvalidHeaderValue> {
        match &self.authorization {
            Authorization::Token(token) => {
                headers.insert("x-auth-token", token.header()?);
                Ok(())
            }
            Authorization::AccessKey(key) => key.sign(request, headers, Some(project), at),
        }
    }

    /// Every part of it, none of which may be told.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        match &self.authorization {
            Authorization::Token(token) => vec![token],
            Authorization::AccessKey(AccessKey { id, secret, security_token }) => {
                [id, secret].into_iter().chain(security_token).collect()
            }
        }
    }
}

/// Why there is no credential.
#[derive(Clone, Debug)]
pub struct CredentialProblem {
    /// What stands in the way.
    pub trouble: Trouble,
    /// Details, without the value.
    pub message: CloudMessage,
    /// The version that was read, if one was.
    pub version: Option<String>,
}

/// Where credentials come from. It is asked right before each use, so that a rotation takes effect at the next call.
pub trait CredentialSource: Send + Sync + 'static {
    /// Reads the credential as it is now.
    fn read(&self) -> BoxFuture<'_, Result<Credential, CredentialProblem>>;

    /// Whose credential was read last, whoever that is if none was.
    fn identity(&self) -> Identity;

    /// Takes note that the cloud refused a credential. Whether another one may be had at once.
    fn refused(&self, credential: &Credential) -> bool;
}

/// Text for one segment of a path or one value of a query: all but unreserved characters percent-encoded (RFC 3986).
pub(super) fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
