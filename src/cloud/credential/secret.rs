//! A secret value that can't be printed.

use http::{HeaderValue, header::InvalidHeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// A value of a Secret. It has neither Debug nor Display, and its memory is cleared.
#[derive(Clone)]
pub struct Secret(SecretString);

/// Why bytes are not a value. No message shows any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There are none.
    #[error("is empty")]
    Empty,
    /// A byte that the value may not have.
    #[error("holds a byte outside printable ASCII at position {0}, such as a space or a line break")]
    Byte(usize),
}

impl Secret {
    /// Parses a value of a Secret. One trailing line break is cut off: editors and `echo` leave it there.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        Self::of(bytes, |byte| byte.is_ascii_graphic())
    }

    /// Parses a name or a password, which may have spaces.
    pub fn parse_with_spaces(bytes: &[u8]) -> Result<Self, Unusable> {
        Self::of(bytes, |byte| byte.is_ascii_graphic() || byte == b' ')
    }

    fn of(bytes: &[u8], allowed: impl Fn(u8) -> bool) -> Result<Self, Unusable> {
        let bytes = bytes.strip_suffix(b"\n").map_or(bytes, |b| b.strip_suffix(b"\r").unwrap_or(b));
        if bytes.is_empty() {
            return Err(Unusable::Empty);
        }
        if let Some(position) = bytes.iter().position(|byte| !allowed(*byte)) {
            return Err(Unusable::Byte(position));
        }
        Ok(Self(SecretString::from(String::from_utf8_lossy(bytes).into_owned())))
    }

    /// The value of a header, marked so that no HTTP library prints it.
    pub fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(self.expose())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns the text with every occurrence replaced: a server may echo a secret in an error.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        text.replace(self.expose(), "[redacted]")
    }

    /// The value itself. Only for requests.
    pub(in crate::cloud) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i07_one_trailing_line_break_is_cut_off_and_nothing_else() {
        let table: [(&[u8], Result<&str, Unusable>); 10] = [
            (b"MIIF", Ok("MIIF")),
            (b"MIIF\n", Ok("MIIF")),
            (b"MIIF\r\n", Ok("MIIF")),
            (b"MIIF\n\n", Err(Unusable::Byte(4))),
            (b" MIIF", Err(Unusable::Byte(0))),
            (b"MI IF", Err(Unusable::Byte(2))),
            (b"MI\xffIF", Err(Unusable::Byte(2))),
            (b"MIIF\r", Err(Unusable::Byte(4))),
            (b"", Err(Unusable::Empty)),
            (b"\n", Err(Unusable::Empty)),
        ];
        for (bytes, expected) in table {
            let value = Secret::parse(bytes).map(|secret| secret.expose().to_owned());
            assert_eq!(value, expected.map(str::to_owned), "{bytes:?}");
        }
        let password = Secret::parse_with_spaces(b"a b\n").map(|secret| secret.expose().to_owned());
        assert_eq!(password.as_deref(), Ok("a b"));
        assert!(Secret::parse_with_spaces(b"a\tb").is_err());
    }

    #[test]
    fn s11_an_echoed_secret_is_redacted() {
        let token = Secret::parse(b"very-secret").unwrap();
        assert_eq!(token.redact("bad token very-secret!"), "bad token [redacted]!");
        assert!(format!("{:?}", token.header().unwrap()).contains("Sensitive"));
    }
}
