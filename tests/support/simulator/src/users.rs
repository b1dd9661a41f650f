//! IAM users, and how they are locked out.

use std::time::Duration;

use crate::projects::Projects;

/// An IAM user who may get tokens by password; the name is also the one in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Name of the user.
    pub name: String,
    /// What the client must send.
    pub password: String,
    /// Name of the account the user belongs to.
    pub domain: String,
    /// Where tokens may be good for.
    pub projects: Projects,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("domain", &self.domain)
            .field("projects", &self.projects)
            .finish_non_exhaustive()
    }
}

impl User {
    /// A user who gets tokens for `projects`.
    pub fn new(
        name: impl Into<String>,
        password: impl Into<String>,
        domain: impl Into<String>,
        projects: Projects,
    ) -> Self {
        Self { name: name.into(), password: password.into(), domain: domain.into(), projects }
    }
}

/// Why a user gets no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// No such user, or another password.
    Unknown,
    /// Too many wrong passwords.
    Locked,
}

const MOST_FAILURES: usize = 5;
const COUNTED_FOR: Duration = Duration::from_mins(15);
const LOCKED_FOR: Duration = Duration::from_mins(15);

/// All users, by name and domain.
#[derive(Debug, Default)]
pub(crate) struct Users(Vec<Known>);

#[derive(Debug)]
struct Known {
    user: User,
    failures: Vec<Duration>,
    locked_until: Option<Duration>,
}

impl Users {
    pub(crate) fn new(users: Vec<User>) -> Self {
        let mut known = Self::default();
        for user in users {
            known.add(user);
        }
        known
    }

    /// A user of the same name and domain is replaced, and not locked.
    pub(crate) fn add(&mut self, user: User) {
        self.0.retain(|known| known.user.name != user.name || known.user.domain != user.domain);
        self.0.push(Known { user, failures: Vec::new(), locked_until: None });
    }

    /// Returns how many were removed.
    pub(crate) fn remove(&mut self, name: &str) -> usize {
        let before = self.0.len();
        self.0.retain(|known| known.user.name != name);
        before - self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &User> {
        self.0.iter().map(|known| &known.user)
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.iter().any(|user| user.name == name)
    }

    /// Counts a wrong password.
    pub(crate) fn check(
        &mut self,
        name: &str,
        domain: &str,
        password: &str,
        now: Duration,
    ) -> Result<&User, Rejected> {
        let known = self.0.iter_mut().find(|known| known.user.name == name && known.user.domain == domain);
        let known = known.ok_or(Rejected::Unknown)?;
        if known.locked_until.is_some_and(|until| now < until) {
            return Err(Rejected::Locked);
        }
        known.locked_until = None;
        if known.user.password == password {
            known.failures.clear();
            return Ok(&known.user);
        }
        known.failures.retain(|at| now.saturating_sub(*at) < COUNTED_FOR);
        known.failures.push(now);
        if known.failures.len() >= MOST_FAILURES {
            known.failures.clear();
            known.locked_until = Some(now + LOCKED_FOR);
        }
        Err(Rejected::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: fn(u64) -> Duration = Duration::from_mins;

    #[test]
    fn five_wrong_passwords_within_15_minutes_lock_for_15_minutes() {
        let mut users = Users::new(vec![User::new("u", "right", "d", Projects::All)]);
        let mut check = |password: &str, at: Duration| users.check("u", "d", password, at).map(|_| ());
        for minute in 0..4 {
            assert_eq!(check("wrong", M(minute)), Err(Rejected::Unknown));
        }
        // The first one is too old to count.
        assert_eq!(check("wrong", M(15)), Err(Rejected::Unknown));
        assert_eq!(check("right", M(15)), Ok(()));
        for _ in 0..5 {
            assert_eq!(check("wrong", M(16)), Err(Rejected::Unknown), "a right password forgives");
        }
        assert_eq!(check("right", M(16)), Err(Rejected::Locked));
        assert_eq!(check("wrong", M(30)), Err(Rejected::Locked));
        assert_eq!(check("wrong", M(31)), Err(Rejected::Unknown), "counting begins anew");
        assert_eq!(check("right", M(31)), Ok(()));
    }

    #[test]
    fn another_domain_is_another_user() {
        let mut users = Users::new(vec![User::new("u", "right", "d", Projects::All)]);
        for _ in 0..6 {
            assert_eq!(users.check("u", "e", "right", M(0)).map(|_| ()), Err(Rejected::Unknown));
        }
        assert!(users.check("u", "d", "right", M(0)).is_ok());
    }
}
