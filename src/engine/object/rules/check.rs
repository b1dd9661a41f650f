//! The *check* rule: an instance is sent only if it is what `spec.expect` says, and no guard protects it.

use super::facts::Facts;
use crate::{
    api::FailureReason,
    engine::{id::InstanceId, instance_facts::Judged, object::state::observations::Observation},
};

/// What the checks say of one instance, by the facts that its newest read showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing against it.
    Passes,
    /// This fact is needed, and the read did not show it.
    Unknown(&'static str),
    /// It must not be sent: the reason of its row, and why, for a person.
    Fails(FailureReason, String),
}

/// Judges one instance. What is certain outweighs what is unknown.
#[must_use]
pub fn check(id: InstanceId, observation: &Observation, facts: &Facts<'_>) -> Check {
    let of_instance = observation.facts.as_deref();
    let expected = facts.spec.expectation.as_ref().map_or(Judged::Passes, |e| e.judge(of_instance));
    let guards = facts.memory.guards();
    let allowed = guards.map_or(Judged::Passes, |g| g.protects(id, of_instance, &facts.spec.meta.allowed));
    match (expected, allowed) {
        (Judged::Fails(why), _) => Check::Fails(FailureReason::NotAsExpected, why),
        (_, Judged::Fails(why)) => Check::Fails(FailureReason::Protected, why),
        (Judged::Unknown(fact), _) | (_, Judged::Unknown(fact)) => Check::Unknown(fact),
        (Judged::Passes, Judged::Passes) => Check::Passes,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        api::{DeletionGuardSpec, Expect, Protected},
        engine::{
            instance_facts::InstanceFacts,
            object::{
                state::{
                    expectation::Expectation,
                    guards::{Guard, Guards},
                },
                tests::case::{Case, then},
            },
            state::{Live, Seen},
        },
    };

    fn judged(expected: Option<&str>, protected: Option<&str>, name: Option<&str>) -> Check {
        let mut case = Case::pending();
        case.spec.expectation =
            expected.map(|name| Expectation::from(&Expect { name: Some(name.into()), ..Expect::default() }));
        let names = protected.map(|pattern| vec![pattern.to_owned()]);
        let spec = DeletionGuardSpec {
            protected: Some(Protected { names, ..Protected::default() }),
            ..DeletionGuardSpec::default()
        };
        let guards = Guards::of(vec![Guard { name: "g".into(), spec }], &BTreeMap::new()).unwrap();
        let (id, spec) = (case.id(), case.spec.clone());
        case.memory.judge_by(Some(&Arc::new(guards)), &spec, then());
        let facts = InstanceFacts { name: name.map(str::to_owned), ..InstanceFacts::default() };
        case.memory.saw_facts(id, Seen::Live(Live::Running), then().into(), Some(&Arc::new(facts)));
        case.judge(crate::engine::object::tests::case::at(then()), |_, facts| {
            check(id, facts.memory.observation(0), facts)
        })
    }

    #[test]
    fn what_is_certain_outweighs_what_is_unknown_and_the_author_comes_first() {
        let fails = |reason, why: &str| Check::Fails(reason, why.to_owned());
        let (expected, protected) = (FailureReason::NotAsExpected, FailureReason::Protected);
        let table = [
            (None, None, None, Check::Passes),
            (Some("a*"), None, Some("ab"), Check::Passes),
            (Some("a*"), Some("x*"), Some("ab"), Check::Passes),
            (Some("a*"), None, None, Check::Unknown("name")),
            (None, Some("a*"), None, Check::Unknown("name")),
            (
                Some("a*"),
                Some("*b"),
                Some("ab"),
                fails(protected, "guard g: its name is ab, and *b is protected"),
            ),
            (Some("x*"), Some("*b"), Some("ab"), fails(expected, "its name is ab, expected x*")),
            (Some("x*"), None, Some("ab"), fails(expected, "its name is ab, expected x*")),
        ];
        for (expect, protect, name, check) in table {
            assert_eq!(judged(expect, protect, name), check, "{expect:?} {protect:?} {name:?}");
        }
    }
}
