use super::*;
use crate::{
    api::{GuardHold, Protected, ProtectedInstance, Rollout},
    engine::object::state::spec::tests::spec_of,
};

fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn guard(name: &str, edit: impl FnOnce(&mut DeletionGuardSpec)) -> Guard {
    let mut spec = DeletionGuardSpec::default();
    edit(&mut spec);
    Guard { name: name.into(), spec }
}

fn guards(all: Vec<Guard>) -> Guards {
    Guards::of(all, &BTreeMap::new()).unwrap()
}

fn held(reason: &str) -> impl FnOnce(&mut DeletionGuardSpec) {
    let reason = reason.to_owned();
    move |spec| spec.hold = Some(GuardHold { reason })
}

fn id(n: u128) -> InstanceId {
    InstanceId::from_u128(n)
}

fn protecting(protected: Protected) -> Guards {
    guards(vec![guard("db", |spec| spec.protected = Some(protected))])
}

fn by_id(n: u128) -> Protected {
    let instance = ProtectedInstance { id: id(n).to_string(), reason: "billing".into() };
    Protected { instances: Some(vec![instance]), ..Protected::default() }
}

fn facts(name: Option<&str>, tags: Option<&[(&str, &str)]>) -> InstanceFacts {
    InstanceFacts { name: name.map(str::to_owned), tags: tags.map(labels), ..InstanceFacts::default() }
}

#[test]
fn g1_a_guard_applies_to_the_namespaces_that_its_selector_selects() {
    let selector = |pairs: &[(&str, &str)], requirements: Vec<(&str, Operator, &[&str])>| {
        let requirement = |(key, operator, values): (&str, Operator, &[&str])| Requirement {
            key: key.to_owned(),
            operator,
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        };
        Some(NamespaceSelector {
            match_labels: Some(labels(pairs)),
            match_expressions: Some(requirements.into_iter().map(requirement).collect()),
        })
    };
    let namespace = labels(&[("tier", "production"), ("team", "db")]);
    let table = [
        (None, true),
        (Some(NamespaceSelector::default()), true),
        (selector(&[("tier", "production")], vec![]), true),
        (selector(&[("tier", "staging")], vec![]), false),
        (selector(&[("tier", "production"), ("zone", "a")], vec![]), false),
        (selector(&[], vec![("team", Operator::In, &["web", "db"])]), true),
        (selector(&[], vec![("team", Operator::In, &["web"])]), false),
        (selector(&[], vec![("zone", Operator::In, &["a"])]), false),
        (selector(&[], vec![("team", Operator::NotIn, &["db"])]), false),
        (selector(&[], vec![("zone", Operator::NotIn, &["a"])]), true),
        (selector(&[], vec![("team", Operator::Exists, &[])]), true),
        (selector(&[], vec![("zone", Operator::Exists, &[])]), false),
        (selector(&[], vec![("zone", Operator::DoesNotExist, &[])]), true),
        (selector(&[("tier", "production")], vec![("team", Operator::DoesNotExist, &[])]), false),
    ];
    for (selector, applies) in table {
        let one = guard("one", |spec| {
            spec.namespace_selector.clone_from(&selector);
            held("freeze")(spec);
        });
        let guards = Guards::of(vec![one], &namespace).unwrap();
        assert_eq!(guards.bars(&spec_of(1)).is_some(), applies, "{selector:?}");
    }
}

