//! The part of the object that users write.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    expect::Expect, moment::Moment, power_off::PowerOff, rollout::Rollout, status::InstanceDeletionStatus,
};

/// Most ids in one object. At this size the object stays below etcd's limit of 1.5 MiB with every status that the
/// engine can write, client-side apply's annotation included.
pub const MAX_IDS: usize = 5_000;

/// Deletes the listed CloudDC bare-metal instances and reports when they are gone. This cannot be undone.
// No `default:` anywhere in this schema: the live spec equals what was applied, so GitOps tools see no drift.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "clouddc.dev",
    version = "v1alpha1",
    kind = "InstanceDeletion",
    plural = "instancedeletions",
    shortname = "idel",
    category = "clouddc",
    namespaced,
    status = "InstanceDeletionStatus",
    derive = "PartialEq",
    doc = "InstanceDeletion declares that the listed CloudDC bare-metal instances shall not exist. The controller deletes them in batches of at most 50 and looks until the cloud says `terminated` for each. A deletion cannot be undone.",
    printcolumn(
        name = "PHASE",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the deletion stands"
    ),
    printcolumn(
        name = "PROGRESS",
        type_ = "string",
        json_path = ".status.progress",
        description = "Instances gone, of all"
    ),
    printcolumn(
        name = "FAILED",
        type_ = "integer",
        json_path = ".status.summary.failed",
        description = "Instances given up"
    ),
    printcolumn(
        name = "READY",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether every instance is gone"
    ),
    printcolumn(
        name = "REASON",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        description = "Reason of the condition Ready"
    ),
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    ),
    printcolumn(
        name = "REGION",
        type_ = "string",
        json_path = ".spec.region",
        description = "Region of the instances",
        priority = 1
    ),
    printcolumn(
        name = "PROJECT",
        type_ = "string",
        json_path = ".spec.projectID",
        description = "Project of the instances",
        priority = 1
    ),
    printcolumn(
        name = "NEXT",
        type_ = "date",
        json_path = ".status.nextActionTime",
        description = "When the controller goes on, if it waits for long",
        priority = 1
    ),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        description = "Message of the condition Ready",
        priority = 1
    ),
    selectable = ".status.phase"
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(oldSelf.dryRun) && oldSelf.dryRun) || has(self.dryRun)")
        .message("dryRun can't be removed from an object that was created with dryRun: true; write dryRun: false to start the deletion"),
    validation = Rule::new("(has(oldSelf.dryRun) && oldSelf.dryRun) || !(has(self.dryRun) && self.dryRun)")
        .message("dryRun: true can only be set at creation; use suspend: true to stop this deletion"),
    validation = Rule::new("has(self.expect) == has(oldSelf.expect) && (!has(self.expect) || self.expect == oldSelf.expect)")
        .message("expect is immutable; create a new InstanceDeletion that expects something else"),
    validation = Rule::new("has(self.powerOff) == has(oldSelf.powerOff) && (!has(self.powerOff) || self.powerOff == oldSelf.powerOff)")
        .message("powerOff is immutable; create a new InstanceDeletion that powers off otherwise"),
    validation = Rule::new("!(has(self.rollout) && has(self.rollout.limit)) || (has(oldSelf.rollout) && has(oldSelf.rollout.limit) && self.rollout.limit >= oldSelf.rollout.limit) || (has(oldSelf.dryRun) && oldSelf.dryRun)")
        .message("rollout.limit can only be raised or removed once the deletion has started; use suspend: true to stop it")
)]
pub struct InstanceDeletionSpec {
    /// Region of the instances, such as ap-southeast-3. It names an endpoint of the operator's configuration and is
    /// never a URL. Immutable.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("region is immutable; create a new InstanceDeletion for another region").reason(Reason::FieldValueForbidden),
        validation = Rule::new("self.matches('^[a-z0-9]+(-[a-z0-9]+)*$')").message("region must be a region's name such as ap-southeast-3 (lower-case letters, digits and single hyphens), not a URL")
    )]
    pub region: String,

    /// Project of the instances: 32 lower-case hexadecimal digits, as the cloud's console shows under My Credentials.
    /// Immutable.
    #[serde(rename = "projectID")]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("projectID is immutable; create a new InstanceDeletion for another project").reason(Reason::FieldValueForbidden),
        validation = Rule::new("self.matches('^[0-9a-f]{32}$')").message("projectID must be 32 lower-case hexadecimal digits; copy it from My Credentials in the cloud's console")
    )]
    pub project_id: String,

    /// Secret in the same namespace with the credentials for the cloud. It holds exactly one set of keys: accessKeyID and
    /// secretAccessKey (with securityToken for a temporary key); or username, password and domainName; or token.
    pub credentials_secret_ref: SecretRef,

    /// Ids of the instances to delete, 1 to 5000, each a lower-case UUID. Ids that occur twice count once. Immutable:
    /// further instances go into a new object.
    #[serde(rename = "instanceIDs")]
    #[schemars(length(min = 1, max = 5000), inner(length(max = 64)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self == oldSelf").message("instanceIDs is immutable; create a new InstanceDeletion for other instances").reason(Reason::FieldValueForbidden),
        validation = Rule::new("self.all(id, id.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'))").message("each of instanceIDs must be a lower-case UUID such as 0198170e-4ca7-7ee4-89a7-fa631843920b, without spaces; an empty id often comes from an undefined variable")
    )]
    pub instance_ids: Vec<String>,

    /// Facts that every listed instance must have. The controller sends nothing before it has read every instance that is alive and
    /// found it so. If one differs, the object ends, and nothing is sent for any. Immutable. An absent field means that
    /// nothing is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,

    /// How fast the deletion may spread, and when it stops by itself. An absent field means no bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,

    /// Whether instances are powered off before they are deleted, and for how long they stay off. Immutable. An absent field
    /// means that instances are deleted in the state in which they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_off: Option<PowerOff>,

    /// While true, the controller makes no new call. The cloud goes on with the calls that it accepted, and the controller
    /// goes on looking at their instances. An absent field means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// When true, the controller only looks, reports in status.plan what it would delete, and sends nothing. It can be set
    /// at creation only; write false to start the deletion. An absent field means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,

    /// What becomes of an id that the cloud does not know before a call names it: Succeed (it is gone, as declared) or Fail
    /// (it is a mistake in the manifest). An id that was accepted for deletion, or seen shutting down, and then disappears
    /// is gone under both. An absent field means Succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found_policy: Option<NotFoundPolicy>,

    /// Delete attempts for one id beyond the first, 0 to 100. An attempt is used where the cloud answered for this id;
    /// outages, throttling and refused credentials use none. An absent field means 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100), extend("format" = "int32"))]
    pub backoff_limit_per_instance: Option<u32>,

    /// Seconds from status.startTime after which the controller makes no new call and the object ends, whatever the cloud
    /// still does. They also run while the object is suspended. An absent field means no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647_u32), extend("format" = "int32"))]
    pub active_deadline_seconds: Option<u32>,

    /// Moment after which the controller makes no new call, whatever the history of the object: a manifest restored from a
    /// backup deletes nothing after it. The controller follows instances that are on their way by then to their end. An
    /// absent field means no such moment, and so does the last day of the year 9999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Moment>,

    /// Seconds after status.completionTime at which the object itself is deleted. What git still holds is created again
    /// by GitOps, looked at, and ends without a call if its instances are gone. An absent field means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647_u32), extend("format" = "int32"))]
    pub ttl_seconds_after_finished: Option<u32>,
}

/// What becomes of an id that the cloud never knew: Succeed (it is gone, as declared) or Fail (it is a mistake in the
/// manifest). An id that was accepted for deletion and then disappears is gone under both. An absent field means Succeed.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotFoundPolicy {
    /// It is gone, as declared.
    #[default]
    Succeed,
    /// It is a mistake in the manifest.
    Fail,
}

/// Name of a Secret in the namespace of the object.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret. It is always read from the object's own namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("credentialsSecretRef.name must be the name of a Secret in this namespace (lower-case letters, digits, '-' and '.')"))]
    pub name: String,
}
