//! The parsed spec: which instances may be deleted, and how.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use super::expectation::Expectation;
use crate::{
    api::{Expect, InstanceDeletionSpec, MAX_IDS, MAX_SOAK, NotFoundPolicy, PowerOffWhen, Rollout},
    engine::{id::InstanceId, settings::BACKOFF_LIMIT},
};

/// What the metadata of an object ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// The object has a deletionTimestamp: nothing new is started for it.
    pub leaving: bool,
    /// The object has the annotation [`HOLD`].
    pub held: bool,
    /// Value of the annotation [`REQUESTED_AT`].
    pub requested_at: Option<String>,
    /// The ids that the annotation [`ALLOW_PROTECTED`] names.
    pub allowed: Arc<BTreeSet<InstanceId>>,
}

/// Annotation that stops new calls while it is set, whatever its value. GitOps tools leave
/// an annotation alone that is not in git, and would take a `suspend: true` back.
pub const HOLD: &str = "clouddc.dev/hold";

/// Annotation that names, separated by commas, the ids that the object may delete although a guard protects them.
pub const ALLOW_PROTECTED: &str = "clouddc.dev/allow-protected";

/// The ids that an annotation [`ALLOW_PROTECTED`] with this value names. What is no id names nothing.
#[must_use]
pub fn allowed(value: &str) -> Arc<BTreeSet<InstanceId>> {
    Arc::new(value.split(',').filter_map(|id| InstanceId::parse(id.trim()).ok()).collect())
}

/// Annotation that asks for a look at once, as in Flux.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// Whether instances are powered off before they are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerOff {
    /// Running instances that the cloud refuses to delete for their state.
    IfRefused,
    /// Every running one.
    Always {
        /// How long an instance has to stay off before it is deleted.
        soak: Duration,
    },
}

/// One object as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionSpec {
    /// What the metadata ask for.
    pub meta: Meta,
    /// Region, as in the spec.
    pub region: String,
    /// Project, as in the spec.
    pub project: String,
    /// Name of the Secret.
    pub secret: String,
    /// `spec.suspend`, or the object is held.
    pub suspend: bool,
    /// `spec.dryRun`.
    pub dry_run: bool,
    /// `spec.notFoundPolicy`.
    pub not_found_policy: NotFoundPolicy,
    /// `spec.backoffLimitPerInstance`: attempts beyond the first.
    pub backoff_limit: u32,
    /// `spec.activeDeadlineSeconds`.
    pub active_deadline: Option<Duration>,
    /// `spec.notAfter`.
    pub not_after: Option<Timestamp>,
    /// `spec.ttlSecondsAfterFinished`.
    pub ttl: Option<Duration>,
    /// `spec.expect`.
    pub expectation: Option<Expectation>,
    /// `spec.rollout`.
    pub rollout: Option<Rollout>,
    /// `spec.powerOff`.
    pub power_off: Option<PowerOff>,
    /// Ids in the order of the spec, each once.
    pub ids: Vec<InstanceId>,
    /// Number of entries of the spec that repeat an earlier id.
    pub duplicates: usize,
}

/// The stored spec is one that the schema refuses: written before a stricter schema, or past
/// admission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A field has a value that may not reach a URL.
    #[error("{field} has a value that the schema refuses: {rule}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// An entry of `instanceIDs` is no id.
    #[error("instanceIDs[{index}] is {source}")]
    Id {
        /// Position, counted from 0.
        index: usize,
        /// Why.
        source: crate::engine::id::InvalidId,
    },
    /// Too few or too many ids.
    #[error("instanceIDs has {0} entries, and may have 1 to {MAX_IDS}")]
    Count(usize),
    /// The stored spec does not decode.
    #[error("the spec can't be read: {0}")]
    Unreadable(String),
}

