//! Mistakes that an engineer could make in this protocol.

mod decisions;
mod effects;
mod power_off;

use crate::checks::Check;

/// One mistake.
pub struct Mistake {
    /// Its name.
    pub name: &'static str,
    /// The file that holds it.
    pub file: &'static str,
    /// The text that it takes the place of; it stands there exactly once.
    pub find: &'static str,
    /// The mistake.
    pub replace: &'static str,
    /// The checks that must find it, each of them.
    pub found_by: &'static [Check],
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Mistake> {
    decisions::MISTAKES.iter().chain(effects::MISTAKES).chain(power_off::MISTAKES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_where_it_says_exactly_once() {
        let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");
        for mistake in all() {
            let text = std::fs::read_to_string(format!("{project}/{}", mistake.file)).unwrap();
            assert_eq!(text.matches(mistake.find).count(), 1, "{}", mistake.name);
        }
    }
}
