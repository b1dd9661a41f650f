//! The objects that a process works on: its shard; and which Secrets are none of its business.

pub mod selector;

use std::collections::BTreeMap;

pub use selector::Selector;

/// The objects that a process works on, by namespace and label.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Sorted, without repeats; empty means all namespaces.
    namespaces: Vec<String>,
    /// An empty selector means all objects.
    selector: Selector,
}

impl Scope {
    /// The objects with these labels in these namespaces; no namespace means all.
    #[must_use]
    pub fn new(mut namespaces: Vec<String>, selector: Selector) -> Self {
        namespaces.sort();
        namespaces.dedup();
        Self { namespaces, selector }
    }

    /// The watches that the scope needs: one for each namespace, or one of all namespaces (`None`).
    #[must_use]
    pub fn watches(&self) -> Vec<Option<String>> {
        if self.namespaces.is_empty() {
            return vec![None];
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }

    /// Whether the scope contains an object. Each live read asks this again, since the watch lags behind.
    #[must_use]
    pub fn holds(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        (self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == namespace))
            && self.selector.matches(labels)
    }

    /// The namespaces; empty means all.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// The label selector.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }
}

/// Whether Kubernetes itself defines a type of Secrets: those below `kubernetes.io`, and `bootstrap.kubernetes.io/token`.
#[must_use]
pub fn is_of_kubernetes(secret_type: &str) -> bool {
    let domain = secret_type.split('/').next().unwrap_or_default().to_ascii_lowercase();
    ["kubernetes.io", "k8s.io"]
        .iter()
        .any(|own| domain.strip_suffix(own).is_some_and(|below| below.is_empty() || below.ends_with('.')))
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
