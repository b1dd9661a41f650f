//! Tokens known from the start or added by hand.

use crate::projects::Projects;

/// A value of `X-Auth-Token`, and the name it has in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name in the log.
    pub label: String,
    /// What the client sends.
    pub value: String,
    /// Where it is good for.
    pub projects: Projects,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("label", &self.label)
            .field("projects", &self.projects)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// A token good for `projects`.
    pub fn new(label: impl Into<String>, value: impl Into<String>, projects: Projects) -> Self {
        Self { label: label.into(), value: value.into(), projects }
    }
}

/// All tokens, by value.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Vec<Token>);

impl Tokens {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// A token of the same value is replaced.
    pub(crate) fn add(&mut self, token: Token) {
        self.revoke(|one| one.value == token.value);
        self.0.push(token);
    }

    /// Returns how many were revoked.
    pub(crate) fn revoke(&mut self, which: impl Fn(&Token) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|token| !which(token));
        before - self.0.len()
    }

    pub(crate) fn find(&self, value: &str) -> Option<&Token> {
        self.0.iter().find(|token| token.value == value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.iter()
    }
}
