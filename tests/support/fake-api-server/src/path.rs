//! The object or collection that a URL names.

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Group of its API; empty for the core.
    pub group: String,
    /// Its kind, in the plural.
    pub plural: String,
    /// Namespace.
    pub namespace: String,
    /// Name; empty for a collection.
    pub name: String,
}

impl Place {
    /// The resource as error messages name it: `PLURAL.GROUP`.
    #[must_use]
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// A parsed path. A place of the whole cluster has no namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// All objects of a kind in a namespace, or of the cluster.
    Collection(Place),
    /// One object.
    Object(Place),
    /// Its status.
    Status(Place),
}

impl Path {
    /// Parses a path; none if it is not that of a resource.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match segments.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let place = |namespace: &str, plural: &str, name: &str| Place {
            group: group.to_owned(),
            plural: plural.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match rest {
            ["namespaces", namespace, plural] => Some(Self::Collection(place(namespace, plural, ""))),
            ["namespaces", namespace, plural, name] => Some(Self::Object(place(namespace, plural, name))),
            ["namespaces", namespace, plural, name, "status"] => {
                Some(Self::Status(place(namespace, plural, name)))
            }
            [plural] => Some(Self::Collection(place("", plural, ""))),
            [plural, name] => Some(Self::Object(place("", plural, name))),
            _ => None,
        }
    }
}
