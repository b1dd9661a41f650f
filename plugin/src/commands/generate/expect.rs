//! `spec.expect` from the choice.

use std::collections::BTreeMap;

use instance_deletion_controller::{
    api::{Expect, MAX_TAGS, Moment},
    cloud::InventoryInstance,
    engine::instance_facts::InstanceFacts,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::choose::Choice;

/// What the options say of the instances. Where they say nothing that `expect` can hold, as with `--rack` alone, what all of
/// the chosen instances have in common: VPC, tags, and that they were created before the moment after the newest.
/// `None` if nothing is known.
pub fn of(choice: &Choice, chosen: &[InventoryInstance]) -> Option<Expect> {
    let said = &choice.expect;
    let expect = if *said == Expect::default() { common(chosen) } else { said.clone() };
    (expect != Expect::default()).then_some(expect)
}

fn common(chosen: &[InventoryInstance]) -> Expect {
    let facts: Vec<&InstanceFacts> = chosen.iter().map(|row| &row.facts).collect();
    let Some((first, rest)) = facts.split_first() else { return Expect::default() };
    let vpc_id =
        first.vpc_id.clone().filter(|vpc| rest.iter().all(|other| other.vpc_id.as_ref() == Some(vpc)));
    let mut tags: BTreeMap<String, String> = first.tags.clone().unwrap_or_default();
    tags.retain(|key, value| {
        let has =
            |other: &&InstanceFacts| other.tags.as_ref().is_some_and(|tags| tags.get(key) == Some(value));
        rest.iter().all(has) && (1..=128).contains(&key.chars().count()) && value.chars().count() <= 255
    });
    let tags: BTreeMap<String, String> = tags.into_iter().take(MAX_TAGS).collect();
    let newest: Option<Vec<Timestamp>> = facts.iter().map(|facts| facts.created_at).collect();
    let after = newest.and_then(|all| all.into_iter().max()?.checked_add(SignedDuration::from_secs(1)).ok());
    Expect {
        name: None,
        vpc_id,
        tags: Some(tags).filter(|tags| !tags.is_empty()),
        created_before: after.map(Moment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vpc: &str, tags: &[(&str, &str)], created: &str) -> InventoryInstance {
        let facts = InstanceFacts {
            vpc_id: Some(vpc.to_owned()),
            tags: Some(tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            created_at: created.parse().ok(),
            ..InstanceFacts::default()
        };
        InventoryInstance { facts, ..InventoryInstance::default() }
    }

    #[test]
    fn what_all_have_in_common_is_expected() {
        let rows = [
            row("v", &[("rack", "12"), ("env", "a")], "2026-01-01T00:00:00Z"),
            row("v", &[("rack", "12"), ("env", "b")], "2026-02-01T00:00:00Z"),
        ];
        let expected = Expect {
            name: None,
            vpc_id: Some("v".to_owned()),
            tags: Some(BTreeMap::from([("rack".to_owned(), "12".to_owned())])),
            created_before: Some(Moment("2026-02-01T00:00:01Z".parse().unwrap())),
        };
        assert_eq!(common(&rows), expected);
        let mut unknown = rows.to_vec();
        unknown.push(InventoryInstance::default());
        assert_eq!(common(&unknown), Expect::default(), "an unknown fact is in common with none");
    }
}
