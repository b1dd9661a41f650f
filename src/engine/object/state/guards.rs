//! Guards: what a platform team says must not be deleted, or not now.
//!
//! [`Guards`] are the `DeletionGuard` objects that apply to one namespace. They are read live before each call, and judge the
//! object as a whole ([`Guards::bars`]) and each instance ([`Guards::protects`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{DeletionGuardSpec, NamespaceSelector, Operator, Requirement},
    engine::{
        glob::Glob,
        id::InstanceId,
        instance_facts::{InstanceFacts, Judged, shown},
        object::state::spec::DeletionSpec,
    },
};

/// One guard, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: DeletionGuardSpec,
}

/// A guard that can't be understood. Nothing is sent then: it may say anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DeletionGuard {guard} protects {id:?}, which is no id")]
pub struct InvalidGuard {
    guard: String,
    id: String,
}

/// The guards that apply to the objects of one namespace, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Guards(Vec<Applied>);

/// What one of them says of every object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Applied {
    name: String,
    hold: Option<String>,
    max_instance_ids: Option<u32>,
    allowed_regions: Option<Vec<String>>,
    require_expect: bool,
    require_rollout_above: Option<u32>,
    ids: BTreeMap<InstanceId, String>,
    names: Vec<Glob>,
    tags: BTreeMap<String, String>,
}

/// Why guards let no new call of an object leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bar {
    /// A guard holds everything.
    Held {
        /// Its name.
        guard: String,
        /// Its reason.
        reason: String,
    },
    /// A guard does not admit the object.
    Refused {
        /// Its name.
        guard: String,
        /// Why not.
        why: String,
    },
}

impl Guards {
    /// Those of all guards that apply to a namespace with these labels.
    pub fn of(mut all: Vec<Guard>, labels: &BTreeMap<String, String>) -> Result<Self, InvalidGuard> {
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let applied = all.into_iter().filter(|guard| selects(guard.spec.namespace_selector.as_ref(), labels));
        applied.map(Applied::of).collect::<Result<_, _>>().map(Self)
    }

    /// Why no new call of this object may leave; none if it may. A hold outweighs the rest: it is lifted for all.
    #[must_use]
    pub fn bars(&self, spec: &DeletionSpec) -> Option<Bar> {
        let held = self.0.iter().find_map(|guard| {
            let reason = guard.hold.clone()?;
            Some(Bar::Held { guard: guard.name.clone(), reason })
        });
        let refused = || {
            self.0.iter().find_map(|guard| {
                let why = guard.refuses(spec)?;
                Some(Bar::Refused { guard: guard.name.clone(), why })
            })
        };
        held.or_else(refused)
    }

    /// What they say of one instance of an object that may delete the protected ids in `allowed`. `facts` are none if none
    /// were read. A guard that protects it outweighs one that can't tell.
    #[must_use]
    pub fn protects(
        &self,
        id: InstanceId,
        facts: Option<&InstanceFacts>,
        allowed: &BTreeSet<InstanceId>,
    ) -> Judged {
        if allowed.contains(&id) {
            return Judged::Passes;
        }
        let mut unknown = None;
        for guard in &self.0 {
            match guard.protects(id, facts) {
                Judged::Fails(why) => return Judged::Fails(format!("guard {}: {why}", guard.name)),
                Judged::Unknown(fact) => unknown = unknown.or(Some(fact)),
                Judged::Passes => {}
            }
        }
        unknown.map_or(Judged::Passes, Judged::Unknown)
    }

    /// Whether they judge instances by their facts.
    #[must_use]
    pub fn need_facts(&self) -> bool {
        self.0.iter().any(|guard| !guard.names.is_empty() || !guard.tags.is_empty())
    }
}

impl Applied {
    fn of(guard: Guard) -> Result<Self, InvalidGuard> {
        let Guard { name, spec } = guard;
        let protected = spec.protected.unwrap_or_default();
        let mut ids = BTreeMap::new();
        for instance in protected.instances.unwrap_or_default() {
            let Ok(id) = InstanceId::parse(&instance.id) else {
                return Err(InvalidGuard { guard: name, id: shown(&instance.id) });
            };
            ids.insert(id, instance.reason);
        }
        Ok(Self {
            name,
            hold: spec.hold.map(|hold| hold.reason),
            max_instance_ids: spec.max_instance_ids,
            allowed_regions: spec.allowed_regions,
            require_expect: spec.require_expect.unwrap_or(false),
            require_rollout_above: spec.require_rollout_above,
            ids,
            names: protected.names.unwrap_or_default().iter().map(|pattern| Glob::new(pattern)).collect(),
            tags: protected.tags.unwrap_or_default(),
        })
    }

    fn refuses(&self, spec: &DeletionSpec) -> Option<String> {
        let listed = spec.ids.len() + spec.duplicates;
        let more_than = |most: u32| u32::try_from(listed).unwrap_or(u32::MAX) > most;
        if let Some(most) = self.max_instance_ids.filter(|most| more_than(*most)) {
            return Some(format!("it lists {listed} instances, and one object may delete at most {most}"));
        }
        if self.allowed_regions.as_ref().is_some_and(|regions| !regions.contains(&spec.region)) {
            return Some(format!("nothing may be deleted in region {}", spec.region));
        }
        if self.require_expect && spec.expectation.is_none() {
            return Some("it has no spec.expect".to_owned());
        }
        let above = self.require_rollout_above.filter(|most| more_than(*most))?;
        spec.rollout
            .is_none()
            .then(|| format!("it lists {listed} instances, and above {above} it needs spec.rollout"))
    }

    fn protects(&self, id: InstanceId, facts: Option<&InstanceFacts>) -> Judged {
        if let Some(reason) = self.ids.get(&id) {
            return Judged::Fails(reason.clone());
        }
        let name = facts.and_then(|facts| facts.name.as_deref());
        let tags = facts.and_then(|facts| facts.tags.as_ref());
        if let Some(name) = name
            && let Some(pattern) = self.names.iter().find(|pattern| pattern.matches(name))
        {
            return Judged::Fails(format!("its name is {}, and {pattern} is protected", shown(name)));
        }
        if let Some(tags) = tags
            && let Some((key, value)) = self.tags.iter().find(|(key, value)| tags.get(*key) == Some(*value))
        {
            return Judged::Fails(format!("its tag {key} is {value}, which is protected"));
        }
        match (name, tags) {
            (None, _) if !self.names.is_empty() => Judged::Unknown("name"),
            (_, None) if !self.tags.is_empty() => Judged::Unknown("tags"),
            (None | Some(_), None | Some(_)) => Judged::Passes,
        }
    }
}

/// Whether a selector selects a namespace with these labels.
fn selects(selector: Option<&NamespaceSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(NamespaceSelector { match_labels, match_expressions }) = selector else { return true };
    let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    match_labels.iter().flatten().all(has)
        && match_expressions.iter().flatten().all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &Requirement, labels: &BTreeMap<String, String>) -> bool {
    let Requirement { key, operator, values } = requirement;
    let value = labels.get(key);
    let is_one = || value.is_some_and(|value| values.iter().flatten().any(|one| one == value));
    match operator {
        Operator::In => is_one(),
        Operator::NotIn => !is_one(),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}

#[cfg(test)]
mod tests;
