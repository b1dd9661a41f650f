//! Tokens that IAM has issued.

use std::{collections::HashMap, time::Duration};

use crate::projects::Projects;

/// A token of a user.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    /// Name of the user.
    pub(crate) user: String,
    /// One project, or none if the token is that of an account.
    pub(crate) projects: Projects,
    /// When it ends.
    pub(crate) until: Duration,
    pub(crate) revoked: bool,
}

impl Issued {
    pub(crate) fn good(&self, now: Duration) -> bool {
        !self.revoked && now < self.until
    }
}

/// All of them, by value: also those that have ended, since the gateway tells them from what was never a token.
#[derive(Default)]
pub(crate) struct IssuedTokens(HashMap<String, Issued>);

impl std::fmt::Debug for IssuedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.values()).finish()
    }
}

impl IssuedTokens {
    pub(crate) fn add(&mut self, value: String, issued: Issued) {
        self.0.insert(value, issued);
    }

    pub(crate) fn find(&self, value: &str) -> Option<&Issued> {
        self.0.get(value)
    }

    /// Returns how many tokens of the user were good until now.
    pub(crate) fn revoke(&mut self, user: &str, now: Duration) -> usize {
        let mut revoked = 0;
        for issued in self.0.values_mut().filter(|issued| issued.user == user) {
            revoked += usize::from(issued.good(now));
            issued.revoked = true;
        }
        revoked
    }
}
