//! Rust source as tokens: enough to find paths, without comments, strings and characters.

/// A token. Whatever tells nothing about paths is one of [`Other`](Token::Other).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword; a raw identifier without its `r#`.
    Word(String),
    /// `::`
    PathSeparator,
    /// Any other character, and `"` for a literal.
    Other(char),
}

/// The tokens of a source, each with its line, counted from 1.
pub(crate) fn tokens(source: &str) -> Vec<(Token, usize)> {
    let mut reader = Reader { rest: source, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = reader.next() {
        tokens.push(token);
    }
    tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<(Token, usize)> {
        loop {
            let first = self.rest.chars().next()?;
            let line = self.line;
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip(block_comment(self.rest));
            } else if let Some(length) = literal(self.rest) {
                self.skip(length);
                return Some((Token::Other('"'), line));
            } else if self.rest.starts_with("::") {
                self.skip(2);
                return Some((Token::PathSeparator, line));
            } else if first.is_alphanumeric() || first == '_' {
                let raw = if self.rest.starts_with("r#") { 2 } else { 0 };
                let word = word(self.rest.get(raw..).unwrap_or_default()).to_owned();
                self.skip(raw + word.len());
                return Some((Token::Word(word), line));
            } else {
                self.skip(first.len_utf8());
                return Some((Token::Other(first), line));
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

/// The word at the beginning of a text.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Length of the comment at the beginning of a text; comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string or character at the beginning of a text, if one is there. A lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix).unwrap_or_default();
        let raw = prefix.ends_with('r');
        rest.starts_with('"')
            || (raw && rest.trim_start_matches('#').starts_with('"'))
            || (matches!(*prefix, "b" | "") && rest.starts_with('\''))
    })?;
    let rest = text.strip_prefix(prefix)?;
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let content = rest.get(hashes + 1..)?;
        return Some(
            prefix.len() + hashes + 1 + content.find(&end).map_or(content.len(), |at| at + end.len()),
        );
    }
    let quote = rest.chars().next()?;
    if quote == '\'' && prefix.is_empty() {
        let mut chars = rest.chars().skip(1);
        let (character, after) = (chars.next()?, chars.next()?);
        if character != '\\' && after != '\'' {
            return None;
        }
    }
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    Some(prefix.len() + end.map_or(rest.len(), |(at, c)| at + c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::{Token, tokens};

    fn words(source: &str) -> Vec<String> {
        let words = tokens(source).into_iter().filter_map(|(token, _)| match token {
            Token::Word(word) => Some(word),
            _ => None,
        });
        words.collect()
    }

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let cases: [(&str, &[&str]); 12] = [
            ("a // b\nc", &["a", "c"]),
            ("a /* b /* c */ d */ e", &["a", "e"]),
            ("a \"b \\\" c\" d", &["a", "d"]),
            ("a r\"b\\\" c", &["a", "c"]),
            ("a r#\"b \" c\"# d", &["a", "d"]),
            ("a b\"c\" br#\"d\"# c\"e\" f", &["a", "f"]),
            ("a 'b' '\\'' b'c' d", &["a", "d"]),
            ("'a b 'static c", &["a", "b", "static", "c"]),
            ("r#type r", &["type", "r"]),
            ("''' a", &["a"]),
            ("\"ä\" b", &["b"]),
            ("break 'outer \"x\"; br", &["break", "outer", "br"]),
        ];
        for (source, expected) in cases {
            assert_eq!(words(source), expected, "{source}");
        }
    }

    #[test]
    fn each_token_has_its_line() {
        let lines: Vec<usize> = tokens("a\n/* b\n */ c \"\n\" d").into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, [1, 3, 3, 4]);
    }
}
