//! `--selector`, parsed. The watch passes it to the API server as text; each live read is matched against it here.

use std::{collections::BTreeMap, fmt, str::FromStr};

use kube::core::{Expression, SelectorExt};

/// A label selector in kubectl's syntax. Selectors that differ only in order are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(kube::core::Selector);

impl Selector {
    /// Whether the selector matches every object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.selects_all()
    }

    /// Whether the selector matches these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let parsed: Option<Vec<_>> = requirements(text).into_iter().map(requirement).collect();
        let mut parsed = parsed.ok_or_else(|| {
            format!("{text:?} is not a label selector such as team=fleet,tier!=prod,rack in (a,b),!old")
        })?;
        parsed.sort();
        parsed.dedup();
        Ok(Self(parsed.into_iter().collect()))
    }
}

/// Splits at commas outside parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        inside = c == '(' || inside && c != ')';
        c == ',' && !inside
    })
    .map(str::trim)
    .collect()
}

fn requirement(text: &str) -> Option<Expression> {
    if let Some(label) = text.strip_prefix('!') {
        return Some(Expression::DoesNotExist(key(label)?));
    }
    if let Some((label, wanted)) = text.split_once("!=") {
        return Some(Expression::NotEqual(key(label)?, value(wanted)?));
    }
    if let Some((label, wanted)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Expression::Equal(key(label)?, value(wanted)?));
    }
    let Some((label, rest)) = text.split_once(char::is_whitespace) else {
        return Some(Expression::Exists(key(text)?));
    };
    let rest = rest.trim_start();
    let (negative, list) = match rest.strip_prefix("notin") {
        Some(list) => (true, list),
        None => (false, rest.strip_prefix("in")?),
    };
    let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
    let values =
        list.split(',').map(|each| value(each).filter(|each| !each.is_empty())).collect::<Option<_>>()?;
    let label = key(label)?;
    Some(if negative { Expression::NotIn(label, values) } else { Expression::In(label, values) })
}

/// Parses the key of a label. The API server checks the remaining rules; these only tell a key from other text.
fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("prefix", text));
    (!prefix.is_empty() && !prefix.contains('/') && is_word(prefix) && !name.is_empty() && is_word(name))
        .then(|| text.to_owned())
}

/// Parses the value of a label, which may be empty.
fn value(text: &str) -> Option<String> {
    let text = text.trim();
    is_word(text).then(|| text.to_owned())
}

fn is_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let outer = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().all(|b| inner(*b)) && outer(bytes.first()) && outer(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn it_selects_what_the_api_server_selects() {
        let fleet = labels(&[("team", "fleet"), ("example.com/tier", "prod")]);
        let table = [
            ("", true),
            (" ", true),
            ("team=fleet", true),
            ("team==fleet", true),
            (" team = fleet ", true),
            ("team=other", false),
            ("team=", false),
            ("team!=other", true),
            ("team!=fleet", false),
            ("rack!=a", true),
            ("team", true),
            ("rack", false),
            ("!rack", true),
            ("! team", false),
            ("team in (fleet, other)", true),
            ("team in (other)", false),
            ("team notin (other,another)", true),
            ("team notin(fleet)", false),
            ("rack notin (a)", true),
            ("rack in (a)", false),
            ("example.com/tier=prod,team in (fleet,other),!rack", true),
            ("example.com/tier=prod,team in (fleet,other),rack", false),
        ];
        for (text, selected) in table {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(&fleet), selected, "{text}");
        }
    }

    #[test]
    fn the_order_of_words_is_no_difference() {
        let one: Selector = "b notin (y, x),a=1 , c".parse().unwrap();
        let other: Selector = "c,a==1,b notin (x,y),c".parse().unwrap();
        assert_eq!(one.to_string(), other.to_string());
        // The API server parses this text.
        assert_eq!(one.to_string().parse::<Selector>().unwrap(), one);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            ",",
            "a,",
            "=x",
            "a=b=c",
            "a>1",
            "a in ()",
            "a in (x",
            "a in x",
            "a in (x,,y)",
            "a b",
            "a(b)",
            "-a",
            "a=b c",
            "/a",
            "x/",
            "a/b/c",
            "!",
            "a!",
            "é=1",
            "a in (x) y",
        ] {
            let message = text.parse::<Selector>().unwrap_err();
            assert!(message.contains("such as team=fleet"), "{text}: {message}");
        }
    }
}
