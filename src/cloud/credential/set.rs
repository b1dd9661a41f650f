//! The credentials in a Secret: exactly one of three sets of keys.

use super::{
    secret::{Secret, Unusable},
    sign::AccessKey,
};

const TOKEN: &str = "token";
const ACCESS_KEY_ID: &str = "accessKeyID";
const SECRET_ACCESS_KEY: &str = "secretAccessKey";
const SECURITY_TOKEN: &str = "securityToken";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const DOMAIN_NAME: &str = "domainName";

/// Name and password of a user of IAM.
#[derive(Clone)]
pub struct Login {
    /// The IAM user.
    pub username: Secret,
    /// Its password.
    pub password: Secret,
    /// The name of the user's account.
    pub domain: Secret,
}

/// The credentials of a Secret.
pub enum Set {
    /// A token, sent as `X-Auth-Token`.
    Token(Secret),
    /// An access key that signs requests.
    AccessKey(AccessKey),
    /// A login that obtains tokens.
    Login(Login),
}

/// Why a Secret holds no usable credentials. No message shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSet {
    /// None of the keys is present.
    #[error(
        "it has none of the keys of a set: token; accessKeyID and secretAccessKey, with securityToken for a temporary key; username, password and domainName"
    )]
    None,
    /// Keys of more than one set are present.
    #[error("it holds keys of more than one set ({first} and {second}); leave one set")]
    Several {
        /// A key of one.
        first: &'static str,
        /// A key of another.
        second: &'static str,
    },
    /// A set lacks a key.
    #[error("it has {has} and no {lacks}")]
    Half {
        /// A key that is there.
        has: &'static str,
        /// The one that isn't.
        lacks: &'static str,
    },
    /// A value is unusable.
    #[error("the key {key} {why}")]
    Value {
        /// Its key.
        key: &'static str,
        /// Why.
        why: Unusable,
    },
}

/// The keys of each set: the required ones, and one that may be missing.
const SETS: [(&[&str], Option<&str>); 3] = [
    (&[TOKEN], None),
    (&[ACCESS_KEY_ID, SECRET_ACCESS_KEY], Some(SECURITY_TOKEN)),
    (&[USERNAME, PASSWORD, DOMAIN_NAME], None),
];

impl Set {
    /// Parses the data of a Secret. Other keys are ignored.
    pub fn parse<'a>(data: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, InvalidSet> {
        let present = |key: &&'static str| data(key).is_some();
        let begun = SETS.iter().filter_map(|(needed, optional)| {
            let has = needed.iter().copied().chain(*optional).find(present)?;
            Some((has, *needed))
        });
        let begun: Vec<(&'static str, &[&'static str])> = begun.collect();
        let (has, needed) = match begun[..] {
            [] => return Err(InvalidSet::None),
            [one] => one,
            [(first, _), (second, _), ..] => return Err(InvalidSet::Several { first, second }),
        };
        if let Some(lacks) = needed.iter().find(|key| !present(key)) {
            return Err(InvalidSet::Half { has, lacks });
        }
        let of = |key: &'static str, parse: fn(&[u8]) -> Result<Secret, Unusable>| {
            parse(data(key).unwrap_or_default()).map_err(|why| InvalidSet::Value { key, why })
        };
        let value = |key| of(key, Secret::parse);
        let words = |key| of(key, Secret::parse_with_spaces);
        if needed.contains(&TOKEN) {
            return Ok(Self::Token(value(TOKEN)?));
        }
        if needed.contains(&USERNAME) {
            let (username, password, domain) = (words(USERNAME)?, words(PASSWORD)?, words(DOMAIN_NAME)?);
            return Ok(Self::Login(Login { username, password, domain }));
        }
        let security_token = data(SECURITY_TOKEN).map(|_| value(SECURITY_TOKEN)).transpose()?;
        let (id, secret) = (value(ACCESS_KEY_ID)?, value(SECRET_ACCESS_KEY)?);
        Ok(Self::AccessKey(AccessKey { id, secret, security_token }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Keys<'a> = &'a [(&'a str, &'a str)];

    fn parse(keys: Keys<'_>) -> Result<&'static str, InvalidSet> {
        let data = |key: &str| keys.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_bytes());
        Set::parse(data).map(|set| match set {
            Set::Token(_) => "token",
            Set::AccessKey(AccessKey { security_token: None, .. }) => "key",
            Set::AccessKey(_) => "temporary key",
            Set::Login(_) => "login",
        })
    }

    #[test]
    fn i07_exactly_one_whole_set() {
        let (token, id, secret) = ((TOKEN, "t"), (ACCESS_KEY_ID, "a"), (SECRET_ACCESS_KEY, "s"));
        let (temporary, user, password) = ((SECURITY_TOKEN, "x"), (USERNAME, "u"), (PASSWORD, "p p"));
        let (domain, other) = ((DOMAIN_NAME, "d"), ("tls.crt", ""));
        let half = |has, lacks| Err(InvalidSet::Half { has, lacks });
        let several = |first, second| Err(InvalidSet::Several { first, second });
        let table: [(Keys<'_>, Result<&str, InvalidSet>); 15] = [
            (&[], Err(InvalidSet::None)),
            (&[other], Err(InvalidSet::None)),
            (&[token], Ok("token")),
            (&[token, other], Ok("token")),
            (&[id, secret], Ok("key")),
            (&[id, secret, temporary], Ok("temporary key")),
            (&[user, password, domain], Ok("login")),
            (&[id], half(ACCESS_KEY_ID, SECRET_ACCESS_KEY)),
            (&[secret], half(SECRET_ACCESS_KEY, ACCESS_KEY_ID)),
            (&[temporary], half(SECURITY_TOKEN, ACCESS_KEY_ID)),
            (&[user, password], half(USERNAME, DOMAIN_NAME)),
            (&[domain], half(DOMAIN_NAME, USERNAME)),
            (&[token, id, secret], several(TOKEN, ACCESS_KEY_ID)),
            (&[token, temporary], several(TOKEN, SECURITY_TOKEN)),
            (&[password, secret, id], several(ACCESS_KEY_ID, PASSWORD)),
        ];
        for (keys, expected) in table {
            assert_eq!(parse(keys), expected, "{keys:?}");
        }
        let bad = Err(InvalidSet::Value { key: SECRET_ACCESS_KEY, why: Unusable::Empty });
        assert_eq!(parse(&[id, (SECRET_ACCESS_KEY, "\n")]), bad);
        let bad = Err(InvalidSet::Value { key: SECURITY_TOKEN, why: Unusable::Byte(1) });
        assert_eq!(parse(&[id, secret, (SECURITY_TOKEN, "a b")]), bad);
    }

    #[test]
    fn messages_say_what_to_do_and_show_no_value() {
        let message = |keys: &[(&str, &str)]| parse(keys).unwrap_err().to_string();
        assert_eq!(message(&[(ACCESS_KEY_ID, "hidden")]), "it has accessKeyID and no secretAccessKey");
        let several = message(&[(TOKEN, "hidden"), (PASSWORD, "hidden")]);
        assert_eq!(several, "it holds keys of more than one set (token and password); leave one set");
        assert!(message(&[(TOKEN, "hid den")]).starts_with("the key token holds a byte outside printable"));
    }
}
