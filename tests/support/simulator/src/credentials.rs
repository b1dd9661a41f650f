//! Who a request comes from, and whether that is believed.

use hyper::{HeaderMap, header::AUTHORIZATION, http::request::Parts};

use crate::{
    clock::Moment,
    errors::ApiError,
    options::UnauthorizedCode,
    projects::Projects,
    shared::State,
    signature::{SignatureError, SignedRequest, authorization, verify_signature},
};

/// What a request proves itself with. With both headers the signature counts.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// Neither `X-Auth-Token` nor `Authorization`.
    Missing,
    /// `X-Auth-Token`
    Token(String),
    /// `Authorization`
    Signature(Box<Wire>),
}

/// A request as it is on the wire.
#[derive(Clone)]
pub(crate) struct Wire {
    method: String,
    uri: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Who is believed to call.
pub(crate) struct Caller {
    /// For whom requests are counted.
    pub(crate) counted_for: String,
    pub(crate) projects: Projects,
}

impl Credentials {
    pub(crate) fn read(parts: &Parts, uri: &str, body: &[u8]) -> Self {
        if parts.headers.contains_key(AUTHORIZATION) {
            return Self::Signature(Box::new(Wire {
                method: parts.method.to_string(),
                uri: uri.to_owned(),
                headers: parts.headers.clone(),
                body: body.to_vec(),
            }));
        }
        let token = parts.headers.get("x-auth-token").and_then(|value| value.to_str().ok());
        token.map_or(Self::Missing, |token| Self::Token(token.to_owned()))
    }

    /// Name in the log; none for credentials that are not known.
    pub(crate) fn label(&self, state: &State) -> Option<String> {
        match self {
            Self::Missing => None,
            Self::Token(value) => {
                let given = state.tokens.find(value).map(|token| &token.label);
                given.or_else(|| state.issued.find(value).map(|issued| &issued.user)).cloned()
            }
            Self::Signature(wire) => {
                let id = authorization(&wire.headers)?.access;
                state.access_keys.all().iter().find(|key| key.id == id).map(|key| key.label.clone())
            }
        }
    }

    /// Counts failures of an access key in a row.
    pub(crate) fn check(&self, state: &mut State, moment: Moment) -> Result<Caller, ApiError> {
        match self {
            Self::Missing => Err(unauthorized(state.unauthorized)),
            Self::Token(value) => {
                if let Some(token) = state.tokens.find(value) {
                    return Ok(Caller { counted_for: value.clone(), projects: token.projects.clone() });
                }
                match state.issued.find(value) {
                    None => Err(unauthorized(state.unauthorized)),
                    Some(issued) if !issued.good(moment.now) => {
                        Err(unauthorized(UnauthorizedCode::Apigw0307))
                    }
                    // Limits are those of the user: a new token does not begin anew.
                    Some(issued) => Ok(Caller {
                        counted_for: format!("user {}", issued.user),
                        projects: issued.projects.clone(),
                    }),
                }
            }
            Self::Signature(wire) => {
                let Wire { method, uri, headers, body } = &**wire;
                let id = authorization(headers).map(|authorization| authorization.access).unwrap_or_default();
                if state.access_keys.locked(id, moment.now) {
                    return Err(ApiError::key_locked());
                }
                let request = SignedRequest { method, uri, headers, body };
                let verified = verify_signature(&request, state.access_keys.all(), moment.unix_ms / 1_000);
                let verified = verified.map(|key| Caller {
                    counted_for: format!("key {}", key.id),
                    projects: key.projects.clone(),
                });
                // Of a key that there is not nothing can be locked.
                if !matches!(verified, Err(SignatureError::Malformed | SignatureError::UnknownKey)) {
                    state.access_keys.authenticated(id, verified.is_ok(), moment.now);
                }
                verified.map_err(|error| ApiError::new(401, error.code(), error.to_string()))
            }
        }
    }
}

fn unauthorized(code: UnauthorizedCode) -> ApiError {
    match code {
        UnauthorizedCode::Imetal0003 => ApiError::new(401, "iMetal.0003", "Unauthorized"),
        UnauthorizedCode::Apigw0301 => {
            ApiError::new(401, "APIGW.0301", "Incorrect IAM authentication information")
        }
        UnauthorizedCode::Apigw0307 => ApiError::new(401, "APIGW.0307", "The token must be updated."),
    }
}