impl DeletionSpec {
    /// Parses the spec by the rules of the schema once more. An invalid value is never sent,
    /// whatever let it into the store.
    pub fn parse(spec: &InstanceDeletionSpec, meta: Meta) -> Result<Self, InvalidSpec> {
        let label = |s: &str| {
            (1..=63).contains(&s.len())
                && s.split('-').all(|part| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                })
        };
        if !label(&spec.region) {
            return Err(InvalidSpec::Field {
                field: "region",
                rule: "a region's name such as ap-southeast-3",
            });
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if spec.project_id.len() != 32 || !spec.project_id.bytes().all(hex) {
            return Err(InvalidSpec::Field { field: "projectID", rule: "32 lower-case hexadecimal digits" });
        }
        let secret = &spec.credentials_secret_ref.name;
        let secret_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if secret.is_empty()
            || secret.len() > 253
            || secret.starts_with('.')
            || !secret.bytes().all(secret_byte)
        {
            return Err(InvalidSpec::Field { field: "credentialsSecretRef.name", rule: "a Secret's name" });
        }
        if !(1..=MAX_IDS).contains(&spec.instance_ids.len()) {
            return Err(InvalidSpec::Count(spec.instance_ids.len()));
        }
        if spec.backoff_limit_per_instance.is_some_and(|attempts| attempts > 100) {
            return Err(InvalidSpec::Field { field: "backoffLimitPerInstance", rule: "0 to 100" });
        }
        if spec.active_deadline_seconds == Some(0) {
            return Err(InvalidSpec::Field { field: "activeDeadlineSeconds", rule: "at least 1" });
        }
        if spec.expect.as_ref().is_some_and(|expect| *expect == Expect::default()) {
            let rule = "at least one of name, vpcID, tags and createdBefore";
            return Err(InvalidSpec::Field { field: "expect", rule });
        }
        let mut seen = HashSet::with_capacity(spec.instance_ids.len());
        let mut ids = Vec::with_capacity(spec.instance_ids.len());
        for (index, text) in spec.instance_ids.iter().enumerate() {
            let id = InstanceId::parse(text).map_err(|source| InvalidSpec::Id { index, source })?;
            if seen.insert(id) {
                ids.push(id);
            }
        }
        Ok(Self {
            region: spec.region.clone(),
            project: spec.project_id.clone(),
            secret: secret.clone(),
            suspend: meta.held || spec.suspend.unwrap_or(false),
            dry_run: spec.dry_run.unwrap_or(false),
            not_found_policy: spec.not_found_policy.unwrap_or_default(),
            backoff_limit: spec.backoff_limit_per_instance.unwrap_or(BACKOFF_LIMIT),
            active_deadline: spec.active_deadline_seconds.map(|s| Duration::from_secs(s.into())),
            not_after: spec.not_after.as_ref().map(|time| time.0),
            ttl: ttl(spec),
            expectation: spec.expect.as_ref().map(Expectation::from),
            rollout: spec.rollout,
            power_off: power_off(spec)?,
            duplicates: spec.instance_ids.len() - ids.len(),
            ids,
            meta,
        })
    }

