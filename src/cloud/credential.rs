//! Credentials: types that can't be printed.

use futures::future::BoxFuture;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::engine::reply::{Note, Trouble};

/// A token for X-Auth-Token. It has neither Debug nor Display.
pub struct Token(SecretString);

/// Why bytes are no token. No message shows any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// There is nothing.
    #[error("the key token is empty")]
    Empty,
    /// A byte that no token has.
    #[error(
        "the key token holds a byte outside printable ASCII at position {0}, such as a space or a line break"
    )]
    Byte(usize),
}

impl Token {
    /// Takes the bytes of a Secret. One trailing line break is cut off: editors and `echo` leave it there.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidToken> {
        let bytes = bytes.strip_suffix(b"\n").map_or(bytes, |b| b.strip_suffix(b"\r").unwrap_or(b));
        if bytes.is_empty() {
            return Err(InvalidToken::Empty);
        }
        if let Some(position) = bytes.iter().position(|b| !b.is_ascii_graphic()) {
            return Err(InvalidToken::Byte(position));
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        Ok(Self(SecretString::from(text)))
    }

    /// The header's value, marked so that no HTTP library prints it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.0.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Text with every occurrence of the token replaced: a server may echo it in an error.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.0.expose_secret(), "[redacted]")
    }
}

/// A token, and the version of where it came from.
pub struct Credential {
    /// The token.
    pub token: Token,
    /// Another version may be another token.
    pub version: String,
}

/// Why there is no credential.
#[derive(Clone, Debug)]
pub struct CredentialProblem {
    /// What stands in the way.
    pub trouble: Trouble,
    /// Details, without the value.
    pub note: Note,
    /// The version that was read, if one was.
    pub version: Option<String>,
}

/// Where credentials come from. It is asked right before each use, so that a rotation takes effect at the next call.
pub trait CredentialSource: Send + Sync + 'static {
    /// Reads the credential as it is now.
    fn read(&self) -> BoxFuture<'_, Result<Credential, CredentialProblem>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i07_one_trailing_line_break_is_cut_off_and_nothing_else() {
        let table: [(&[u8], Result<&str, InvalidToken>); 10] = [
            (b"MIIF", Ok("MIIF")),
            (b"MIIF\n", Ok("MIIF")),
            (b"MIIF\r\n", Ok("MIIF")),
            (b"MIIF\n\n", Err(InvalidToken::Byte(4))),
            (b" MIIF", Err(InvalidToken::Byte(0))),
            (b"MI IF", Err(InvalidToken::Byte(2))),
            (b"MI\xffIF", Err(InvalidToken::Byte(2))),
            (b"MIIF\r", Err(InvalidToken::Byte(4))),
            (b"", Err(InvalidToken::Empty)),
            (b"\n", Err(InvalidToken::Empty)),
        ];
        for (bytes, expected) in table {
            let parsed = Token::parse(bytes);
            let value = parsed.as_ref().map(|t| t.header().unwrap().to_str().unwrap().to_owned());
            assert_eq!(value.map_err(|e| *e), expected.map(str::to_owned), "{bytes:?}");
        }
    }

    #[test]
    fn s11_an_echoed_token_is_redacted() {
        let token = Token::parse(b"very-secret").unwrap();
        assert_eq!(token.redact("bad token very-secret!"), "bad token [redacted]!");
        assert!(format!("{:?}", token.header().unwrap()).contains("Sensitive"));
    }
}
