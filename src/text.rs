//! Texts from outside, as people may read them.

/// Most characters that are kept of an error's text: it may be a whole page.
const ERROR: usize = 256;

/// An error's text, bounded and without passwords.
#[must_use]
pub fn bounded(text: &str) -> String {
    without_passwords(text).chars().take(ERROR).collect()
}

/// Hides the user and the password of each URL: the proxy of `HTTPS_PROXY` may have some, and errors of libraries quote it.
#[must_use]
pub fn without_passwords(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(without_password).collect()
}

/// Hides what stands before the last `@` of a word, if the word is a URL or has a `:` there.
fn without_password(word: &str) -> String {
    let Some((before, host)) = word.rsplit_once('@') else { return word.to_owned() };
    let (start, user) = match before.split_once("://") {
        Some((scheme, user)) => (&before[..scheme.len() + 3], user),
        None => before.split_at(before.len() - before.trim_start_matches(['"', '\'', '(', '`']).len()),
    };
    if start.is_empty() && !user.contains(':') || user.is_empty() {
        return word.to_owned();
    }
    format!("{start}(hidden)@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_a_url_is_shown() {
        let table = [
            ("proxy ftp://u:p@host:1/ is odd", "proxy ftp://(hidden)@host:1/ is odd"),
            (
                "\"http://u:p/a@b@host\" and http://t@host",
                "\"http://(hidden)@host\" and http://(hidden)@host",
            ),
            ("no scheme: u:p@host:3128", "no scheme: (hidden)@host:3128"),
            ("(\"u:p@host\")", "(\"(hidden)@host\")"),
            ("mail someone@example.org", "mail someone@example.org"),
            ("at 10:30, http://host/a", "at 10:30, http://host/a"),
            ("", ""),
            ("@", "@"),
        ];
        for (text, shown) in table {
            assert_eq!(without_passwords(text), shown, "{text}");
        }
        assert_eq!(bounded(&format!("http://user:pass@host/{}", "x".repeat(500))).len(), 256);
    }
}