#[test]
fn g3_every_guard_must_admit_the_object() {
    type Edit<'a> = &'a dyn Fn(&mut DeletionGuardSpec);
    let refused = |edit: &dyn Fn(&mut DeletionGuardSpec), spec: &DeletionSpec| match guards(vec![
        guard("a", |_| ()),
        guard("b", |s| edit(s)),
    ])
    .bars(spec)
    {
        Some(Bar::Refused { guard, why }) => Some(format!("{guard}: {why}")),
        Some(Bar::Held { .. }) => panic!("nothing holds it"),
        None => None,
    };
    let mut twice = spec_of(3);
    twice.duplicates = 1;
    let with_rollout = DeletionSpec { rollout: Some(Rollout::default()), ..spec_of(3) };
    let none: Option<&str> = None;
    let table: [(Edit<'_>, &DeletionSpec, Option<&str>); 9] = [
        (&|s| s.max_instance_ids = Some(3), &spec_of(3), none),
        (
            &|s| s.max_instance_ids = Some(2),
            &spec_of(3),
            Some("b: it lists 3 instances, and one object may delete at most 2"),
        ),
        (
            &|s| s.max_instance_ids = Some(3),
            &twice,
            Some("b: it lists 4 instances, and one object may delete at most 3"),
        ),
        (&|s| s.allowed_regions = Some(vec!["ap-southeast-3".into()]), &spec_of(3), none),
        (
            &|s| s.allowed_regions = Some(vec!["cn-east-3".into()]),
            &spec_of(3),
            Some("b: nothing may be deleted in region ap-southeast-3"),
        ),
        (&|s| s.require_expect = Some(true), &spec_of(3), Some("b: it has no spec.expect")),
        (&|s| s.require_rollout_above = Some(3), &spec_of(3), none),
        (
            &|s| s.require_rollout_above = Some(2),
            &spec_of(3),
            Some("b: it lists 3 instances, and above 2 it needs spec.rollout"),
        ),
        (&|s| s.require_rollout_above = Some(2), &with_rollout, none),
    ];
    for (edit, spec, expected) in table {
        assert_eq!(refused(edit, spec).as_deref(), expected);
    }
}

#[test]
fn g5_a_hold_is_told_by_the_first_guard_that_has_one() {
    let all = guards(vec![
        guard("c", held("third")),
        guard("b", held("second")),
        guard("a", |spec| spec.max_instance_ids = Some(0)),
    ]);
    let expected = Bar::Held { guard: "b".into(), reason: "second".into() };
    assert_eq!(all.bars(&spec_of(1)), Some(expected), "it outweighs what refuses one object");
    assert_eq!(guards(vec![]).bars(&spec_of(1)), None, "G8: without a guard nothing is barred");
}

#[test]
fn g4_an_instance_is_protected_by_its_id_its_name_or_any_of_its_tags() {
    let none = BTreeSet::new();
    let protects = |protected: Protected, facts: Option<InstanceFacts>| {
        protecting(protected).protects(id(1), facts.as_ref(), &none)
    };
    let names = || Protected { names: Some(vec!["*-db-*".into()]), ..Protected::default() };
    let tags =
        || Protected { tags: Some(labels(&[("keep", "true"), ("tier", "gold")])), ..Protected::default() };
    let fails = |why: &str| Judged::Fails(format!("guard db: {why}"));
    assert_eq!(protects(by_id(1), None), fails("billing"));
    assert_eq!(protects(by_id(2), None), Judged::Passes);
    assert_eq!(
        protects(names(), Some(facts(Some("eu-db-7"), None))),
        fails("its name is eu-db-7, and *-db-* is protected")
    );
    assert_eq!(protects(names(), Some(facts(Some("db-7"), None))), Judged::Passes);
    let tagged = |all: &[(&str, &str)]| protects(tags(), Some(facts(None, Some(all))));
    assert_eq!(tagged(&[("a", "b"), ("tier", "gold")]), fails("its tag tier is gold, which is protected"));
    assert_eq!(tagged(&[("keep", "false"), ("tier", "true")]), Judged::Passes);
    assert_eq!(tagged(&[]), Judged::Passes);
}

#[test]
fn f2_a_guard_that_needs_an_unknown_fact_cannot_tell() {
    let none = BTreeSet::new();
    let both = Protected {
        names: Some(vec!["db-*".into()]),
        tags: Some(labels(&[("keep", "true")])),
        ..Protected::default()
    };
    let judge =
        |facts: Option<InstanceFacts>| protecting(both.clone()).protects(id(1), facts.as_ref(), &none);
    assert_eq!(judge(None), Judged::Unknown("name"));
    assert_eq!(judge(Some(facts(None, Some(&[])))), Judged::Unknown("name"));
    assert_eq!(judge(Some(facts(Some("web"), None))), Judged::Unknown("tags"));
    assert!(matches!(judge(Some(facts(Some("db-1"), None))), Judged::Fails(_)), "certain all the same");
    assert!(matches!(judge(Some(facts(None, Some(&[("keep", "true")])))), Judged::Fails(_)));
    assert_eq!(judge(Some(facts(Some("web"), Some(&[])))), Judged::Passes);
    // The first guard can't tell, the second one protects it.
    let all = guards(vec![
        guard("a", |spec| spec.protected = Some(both.clone())),
        guard("b", |spec| spec.protected = Some(by_id(1))),
    ]);
    assert_eq!(all.protects(id(1), None, &none), Judged::Fails("guard b: billing".into()));
    assert!(all.need_facts() && !protecting(by_id(1)).need_facts());
}

#[test]
fn g2_the_annotation_lifts_every_protection_of_the_ids_that_it_names() {
    let allowed = BTreeSet::from([id(1)]);
    let names = Protected { names: Some(vec!["*".into()]), ..by_id(1) };
    let judged = |n| protecting(names.clone()).protects(id(n), Some(&facts(Some("x"), None)), &allowed);
    assert_eq!(judged(1), Judged::Passes);
    assert!(matches!(judged(2), Judged::Fails(_)));
}

#[test]
fn g6_a_guard_that_cannot_be_understood_is_no_guard_to_go_by() {
    let mut protected = by_id(1);
    protected.instances.iter_mut().flatten().for_each(|instance| instance.id = "NO-ID".into());
    let broken = guard("db", |spec| spec.protected = Some(protected));
    assert!(Guards::of(vec![broken], &BTreeMap::new()).is_err());
}
