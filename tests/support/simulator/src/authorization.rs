//! The header `Authorization: SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…`.

use std::collections::BTreeSet;

pub(crate) const ALGORITHM: &str = "SDK-HMAC-SHA256";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    /// Id of the access key.
    pub(crate) access: &'a str,
    /// As listed.
    pub(crate) signed_headers: &'a str,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Authorization<'a> {
    /// None: malformed.
    pub(crate) fn read(header: &'a str) -> Option<Self> {
        let mut fields = header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?.split(',').map(str::trim);
        let mut field = |name: &str| fields.next()?.strip_prefix(name).filter(|value| !value.is_empty());
        let (access, signed_headers) = (field("Access=")?, field("SignedHeaders=")?);
        let signature = read_hex(field("Signature=")?)?;
        fields.next().is_none().then_some(Self { access, signed_headers, signature })
    }

    /// Sorted, as the rule has them, and lower-cased.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.signed_headers.split(';').map(str::to_ascii_lowercase).collect()
    }
}

/// 64 lower-case hexadecimal digits.
fn read_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().map(digit).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    (digits.len() == 64 && rest.is_empty()).then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_form_is_read() {
        let hex = "0f".repeat(32);
        let good = format!("SDK-HMAC-SHA256 Access=AK, SignedHeaders=x-sdk-date;host, Signature={hex}");
        let read = Authorization::read(&good).unwrap();
        assert_eq!((read.access, read.signed_headers), ("AK", "x-sdk-date;host"));
        assert_eq!(read.signature, [15; 32]);
        assert_eq!(read.names().into_iter().collect::<Vec<_>>(), ["host", "x-sdk-date"]);
        for bad in [
            "",
            "Bearer x",
            "SDK-HMAC-SHA256",
            "SDK-HMAC-SHA256 Access=AK",
            &good.replace("SHA256", "SM3"),
            &good.replace("Access=AK", "Access="),
            &good.replace("Access", "Credential"),
            &good.replace("SignedHeaders=x-sdk-date;host, ", ""),
            &good.replace("0f0f", "0F0F"),
            &good.replace("0f0f", "+f0f"),
            &format!("{good}00"),
            &format!("{good}, More=1"),
            good.get(..good.len() - 1).unwrap(),
        ] {
            assert_eq!(Authorization::read(bad), None, "{bad}");
        }
    }
}
