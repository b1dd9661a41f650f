//! Patterns of names, as `spec.expect` and guards write them.

/// A pattern for a whole name: `*` stands for any characters, also none, and `?` for one character. Nothing else is special, and
/// upper and lower case differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(String);

impl Glob {
    /// The pattern with this text.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether it matches the whole name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut pos) = (0, 0);
        // Where to go on if the rest does not match: the last star stands for one character more.
        let mut retry = None;
        while let Some(character) = name.get(pos) {
            match pattern.get(at) {
                Some('*') => {
                    at += 1;
                    retry = Some((at, pos));
                }
                Some(wanted) if *wanted == '?' || wanted == character => (at, pos) = (at + 1, pos + 1),
                Some(_) | None => {
                    let Some((after_star, from)) = retry else { return false };
                    (at, pos) = (after_star, from + 1);
                    retry = Some((after_star, from + 1));
                }
            }
        }
        pattern.iter().skip(at).all(|rest| *rest == '*')
    }
}

impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_a_pattern_matches_whole_names() {
        let table = [
            ("rack-12-*", "rack-12-7", true),
            ("rack-12-*", "rack-12-", true),
            ("rack-12-*", "rack-12", false),
            ("rack-12-*", "old-rack-12-7", false),
            ("*-db-*", "eu-db-7", true),
            ("*-db-*", "db-7", false),
            ("*", "", true),
            ("?", "", false),
            ("?", "é", true),
            ("??", "é", false),
            ("a*b*c", "axxbxxbxc", true),
            ("a*b*c", "axxbxxbx", false),
            ("*a", "aaab", false),
            ("*ab", "aaab", true),
            ("a**b", "ab", true),
            ("rack-12", "Rack-12", false),
            ("a.c", "abc", false),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, name, matches) in table {
            assert_eq!(Glob::new(pattern).matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_exponential_time() {
        let pattern = "*a".repeat(60) + "b";
        assert!(!Glob::new(&pattern).matches(&"a".repeat(255)));
    }
}
