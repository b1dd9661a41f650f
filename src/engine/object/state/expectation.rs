//! The parsed `spec.expect`: what every listed instance is.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::Expect,
    engine::{
        glob::Glob,
        instance_facts::{InstanceFacts, Judged, shown},
    },
};

/// What every instance of an object is, as its author says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expectation {
    name: Option<Glob>,
    vpc_id: Option<String>,
    tags: BTreeMap<String, String>,
    created_before: Option<Timestamp>,
}

impl From<&Expect> for Expectation {
    fn from(expect: &Expect) -> Self {
        Self {
            name: expect.name.as_deref().map(Glob::new),
            vpc_id: expect.vpc_id.clone(),
            tags: expect.tags.clone().unwrap_or_default(),
            created_before: expect.created_before.map(|moment| moment.0),
        }
    }
}

impl Expectation {
    /// What it says of an instance whose facts are these; none if none were read. A fact that differs outweighs one that is
    /// unknown.
    #[must_use]
    pub fn judge(&self, facts: Option<&InstanceFacts>) -> Judged {
        let nothing = InstanceFacts::default();
        let facts = facts.unwrap_or(&nothing);
        let mut unknown = None;
        for judged in [self.name(facts), self.vpc(facts), self.tags(facts), self.age(facts)] {
            match judged {
                Judged::Fails(why) => return Judged::Fails(why),
                Judged::Unknown(fact) => unknown = unknown.or(Some(fact)),
                Judged::Passes => {}
            }
        }
        unknown.map_or(Judged::Passes, Judged::Unknown)
    }

    fn name(&self, facts: &InstanceFacts) -> Judged {
        judge(self.name.as_ref(), facts.name.as_ref(), "name", |expected, name| {
            let differs = || format!("its name is {}, expected {expected}", shown(name));
            (!expected.matches(name)).then(differs)
        })
    }

    fn vpc(&self, facts: &InstanceFacts) -> Judged {
        judge(self.vpc_id.as_ref(), facts.vpc_id.as_ref(), "VPC", |expected, vpc| {
            (vpc != expected).then(|| format!("its VPC is {}, expected {expected}", shown(vpc)))
        })
    }

    fn tags(&self, facts: &InstanceFacts) -> Judged {
        let expected = Some(&self.tags).filter(|tags| !tags.is_empty());
        judge(expected, facts.tags.as_ref(), "tags", |expected, tags| {
            expected.iter().find_map(|(key, expected)| match tags.get(key) {
                Some(value) if value == expected => None,
                Some(value) => Some(format!("its tag {key} is {}, expected {expected}", shown(value))),
                None => Some(format!("it has no tag {key}, expected {expected}")),
            })
        })
    }

    fn age(&self, facts: &InstanceFacts) -> Judged {
        judge(
            self.created_before.as_ref(),
            facts.created_at.as_ref(),
            "time of creation",
            |expected, created| {
                (created >= expected)
                    .then(|| format!("it was created at {created}, expected before {expected}"))
            },
        )
    }
}

/// Judges one fact, if anything is expected of it.
fn judge<E, F>(
    expected: Option<&E>,
    fact: Option<&F>,
    name: &'static str,
    differs: impl FnOnce(&E, &F) -> Option<String>,
) -> Judged {
    match (expected, fact) {
        (None, _) => Judged::Passes,
        (Some(_), None) => Judged::Unknown(name),
        (Some(expected), Some(fact)) => differs(expected, fact).map_or(Judged::Passes, Judged::Fails),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Moment;

    fn tags(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn facts() -> InstanceFacts {
        InstanceFacts {
            name: Some("rack-12-7".into()),
            vpc_id: Some("vpc-1".into()),
            tags: Some(tags(&[("rack", "12"), ("env", "staging")])),
            server_id: None,
            created_at: Some(moment("2026-05-31T23:59:59Z")),
        }
    }

    fn expect(edit: impl FnOnce(&mut Expect)) -> Expectation {
        let mut expect = Expect::default();
        edit(&mut expect);
        Expectation::from(&expect)
    }

    #[test]
    fn e2_an_instance_differs_in_one_fact() {
        let before = |text: &str| Some(Moment(moment(text)));
        let table: [(Expectation, &str); 6] = [
            (expect(|e| e.name = Some("db-*".into())), "its name is rack-12-7, expected db-*"),
            (expect(|e| e.vpc_id = Some("vpc-2".into())), "its VPC is vpc-1, expected vpc-2"),
            (expect(|e| e.tags = Some(tags(&[("rack", "11")]))), "its tag rack is 12, expected 11"),
            (
                expect(|e| e.tags = Some(tags(&[("env", "staging"), ("row", "3")]))),
                "it has no tag row, expected 3",
            ),
            (
                expect(|e| e.created_before = before("2026-05-31T23:59:59Z")),
                "it was created at 2026-05-31T23:59:59Z, expected before 2026-05-31T23:59:59Z",
            ),
            (
                expect(|e| (e.name, e.vpc_id) = (Some("*".into()), Some("x".into()))),
                "its VPC is vpc-1, expected x",
            ),
        ];
        for (expected, why) in table {
            assert_eq!(expected.judge(Some(&facts())), Judged::Fails(why.into()));
        }
    }

    #[test]
    fn e3_an_instance_that_is_all_of_it_passes() {
        let all = expect(|e| {
            e.name = Some("rack-12-*".into());
            e.vpc_id = Some("vpc-1".into());
            e.tags = Some(tags(&[("rack", "12"), ("env", "staging")]));
            e.created_before = Some(Moment(moment("2026-06-01T00:00:00Z")));
        });
        assert_eq!(all.judge(Some(&facts())), Judged::Passes);
    }

    #[test]
    fn f2_a_fact_that_is_needed_and_unknown_is_no_match_and_no_difference() {
        let by_name = expect(|e| e.name = Some("*".into()));
        assert_eq!(by_name.judge(None), Judged::Unknown("name"));
        for (unknown, expected) in [
            (InstanceFacts { name: None, ..facts() }, Judged::Unknown("name")),
            (InstanceFacts { vpc_id: None, tags: None, created_at: None, ..facts() }, Judged::Passes),
        ] {
            assert_eq!(by_name.judge(Some(&unknown)), expected);
        }
        let both = expect(|e| (e.name, e.vpc_id) = (Some("*".into()), Some("vpc-2".into())));
        let no_name = InstanceFacts { name: None, ..facts() };
        assert!(matches!(both.judge(Some(&no_name)), Judged::Fails(_)), "what differs is certain");
    }
}
