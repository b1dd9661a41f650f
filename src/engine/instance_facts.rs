//! Facts of an instance: what a row of a list tells of it besides its state.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::id::ServerId;

/// What a row of a list tells of an instance (vendor: ListInstances). A fact that is missing or odd there is unknown, and
/// spoils no other. ShowInstanceStatus tells none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InstanceFacts {
    /// Its name.
    pub name: Option<String>,
    /// The VPC that it is in.
    pub vpc_id: Option<String>,
    /// Its tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// The physical server that it runs on.
    pub server_id: Option<ServerId>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
}

/// What a check says of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nothing against it.
    Passes,
    /// What the check asks for was not read: this fact.
    Unknown(&'static str),
    /// It does not pass, and here is why, for a person.
    Fails(String),
}

/// Most characters of a name or value from the cloud that a message shows.
const SHOWN: usize = 64;

/// Text from the cloud as a message or a plan shows it: bounded, and without control characters.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_bounded_and_has_no_control_characters() {
        assert_eq!(shown("rack-12\u{1b}[31m\nx"), "rack-12?[31m?x");
        assert_eq!(shown(&"é".repeat(100)).chars().count(), 64);
    }
}
