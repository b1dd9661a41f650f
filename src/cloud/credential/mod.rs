//! Credentials: how requests are authorized, in types that can't be printed.

mod attempts;
mod identity;
mod redact;
mod secret;
mod set;
mod sign;

use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use http::{HeaderMap, header::InvalidHeaderValue};
use k8s_openapi::jiff::Timestamp;

pub use self::{
    attempts::{Attempts, Fingerprint, NotTried, Owner},
    identity::Identity,
    redact::RedactionList,
    secret::{Secret, Unusable},
    set::{InvalidSet, Login, Set},
    sign::{AccessKey, Signed, encoded},
};
use crate::engine::outcome::{CloudMessage, Trouble};

/// Proof that authorizes a request.
pub enum Authorization {
    /// A token, sent as `X-Auth-Token`.
    Token(Secret),
    /// An access key that signs the request.
    AccessKey(AccessKey),
}

/// A credential, and the version of its source.
pub struct Credential {
    /// The proof.
    pub authorization: Authorization,
    /// Its owner.
    pub identity: Identity,
    /// Version of the Secret, and of the token if IAM issued one. Another version may be another credential.
    pub version: String,
}

impl Credential {
    /// Adds the headers that authorize a request. `at` is the cloud's time.
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

    /// Every secret part.
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
    /// The kind of problem.
    pub trouble: Trouble,
    /// Details, without any value of the Secret.
    pub message: CloudMessage,
    /// The version of the Secret, if it was read.
    pub version: Option<String>,
}

/// The credential of a source, without waiting for IAM.
pub enum Current {
    /// It is known.
    Known(Credential),
    /// IAM is being asked for a token; this ends when it has answered.
    Asked(BoxFuture<'static, ()>),
}

/// A source of credentials. It is asked right before each use, so that a rotation takes effect at the next call.
pub trait CredentialSource: Send + Sync + 'static {
    /// Reads the current credential. This may wait for IAM, for as long as a call may take.
    fn read(&self) -> BoxFuture<'_, Result<Credential, CredentialProblem>>;

    /// Reads the current credential and waits for the API server alone: for those who hold what others wait for.
    fn current(&self) -> BoxFuture<'_, Result<Current, CredentialProblem>> {
        self.read().map_ok(Current::Known).boxed()
    }

    /// The identity of the credential that was read last; before the first read, that of the Secret.
    fn identity(&self) -> Identity;

    /// Notes that the cloud refused a credential. Returns whether [`Self::read`] will bring another one.
    fn refused(&self, credential: &Credential) -> bool;
}
