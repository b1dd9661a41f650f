//! Tokens from IAM for a user's name and password (vendor: IAM API reference, *Obtaining a User Token Through Password
//! Authentication*). A token is scoped to the project, cached, and renewed before it expires. One request serves all callers, in a
//! task of its own: a token that is valid serves until its successor is there.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tracing::info;

use super::{
    client::{Client, NoToken},
    credential::{CredentialProblem, Login, Secret},
    endpoint::Endpoint,
};
use crate::{
    engine::{
        account::rate::STATED,
        outcome::{CloudMessage, Trouble},
        time::Mono,
    },
    lock::lock,
    supervise,
};

/// Lifetime assumed of a token whose reply states none. Real tokens live 24 h.
const SHORT_LIFE: Duration = Duration::from_hours(1);
/// Longest time before the end of a token from which on it is not used any more: a call with it takes time to arrive.
const MARGIN: Duration = Duration::from_mins(1);
/// Least time between two replacements of a refused token: if the new one is refused too, the token is not the reason.
const REPLACED_ONCE_IN: Duration = Duration::from_mins(5);
/// How long IAM is not asked again after it refused a request for its project or its form, with the same Secret. How often a
/// password is tried, [`super::credential::Attempts`] says.
const REFUSED_FOR: Duration = Duration::from_mins(5);
/// How long any other failure is the answer to all callers, so that they don't ask one after the other.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// The tokens of one login for one project.
#[derive(Clone)]
pub struct Iam(Arc<Tokens>);

struct Tokens {
    client: Arc<Client>,
    endpoint: Endpoint,
    project: String,
    state: Mutex<TokenState>,
}

/// A token, and a version that names it and its Secret; or why there is none.
type Given = Result<(Secret, String), CredentialProblem>;

/// What [`Iam::current`] knows.
pub enum TokenNow {
    /// The answer is known.
    Given(Given),
    /// IAM is being asked, and will bring this.
    Asked(Shared<BoxFuture<'static, Given>>),
}

#[derive(Default)]
struct TokenState {
    token: Option<Token>,
    failure: Option<HeldProblem>,
    /// The request that is under way, and the version of the Secret that it is for.
    asking: Option<(String, Shared<BoxFuture<'static, Given>>)>,
    /// Number of tokens obtained so far.
    number: u64,
    /// When a token was last dropped because the cloud refused it.
    replaced: Option<Mono>,
}

impl TokenState {
    /// Notes that the request for a version of the Secret has ended. Returns whether that version is still asked for.
    fn asked(&mut self, version: &str) -> bool {
        self.asking.take_if(|(asked, _)| asked == version).is_some()
    }
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
        Self(Arc::new(Tokens { client, endpoint, project, state: Mutex::default() }))
    }

    /// Returns a token for a login of this version of the Secret, and a version that names both. Waits for IAM if there is
    /// no valid one.
    pub async fn token(&self, login: &Login, version: &str) -> Given {
        match self.current(login, version) {
            TokenNow::Given(given) => given,
            TokenNow::Asked(answer) => answer.await,
        }
    }

    /// The same at once. Has IAM asked if there is no valid token, or if it is time for the next one.
    #[must_use]
    pub fn current(&self, login: &Login, version: &str) -> TokenNow {
        let now = self.0.client.clock().mono();
        let state = &mut *lock(&self.0.state);
        let token = state.token.clone().filter(|token| token.version == version && now < token.ends_at);
        if let Some(token) = token.clone().filter(|token| now < token.renew_at) {
            return TokenNow::Given(Ok(token.given()));
        }
        let of_it =
            |held: &&HeldProblem| held.problem.version.as_deref() == Some(version) && now < held.until;
        if let Some(held) = state.failure.as_ref().filter(of_it) {
            // A token that could not be renewed is good until it ends.
            return TokenNow::Given(
                token.map_or_else(|| Err(held.problem.clone()), |token| Ok(token.given())),
            );
        }
        let under_way = state.asking.as_ref().filter(|(asked, _)| asked == version);
        let answer = if let Some((_, answer)) = under_way {
            answer.clone()
        } else {
            let answer = self.clone().ask_beside(login.clone(), version.to_owned());
            state.asking = Some((version.to_owned(), answer.clone()));
            answer
        };
        token.map_or(TokenNow::Asked(answer), |token| TokenNow::Given(Ok(token.given())))
    }

