//! Credentials from a Secret in the object's own namespace. The Secret is read by name for each use; a login is exchanged for a
//! token of IAM.

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

/// The source of the credentials in one Secret.
pub struct SecretSource {
    api: ApiServer,
    namespace: String,
    name: String,
    iam: Iam,
    clock: Clock,
    /// How long a refused credential is not used again.
    retry_max: Duration,
    last: Mutex<Identity>,
    rejected: Mutex<Option<Rejected>>,
}

/// A version of the Secret that the cloud refused. One call finds out, not one call of each object: the vendor locks a key
/// after a few failures, for everyone who uses it.
struct Rejected {
    version: String,
    until: Mono,
}

/// The used part of a Secret. It has no Debug, since it holds the data.
#[derive(Deserialize)]
struct SecretText {
    metadata: ObjectMeta,
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
}

impl SecretSource {
    /// The source of the Secret with this namespace and name.
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
            // The user did not cause this: it is the same trouble as an unreachable cloud, with another message.
            Err(SecretError::Unavailable(why)) => {
                let text = format!("the Secret could not be read from the API server: {why}");
                return Err(problem(Trouble::CloudUnreachable, &text, None));
            }
        };
        // The decoder's error may quote the data, so it is not passed on.
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
