//! Credentials from the Secret of an object's own namespace, read by name for each use.

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::api_server::{ApiServer, SecretError};
use crate::{
    cloud::{Credential, CredentialProblem, CredentialSource, Token},
    engine::reply::{Note, Trouble},
};

/// The key of the Secret that holds a token.
const TOKEN: &str = "token";

/// One Secret.
pub struct SecretSource {
    api: ApiServer,
    namespace: String,
    name: String,
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
    pub fn new(api: ApiServer, namespace: String, name: String) -> Self {
        Self { api, namespace, name }
    }

    async fn fetch(&self) -> Result<Credential, CredentialProblem> {
        let problem = |trouble, text: &str, version: Option<String>| CredentialProblem {
            trouble,
            note: Note { text: text.to_owned(), ..Note::default() },
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
        let Some(bytes) = secret.data.get(TOKEN) else {
            return Err(problem(Trouble::SecretInvalid, "it has no key token", version));
        };
        match Token::parse(&bytes.0) {
            Ok(token) => Ok(Credential { token, version: version.unwrap_or_default() }),
            Err(invalid) => Err(problem(Trouble::SecretInvalid, &invalid.to_string(), version)),
        }
    }
}

impl CredentialSource for SecretSource {
    fn read(&self) -> BoxFuture<'_, Result<Credential, CredentialProblem>> {
        self.fetch().boxed()
    }
}
