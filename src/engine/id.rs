//! The ids of an instance and of its server, parsed.

use std::{fmt, sync::Arc};

/// Id of a CloudDC instance: a lower-case UUID, as in the vendor's SDK (`[0-9a-f]{8}-…`).
///
/// Ids are in the order of their text: the first byte is the first two digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId([u8; 16]);

/// The text is not a lower-case UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a lower-case UUID such as 0198170e-4ca7-7ee4-89a7-fa631843920b")]
pub struct InvalidId;

const LENGTH: usize = 36;
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl InstanceId {
    /// Parses an id exactly as the schema admits it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.len() != LENGTH {
            return Err(InvalidId);
        }
        let mut value: u128 = 0;
        for (position, byte) in text.bytes().enumerate() {
            let digit = match (HYPHENS.contains(&position), byte) {
                (true, b'-') => continue,
                (false, b'0'..=b'9') => byte - b'0',
                (false, b'a'..=b'f') => byte - b'a' + 10,
                _ => return Err(InvalidId),
            };
            value = (value << 4) | u128::from(digit);
        }
        Ok(Self::from_u128(value))
    }

    /// Parses an id as the cloud may spell it in a reply: other case or padding names the same instance.
    pub fn parse_reply(text: &str) -> Result<Self, InvalidId> {
        Self::parse(&text.trim().to_ascii_lowercase())
    }

    /// The id with this number; for tests and generators.
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        Self(value.to_be_bytes())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", u128::from_be_bytes(self.0));
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Id of a physical server, as the cloud spells it. The vendor gives no form for it.
///
/// It names a server, and not the instance on it: after that instance is gone the server may carry another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(Arc<str>);

/// The text is no id of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 1 to 64 letters, digits, hyphens and underscores")]
pub struct InvalidServerId;

impl ServerId {
    /// Parses an id from a reply.
    pub fn parse(text: &str) -> Result<Self, InvalidServerId> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(known);
        if valid { Ok(Self(text.into())) } else { Err(InvalidServerId) }
    }

    /// The id as the cloud spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_server_is_kept_as_it_is_spelled() {
        for id in ["0198170E-4ca7-7ee4-89a7-fa631843920b", "srv_1", "a"] {
            assert_eq!(ServerId::parse(id).unwrap().as_str(), id);
        }
        for bad in ["", "a b", "a/../b", "a,b", "é", "\"", &"x".repeat(65)] {
            assert_eq!(ServerId::parse(bad), Err(InvalidServerId), "{bad:?}");
        }
    }

    const GOOD: &str = "0198170e-4ca7-7ee4-89a7-fa631843920b";

    #[test]
    fn prints_what_it_parsed() {
        assert_eq!(InstanceId::parse(GOOD).unwrap().to_string(), GOOD);
        assert_eq!(format!("{:?}", InstanceId::parse(GOOD).unwrap()), GOOD);
        assert_eq!(
            InstanceId::parse("00000000-0000-0000-0000-000000000001").unwrap(),
            InstanceId::from_u128(1)
        );
    }

    #[test]
    fn refuses_every_other_spelling() {
        for bad in [
            "",
            " ",
            "0198170E-4CA7-7EE4-89A7-FA631843920B",
            "0198170e-4ca7-7ee4-89a7-fa631843920",
            "0198170e-4ca7-7ee4-89a7-fa631843920bb",
            " 198170e-4ca7-7ee4-89a7-fa631843920b",
            "0198170e-4ca7-7ee4-89a7-fa631843920b\n",
            "0198170e4ca77ee489a7fa631843920b",
            "{198170e-4ca7-7ee4-89a7-fa631843920}",
            "0198170e-4ca7-7ee4-89a7-fa63184392/b",
            "../../etc-4ca7-7ee4-89a7-fa631843920b",
            "0198170g-4ca7-7ee4-89a7-fa631843920b",
            "0198170e-4ca7-7ee4-89a7-fa631843920é",
        ] {
            assert_eq!(InstanceId::parse(bad), Err(InvalidId), "{bad:?}");
        }
    }

    #[test]
    fn c17_a_reply_may_spell_an_id_in_other_case_or_padded() {
        for spelled in ["0198170E-4CA7-7EE4-89A7-FA631843920B", " 0198170e-4ca7-7ee4-89a7-fa631843920b "] {
            assert_eq!(InstanceId::parse_reply(spelled).unwrap().to_string(), GOOD, "{spelled:?}");
        }
        assert_eq!(InstanceId::parse_reply("0198170e"), Err(InvalidId));
    }
}