    /// How many ids of the list may be sent, by `spec.rollout.limit`.
    #[must_use]
    pub fn limit(&self) -> usize {
        let limit = self.rollout.and_then(|rollout| rollout.limit);
        limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// How long an instance has to stay off before it is deleted; none if instances are not powered off first.
    #[must_use]
    pub fn soak(&self) -> Option<Duration> {
        match self.power_off? {
            PowerOff::IfRefused => None,
            PowerOff::Always { soak } => Some(soak),
        }
    }

    /// Whether the object, as it is now, allows new calls.
    #[must_use]
    pub fn allows_calls(&self) -> bool {
        !self.suspend && !self.dry_run && !self.meta.leaving
    }
}

fn power_off(spec: &InstanceDeletionSpec) -> Result<Option<PowerOff>, InvalidSpec> {
    let Some(crate::api::PowerOff { when, soak_seconds }) = spec.power_off else { return Ok(None) };
    let field = "powerOff.soakSeconds";
    match (when, soak_seconds) {
        (PowerOffWhen::IfRefused, None) => Ok(Some(PowerOff::IfRefused)),
        (PowerOffWhen::IfRefused, Some(_)) => {
            Err(InvalidSpec::Field { field, rule: "absent with when: IfRefused" })
        }
        (PowerOffWhen::Always, Some(seconds)) if seconds > MAX_SOAK => {
            Err(InvalidSpec::Field { field, rule: "at most 90 days" })
        }
        (PowerOffWhen::Always, seconds) => {
            Ok(Some(PowerOff::Always { soak: Duration::from_secs(seconds.unwrap_or(0).into()) }))
        }
    }
}

/// How long the object is kept after its end; none means for ever.
#[must_use]
pub fn ttl(spec: &InstanceDeletionSpec) -> Option<Duration> {
    spec.ttl_seconds_after_finished.map(|seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
pub(in crate::engine::object) mod tests {
    use super::*;
    use crate::api::SecretRef;

    /// A spec of this many ids with nothing else set, for tests of other modules.
    pub(in crate::engine::object) fn spec_of(n: u128) -> DeletionSpec {
        let ids = (1..=n).map(|i| InstanceId::from_u128(i).to_string()).collect();
        DeletionSpec::parse(&spec(|s| s.instance_ids = ids), meta(1)).unwrap()
    }

    /// Metadata of nothing but a generation.
    pub(in crate::engine::object) fn meta(generation: i64) -> Meta {
        Meta { generation, ..Meta::default() }
    }

    fn spec(edit: impl FnOnce(&mut InstanceDeletionSpec)) -> InstanceDeletionSpec {
        let mut spec = InstanceDeletionSpec {
            region: "ap-southeast-3".into(),
            project_id: "0123456789abcdef0123456789abcdef".into(),
            credentials_secret_ref: SecretRef { name: "clouddc".into() },
            instance_ids: vec!["0198170e-4ca7-7ee4-89a7-fa631843920b".into()],
            suspend: None,
            dry_run: None,
            not_found_policy: None,
            backoff_limit_per_instance: None,
            active_deadline_seconds: None,
            not_after: None,
            ttl_seconds_after_finished: None,
            expect: None,
            rollout: None,
            power_off: None,
        };
        edit(&mut spec);
        spec
    }

    #[test]
    fn i01_duplicates_are_collapsed_and_counted() {
        let twice = spec(|s| {
            let other = "00000000-0000-0000-0000-000000000001".to_owned();
            let first = s.instance_ids[0].clone();
            s.instance_ids.extend([other, first]);
        });
        let spec = DeletionSpec::parse(&twice, meta(3)).unwrap();
        assert_eq!((spec.ids.len(), spec.duplicates, spec.meta.generation), (2, 1, 3));
        assert_eq!(spec.ids[0].to_string(), twice.instance_ids[0]);
        assert!(spec.allows_calls());
    }

    #[test]
    fn i02_what_the_schema_refuses_is_refused_here_too() {
        type Edit = fn(&mut InstanceDeletionSpec);
        let table: [(Edit, &str); 14] = [
            (|s| s.region = String::new(), "region"),
            (|s| s.region = "https://evil.example".into(), "region"),
            (|s| s.region = "a.b".into(), "region"),
            (|s| s.region = "a--b".into(), "region"),
            (|s| s.region = "x".repeat(64), "region"),
            (|s| s.project_id = "../admin".into(), "projectID"),
            (|s| s.project_id = "0123456789ABCDEF0123456789abcdef".into(), "projectID"),
            (|s| s.credentials_secret_ref.name = "../other/secret".into(), "credentialsSecretRef.name"),
            (|s| s.credentials_secret_ref.name = String::new(), "credentialsSecretRef.name"),
            (|s| s.instance_ids = vec![], "has 0 entries"),
            (|s| s.instance_ids = vec![s.instance_ids[0].clone(); MAX_IDS + 1], "has 5001 entries"),
            (|s| s.instance_ids.push("a,b".into()), "instanceIDs[1]"),
            (|s| s.backoff_limit_per_instance = Some(101), "backoffLimitPerInstance"),
            (|s| s.active_deadline_seconds = Some(0), "activeDeadlineSeconds"),
        ];
        for (edit, expected) in table {
            let message = DeletionSpec::parse(&spec(edit), meta(1)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_secret_s_name_and_numbers_end_where_the_schema_ends_them() {
        let named = |name: &str| {
            DeletionSpec::parse(&spec(|s| s.credentials_secret_ref.name = name.into()), meta(1)).is_ok()
        };
        for good in ["a", "0", "clouddc", "team-a.clouddc", &"x".repeat(253)] {
            assert!(named(good), "{good}");
        }
        for bad in ["", ".a", "A", "a_b", "a/b", "a b", "\u{e9}", &"x".repeat(254)] {
            assert!(!named(bad), "{bad}");
        }
        let cutoff = |n| {
            DeletionSpec::parse(&spec(|s| s.backoff_limit_per_instance = Some(n)), meta(1))
                .map(|j| j.backoff_limit)
        };
        assert_eq!((cutoff(0).ok(), cutoff(100).ok(), cutoff(101).ok()), (Some(0), Some(100), None));
        let kept = |seconds| {
            DeletionSpec::parse(&spec(|s| s.ttl_seconds_after_finished = seconds), meta(1)).unwrap().ttl
        };
        let expected = [None, Some(Duration::ZERO), Some(Duration::from_secs(9))];
        assert_eq!([None, Some(0), Some(9)].map(kept), expected);
        let region = |n| DeletionSpec::parse(&spec(|s| s.region = "x".repeat(n)), meta(1)).is_ok();
        assert!(region(63) && !region(64));
    }

    #[test]
    fn s13_each_gate_closes_calls() {
        let gates: [(bool, bool, Meta); 4] = [
            (true, false, meta(1)),
            (false, true, meta(1)),
            (false, false, Meta { leaving: true, ..meta(1) }),
            (false, false, Meta { held: true, ..meta(1) }),
        ];
        for (suspend, dry_run, meta) in gates {
            let spec = spec(|s| {
                s.suspend = Some(suspend);
                s.dry_run = Some(dry_run);
            });
            assert!(!DeletionSpec::parse(&spec, meta).unwrap().allows_calls());
        }
    }
}
