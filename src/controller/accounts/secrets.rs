//! Credentials from a Secret in the object's own namespace. The Secret is read by name for each use; a login is exchanged for a
//! token of IAM.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use crate::{
    clock::Clock,
    cloud::{
        Authorization, Credential, CredentialProblem, CredentialSource, Current, Iam, Identity, Set, TokenNow,
    },
    controller::api_server::{reads::SecretError, requests::ApiServer},
    engine::{
        outcome::{CloudMessage, Trouble},
        time::Mono,
    },
    lock::lock,
    scope::is_of_kubernetes,
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
    /// `--secret-type`.
    demanded_type: Option<String>,
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
    #[serde(rename = "type")]
    type_: Option<String>,
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
}

/// Type of a Secret that was created without one.
const OPAQUE: &str = "Opaque";

/// Why a Secret of this type is not for the cloud; `None` if it may be used.
///
/// Anyone who may create an object, but not read Secrets, could otherwise have the token of a ServiceAccount sent to the cloud.
fn unsuited(given: Option<&str>, demanded: Option<&str>) -> Option<String> {
    let given = given.filter(|given| !given.is_empty()).unwrap_or(OPAQUE);
    let create = demanded.unwrap_or(OPAQUE);
    if is_of_kubernetes(given) {
        return Some(format!(
            "it has one of Kubernetes' own types (kubernetes.io/...), which are never sent to the cloud; create it with the type {create}"
        ));
    }
    // The type of a Secret cannot be changed.
    demanded.filter(|demanded| *demanded != given).map(|demanded| {
        format!(
            "it does not have the type that --secret-type demands; create it anew with the type {demanded}"
        )
    })
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
        demanded_type: Option<String>,
    ) -> Self {
        let last = Mutex::new(Identity::of_secret(&namespace, &name));
        Self { api, namespace, name, iam, clock, retry_max, demanded_type, last, rejected: Mutex::default() }
    }

    /// Reads the Secret. Returns what it holds, and its version.
    async fn secret(&self) -> Result<(Set, String), CredentialProblem> {
        let problem = |trouble, text: &str, version: Option<String>| CredentialProblem {
            trouble,
            message: CloudMessage { text: text.to_owned(), ..CloudMessage::default() },
            version,
        };
        let text = match self.api.read_secret(&self.namespace, &self.name).await {
            Ok(Some(text)) => text,
            Ok(None) => return Err(problem(Trouble::SecretNotFound, "", None)),
            Err(SecretError::Forbidden) => return Err(problem(Trouble::SecretForbidden, "", None)),
            Err(SecretError::Unavailable(why)) => {
                return Err(problem(Trouble::ApiServerUnavailable, &why.to_string(), None));
            }
        };
        // The decoder's error may quote the data, so it is not passed on.
        let Ok(secret) = serde_json::from_str::<SecretText>(&text) else {
            return Err(problem(Trouble::SecretInvalid, "it can't be decoded", None));
        };
        let version = secret.metadata.resource_version;
        if let Some(why) = unsuited(secret.type_.as_deref(), self.demanded_type.as_deref()) {
            return Err(problem(Trouble::SecretInvalid, &why, version));
        }
        let set = Set::parse(|key| secret.data.get(key).map(|bytes| bytes.0.as_slice()));
        let set =
            set.map_err(|invalid| problem(Trouble::SecretInvalid, &invalid.to_string(), version.clone()))?;
        Ok((set, version.unwrap_or_default()))
    }

    /// The credential of the Secret. IAM may be needed for it, and be asked at this moment.
    async fn now(&self) -> Result<Current, CredentialProblem> {
        let (set, version) = self.secret().await?;
        let identity = match &set {
            Set::Token(_) => Identity::of_secret(&self.namespace, &self.name),
            Set::AccessKey(key) => Identity::of_key(key),
            Set::Login(login) => Identity::of_user(login),
        };
        lock(&self.last).clone_from(&identity);
        let (authorization, version) = match set {
            Set::Token(token) => (Authorization::Token(token), version),
            Set::AccessKey(key) => (Authorization::AccessKey(key), version),
            Set::Login(login) => match self.iam.current(&login, &version) {
                TokenNow::Given(given) => {
                    let (token, version) = given?;
                    (Authorization::Token(token), version)
                }
                TokenNow::Asked(answer) => return Ok(Current::Asked(answer.map(|_| ()).boxed())),
            },
        };
        let now = self.clock.mono();
        let rejected = lock(&self.rejected).as_ref().is_some_and(|r| r.version == version && now < r.until);
        if rejected {
            let text = "it was refused a short while ago, and is tried again after --retry-max";
            let message = CloudMessage { text: text.to_owned(), ..CloudMessage::default() };
            let trouble = Trouble::CredentialsRejected;
            return Err(CredentialProblem { trouble, message, version: Some(version) });
        }
        Ok(Current::Known(Credential { authorization, identity, version }))
    }

    /// The credential of the Secret, as soon as IAM has answered. The Secret is read again after that, since IAM may take long.
    async fn fetch(&self) -> Result<Credential, CredentialProblem> {
        loop {
            match self.now().await? {
                Current::Known(credential) => return Ok(credential),
                Current::Asked(answered) => answered.await,
            }
        }
    }
}

impl CredentialSource for SecretSource {
    fn read(&self) -> BoxFuture<'_, Result<Credential, CredentialProblem>> {
        self.fetch().boxed()
    }

    fn current(&self) -> BoxFuture<'_, Result<Current, CredentialProblem>> {
        self.now().boxed()
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

/// A source without credentials, for objects that may not call the cloud: what needs a credential fails with this problem.
pub struct NoCredentials {
    trouble: Trouble,
    identity: Identity,
}

impl NoCredentials {
    /// The source that stands in for the Secret with this namespace and name.
    pub fn new(trouble: Trouble, namespace: &str, name: &str) -> Self {
        Self { trouble, identity: Identity::of_secret(namespace, name) }
    }
}

impl CredentialSource for NoCredentials {
    fn read(&self) -> BoxFuture<'_, Result<Credential, CredentialProblem>> {
        let (trouble, message) = (self.trouble, CloudMessage::default());
        std::future::ready(Err(CredentialProblem { trouble, message, version: None })).boxed()
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn refused(&self, _: &Credential) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i07_a_secret_of_kubernetes_is_not_for_the_cloud() {
        let own = Some("clouddc.dev/credentials");
        let table = [
            (None, None, true),
            (Some(""), None, true),
            (Some("Opaque"), None, true),
            (Some("example.com/any"), None, true),
            (Some("mykubernetes.io/any"), None, true),
            (Some("kubernetes.io/service-account-token"), None, false),
            (Some("kubernetes.io/dockerconfigjson"), None, false),
            (Some("kubernetes.io/basic-auth"), None, false),
            (Some("kubernetes.io/tls"), None, false),
            (Some("Kubernetes.IO/tls"), None, false),
            (Some("bootstrap.kubernetes.io/token"), None, false),
            (Some("rke.k8s.io/any"), None, false),
            (own, own, true),
            (None, own, false),
            (Some("Opaque"), own, false),
            (Some("kubernetes.io/tls"), own, false),
            (Some("kubernetes.io/tls"), Some("kubernetes.io/tls"), false),
        ];
        for (given, demanded, usable) in table {
            let why = unsuited(given, demanded);
            assert_eq!(why.is_none(), usable, "{given:?} {demanded:?} {why:?}");
            assert!(why.is_none_or(|why| why.contains("create it")), "{given:?}");
        }
    }
}
