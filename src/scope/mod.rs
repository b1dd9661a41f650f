//! What a process works on: its shard.

pub mod selector;

use std::collections::BTreeMap;

pub use selector::Selector;

/// What a process works on.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Namespaces, sorted, each once; empty: all.
    namespaces: Vec<String>,
    /// Labels; empty: all objects.
    selector: Selector,
}

impl Scope {
    /// Of these namespaces (none: of all), the objects with these labels.
    #[must_use]
    pub fn new(mut namespaces: Vec<String>, selector: Selector) -> Self {
        namespaces.sort();
        namespaces.dedup();
        Self { namespaces, selector }
    }

    /// The watches that it takes: one for each namespace, or one for all (none).
    #[must_use]
    pub fn watches(&self) -> Vec<Option<String>> {
        if self.namespaces.is_empty() {
            return vec![None];
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }

    /// Whether an object is part of it. The watch lags behind, so each live read asks again.
    #[must_use]
    pub fn holds(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        (self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == namespace))
            && self.selector.matches(labels)
    }

    /// The namespaces; empty: all.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// The labels.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_is_in_a_namespace_and_has_the_labels() {
        let fleet = BTreeMap::from([("team".to_owned(), "fleet".to_owned())]);
        let scope = |namespaces: &[&str], selector: &str| {
            Scope::new(namespaces.iter().map(|n| (*n).to_owned()).collect(), selector.parse().unwrap())
        };
        let table = [
            (scope(&[], ""), true),
            (scope(&["b", "a"], ""), true),
            (scope(&["b"], ""), false),
            (scope(&[], "team=fleet"), true),
            (scope(&["a"], "team!=fleet"), false),
        ];
        for (scope, holds) in table {
            assert_eq!(scope.holds("a", &fleet), holds, "{scope:?}");
        }
        assert_eq!(scope(&[], "x").watches(), [None]);
        assert_eq!(scope(&["b", "a", "b"], "").watches(), [Some("a".to_owned()), Some("b".to_owned())]);
    }
}