    /// Asks IAM in a task of its own: it goes on when the caller is gone.
    fn ask_beside(self, login: Login, version: String) -> Shared<BoxFuture<'static, Given>> {
        let cut_off =
            problem(Trouble::CloudUnreachable, CloudMessage::default(), "the request was cut off", &version);
        let task = supervise::task("IAM", async move {
            let asked = AssertUnwindSafe(self.0.ask(&login, &version)).catch_unwind().await;
            asked.unwrap_or_else(|_| {
                let text = "the request was cut off";
                self.0.failed(
                    problem(Trouble::CloudUnreachable, CloudMessage::default(), text, &version),
                    FAILED_FOR,
                )
            })
        });
        task.map(|given| given.unwrap_or(Err(cut_off))).boxed().shared()
    }

    /// Notes that the cloud refused the token of this version. Returns whether [`Self::token`] will bring another one.
    #[must_use]
    pub fn refused(&self, version: &str) -> bool {
        let now = self.0.client.clock().mono();
        let mut state = self.0.state();
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
}

impl Tokens {
    /// Asks IAM, and keeps what it answers.
    async fn ask(&self, login: &Login, version: &str) -> Given {
        let asked = self.client.clock().mono();
        let Login { username, password, domain } = login;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": username.expose(), "password": password.expose(), "domain": {"name": domain.expose()},
            }}},
            "scope": {"project": {"id": self.project}},
        }});
        let answer = self.client.obtain_token(&self.endpoint, login, body.to_string().into_bytes()).await;
        match answer {
            Ok((value, body)) => {
                let life = life(&body);
                info!(iam = %self.endpoint, life = life.as_secs(), "obtained a token");
                let mut state = self.state();
                state.number += 1;
                let token = Token {
                    value,
                    number: state.number,
                    version: version.to_owned(),
                    renew_at: asked + life * 4 / 5,
                    ends_at: asked + life.saturating_sub(MARGIN.min(life / 20)),
                };
                // Meanwhile the Secret may have changed, and its new version be asked for.
                if state.asked(version) {
                    state.failure = None;
                    state.token = Some(token.clone());
                }
                Ok(token.given())
            }
            Err(NoToken { trouble, message, wrong_password }) => {
                let trouble = match (trouble, message.limit.as_deref()) {
                    // Others may use the same limit, so the whole window is waited for.
                    (Trouble::Throttled { retry_after: None }, Some(limit)) => {
                        Trouble::Throttled { retry_after: Some(limit.window.min(STATED)) }
                    }
                    (trouble, _) => trouble,
                };
                let hold = match trouble {
                    Trouble::Throttled { retry_after: Some(wait) } => wait,
                    Trouble::CredentialsRejected | Trouble::Forbidden if !wrong_password => REFUSED_FOR,
                    _ => FAILED_FOR,
                };
                let text = message.text.clone();
                self.failed(problem(trouble, message, &text, version), hold)
            }
        }
    }

    /// Keeps a failure as the answer to all callers for a while.
    fn failed(&self, problem: CredentialProblem, hold: Duration) -> Given {
        let until = self.client.clock().mono() + hold;
        let mut state = self.state();
        if problem.version.as_deref().is_some_and(|version| state.asked(version)) {
            state.failure = Some(HeldProblem { problem: problem.clone(), until });
        }
        Err(problem)
    }

    fn state(&self) -> MutexGuard<'_, TokenState> {
        lock(&self.state)
    }
}

/// Why there is no token for a login of this version of the Secret.
fn problem(trouble: Trouble, message: CloudMessage, text: &str, version: &str) -> CredentialProblem {
    let message = CloudMessage { text: format!("IAM: {text}"), ..message };
    CredentialProblem { trouble, message, version: Some(version.to_owned()) }
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
