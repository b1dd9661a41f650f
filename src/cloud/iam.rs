//! Tokens from IAM for a user's name and password (vendor: IAM API reference, *Obtaining a User Token Through Password
//! Authentication*). A token is scoped to the project, cached, and renewed before it expires; one request serves all callers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tracing::info;

use super::{
    client::Client,
    credential::{CredentialProblem, Login, Secret},
    endpoint::Endpoint,
    retry_after::stated_limit,
};
use crate::engine::{
    account::rate::STATED,
    outcome::{CloudMessage, Trouble},
    time::Mono,
};

/// Lifetime assumed of a token whose reply states none. Real tokens live 24 h.
const SHORT_LIFE: Duration = Duration::from_hours(1);
/// Least time between two replacements of a refused token: if the new one is refused too, the token is not the reason.
const REPLACED_ONCE_IN: Duration = Duration::from_mins(5);
/// How long IAM is not asked again after it refused a password, with the same Secret: it locks a user after a few failures.
const REJECTED_FOR: Duration = Duration::from_mins(5);
/// How long any other failure is the answer to all callers, so that they don't ask one after the other.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// The tokens of one login for one project.
pub struct Iam {
    client: Arc<Client>,
    endpoint: Endpoint,
    project: String,
    /// Held by the caller that asks IAM.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<TokenState>,
}

#[derive(Default)]
struct TokenState {
    token: Option<Token>,
    failure: Option<HeldProblem>,
    /// Number of tokens obtained so far.
    number: u64,
    /// When a token was last dropped because the cloud refused it.
    replaced: Option<Mono>,
}

#[derive(Clone)]
struct Token {
    value: Secret,
    number: u64,
    version: String,
    renew_at: Mono,
    ends_at: Mono,
}

#[derive(Clone)]
struct HeldProblem {
    problem: CredentialProblem,
    until: Mono,
}

/// The part of the reply's body that is used.
#[derive(Deserialize)]
struct TokenReply {
    token: Life,
}

#[derive(Deserialize)]
struct Life {
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Lifetime of the token of a reply, by IAM's own clock.
fn life(body: &[u8]) -> Duration {
    let life = serde_json::from_slice::<TokenReply>(body).ok().and_then(
        |TokenReply { token: Life { issued_at, expires_at } }| {
            Duration::try_from(expires_at.duration_since(issued_at)).ok()
        },
    );
    life.filter(|life| !life.is_zero()).unwrap_or(SHORT_LIFE)
}

impl Iam {
    /// A login that has no token yet.
    #[must_use]
    pub fn new(client: Arc<Client>, endpoint: Endpoint, project: String) -> Self {
        Self { client, endpoint, project, asking: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    /// Returns a token for a login of this version of the Secret, and a version that names both.
    pub async fn token(&self, login: &Login, version: &str) -> Result<(Secret, String), CredentialProblem> {
        if let Some(known) = self.known(version) {
            return known;
        }
        let _one_at_a_time = self.asking.lock().await;
        if let Some(known) = self.known(version) {
            return known;
        }
        let asked = self.client.clock().mono();
        let answer = self.ask(login, version).await;
        let now = self.client.clock().mono();
        let mut state = self.state();
        match answer {
            Ok((value, life)) => {
                info!(iam = %self.endpoint, life = life.as_secs(), "obtained a token");
                state.number += 1;
                let token = Token {
                    value,
                    number: state.number,
                    version: version.to_owned(),
                    renew_at: asked + life * 4 / 5,
                    ends_at: asked + life,
                };
                state.failure = None;
                state.token = Some(token.clone());
                Ok(token.given())
            }
            Err(problem) => {
                let wait = match problem.trouble {
                    Trouble::Throttled { retry_after: Some(wait) } => wait,
                    Trouble::CredentialsRejected | Trouble::Forbidden => REJECTED_FOR,
                    _ => FAILED_FOR,
                };
                state.failure = Some(HeldProblem { problem: problem.clone(), until: now + wait });
                // A token that could not be renewed is good until it expires.
                let old = state.token.clone().filter(|token| token.version == version && now < token.ends_at);
                old.map_or(Err(problem), |token| Ok(token.given()))
            }
        }
    }

    /// The answer without asking IAM; `None` if IAM must be asked.
    fn known(&self, version: &str) -> Option<Result<(Secret, String), CredentialProblem>> {
        let now = self.client.clock().mono();
        let state = self.state();
        let token = state.token.as_ref().filter(|token| token.version == version);
        if let Some(token) = token.filter(|token| now < token.renew_at) {
            return Some(Ok(token.clone().given()));
        }
        let of_it = |failure: &&HeldProblem| failure.problem.version.as_deref() == Some(version);
        let failure = state.failure.as_ref().filter(of_it).filter(|failure| now < failure.until)?;
        let old = token.filter(|token| now < token.ends_at);
        Some(old.map_or_else(|| Err(failure.problem.clone()), |token| Ok(token.clone().given())))
    }

    /// Notes that the cloud refused the token of this version. Returns whether [`Self::token`] will bring another one.
    pub fn refused(&self, version: &str) -> bool {
        let now = self.client.clock().mono();
        let mut state = self.state();
        let Some(token) = state.token.as_ref().filter(|_| version.contains('#')) else { return false };
        // Another caller has replaced it already.
        if token.versioned() != version {
            return true;
        }
        let again = state.replaced.is_none_or(|replaced| now - replaced >= REPLACED_ONCE_IN);
        if again {
            (state.token, state.replaced) = (None, Some(now));
        }
        again
    }

    async fn ask(&self, login: &Login, version: &str) -> Result<(Secret, Duration), CredentialProblem> {
        let Login { username, password, domain } = login;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": username.expose(), "password": password.expose(), "domain": {"name": domain.expose()},
            }}},
            "scope": {"project": {"id": self.project}},
        }});
        let redact = |text: &str| username.redact(&domain.redact(text));
        let problem = |trouble, message: CloudMessage| {
            let trouble = match (trouble, stated_limit(&message.text)) {
                // Others may use the same limit, so the whole window is waited for.
                (Trouble::Throttled { retry_after: None }, Some(limit)) => {
                    Trouble::Throttled { retry_after: Some(limit.window.min(STATED)) }
                }
                (trouble, _) => trouble,
            };
            let message = CloudMessage { text: format!("IAM: {}", message.text), ..message };
            CredentialProblem { trouble, message, version: Some(version.to_owned()) }
        };
        let (token, body) = self
            .client
            .obtain_token(&self.endpoint, password, body.to_string().into_bytes(), &redact)
            .await
            .map_err(|(trouble, message)| problem(trouble, message))?;
        Ok((token, life(&body)))
    }

    fn state(&self) -> MutexGuard<'_, TokenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// The version of the Secret with the number of the token.
    fn versioned(&self) -> String {
        format!("{}#{}", self.version, self.number)
    }

    fn given(self) -> (Secret, String) {
        let version = self.versioned();
        (self.value, version)
    }
}

#[cfg(test)]
mod tests;
