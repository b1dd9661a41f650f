//! Credentials from the Secret of an object's own namespace, read by name for each use, and what IAM gives for them.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use crate::{
    clock::Clock,
    cloud::{Authorization, Credential, CredentialProblem, CredentialSource, Iam, Identity, Set},
    controller::api_server::{reads::SecretError, requests::ApiServer},
    engine::{
        outcome::{CloudMessage, Trouble},
        time::Mono,
    },
    lock::lock,
};

/// One Secret.
pub struct SecretSource {
    api: ApiServer,
    namespace: String,
    name: String,
    iam: Iam,
    clock: Clock,
    /// A refused credential is not tried again for so long.
    retry_max: Duration,
    last: Mutex<Identity>,
    rejected: Mutex<Option<Rejected>>,
}

/// A version that the cloud refused. It is one call that finds out, not one of each object: the vendor locks keys after a few
/// failures, for everybody who uses them.
struct Rejected {
    version: String,
    until: Mono,
}

/// As much of a Secret as is needed. Without Debug: it holds the data.
#[derive(Deserialize)]
struct SecretText {
    metadata: ObjectMeta,
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
}

impl SecretSource {
    /// The Secret of this name in this namespace.
    #[must_use]
    pub fn new(
        api: ApiServer,
        (namespace, name): (String, String),
        iam: Iam,
        clock: Clock,
        retry_max: Duration,
    ) -> Self {
        let last = Mutex::new(Identity::of_secret(&namespace, &name));
        Self { api, namespace, name, iam, clock, retry_max, last, rejected: Mutex::default() }
    }

    async fn fetch(&self) -> Result<Credential, CredentialProblem> {
        let problem = |trouble, text: &str, version: Option<String>| CredentialProblem {
            trouble,
            message: CloudMessage { text: text.to_owned(), ..CloudMessage::default() },
            version,
        };
        let text = match self.api.read_secret(&self.namespace, &self.name).await {
            Ok(Some(text)) => text,
            Ok(None) => return Err(problem(Trouble::SecretNotFound, "", None)),
            Err(SecretError::Forbidden) => return Err(problem(Trouble::SecretForbidden, "", None)),
            // Not the user's doing: the same trouble as an unreachable cloud, told apart by its note.
            Err(SecretError::Unavailable(why)) => {
                let text = format!("the Secret could not be read from the API server: {why}");
                return Err(problem(Trouble::CloudUnreachable, &text, None));
            }
        };
        // The error of the decoder may quote the data: it is not passed on.
        let Ok(secret) = serde_json::from_str::<SecretText>(&text) else {
            return Err(problem(Trouble::SecretInvalid, "it can't be decoded", None));
        };
        let version = secret.metadata.resource_version;
        let set = Set::parse(|key| secret.data.get(key).map(|bytes| bytes.0.as_slice()));
        let set =
            set.map_err(|invalid| problem(Trouble::SecretInvalid, &invalid.to_string(), version.clone()))?;
        let version = version.unwrap_or_default();
        let identity = match &set {
            Set::Token(_) => Identity::of_secret(&self.namespace, &self.name),
            Set::AccessKey(key) => Identity::of_key(key),
            Set::Login(login) => Identity::of_user(login),
        };
        lock(&self.last).clone_from(&identity);
        let (authorization, version) = match set {
            Set::Token(token) => (Authorization::Token(token), version),
            Set::AccessKey(key) => (Authorization::AccessKey(key), version),
            Set::Login(login) => {
                let (token, version) = self.iam.token(&login, &version).await?;
                (Authorization::Token(token), version)
            }
        };
        let now = self.clock.mono();
        let rejected = lock(&self.rejected).as_ref().is_some_and(|r| r.version == version && now < r.until);
        if rejected {
            let text = "it was refused a short while ago, and is tried again after --retry-max";
            return Err(problem(Trouble::CredentialsRejected, text, Some(version)));
        }
        Ok(Credential { authorization, identity, version })
    }
}

impl CredentialSource for SecretSource {
    fn read(&self) -> BoxFuture<'_, Result<Credential, CredentialProblem>> {
        self.fetch().boxed()
    }

    fn identity(&self) -> Identity {
        lock(&self.last).clone()
    }

    fn refused(&self, credential: &Credential) -> bool {
        if self.iam.refused(&credential.version) {
            return true;
        }
        let (version, until) = (credential.version.clone(), self.clock.mono() + self.retry_max);
        *lock(&self.rejected) = Some(Rejected { version, until });
        false
    }
}
