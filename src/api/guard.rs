//! The custom resource `DeletionGuard`: what a platform team says must not be deleted, or not now.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most protected instances of one guard.
pub const MAX_PROTECTED: usize = 1_000;

/// What must not be deleted, or not now, in the namespaces that it selects.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "clouddc.dev",
    version = "v1alpha1",
    kind = "DeletionGuard",
    plural = "deletionguards",
    shortname = "idg",
    category = "clouddc",
    derive = "PartialEq",
    doc = "DeletionGuard says what no InstanceDeletion may delete, or not now. Every guard that selects an object's namespace must admit it, when the object is applied and again before each of its calls.",
    printcolumn(
        name = "HOLD",
        type_ = "string",
        json_path = ".spec.hold.reason",
        description = "Why nothing new is sent, if so"
    ),
    printcolumn(
        name = "MAX IDS",
        type_ = "integer",
        json_path = ".spec.maxInstanceIDs",
        description = "Most ids of one object"
    ),
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.hold) || has(self.maxInstanceIDs) || has(self.allowedRegions) || has(self.requireExpect) || has(self.requireDryRun) || has(self.requireRolloutAbove) || has(self.protected)")
        .message("a guard needs at least one of hold, maxInstanceIDs, allowedRegions, requireExpect, requireDryRun, requireRolloutAbove and protected")
)]
pub struct DeletionGuardSpec {
    /// Namespaces whose objects the guard applies to, by their labels. An absent field means all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,

    /// While this is set, the controller makes no new call for any object that the guard applies to, later objects
    /// included. It goes on looking at instances that are on their way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<GuardHold>,

    /// Most ids that one object may list.
    #[serde(default, rename = "maxInstanceIDs", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5_000), extend("format" = "int32"))]
    pub max_instance_ids: Option<u32>,

    /// Regions in which objects may delete. An absent field means all that the controller may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed_regions: Option<Vec<String>>,

    /// When true, objects must carry spec.expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_expect: Option<bool>,

    /// When true, objects must be created with dryRun: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_dry_run: Option<bool>,

    /// Objects with more ids than this must carry spec.rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5_000), extend("format" = "int32"))]
    pub require_rollout_above: Option<u32>,

    /// Instances that must not be deleted. An instance that any entry names, or whose name or tag any entry matches, is
    /// protected, unless the object's annotation clouddc.dev/allow-protected names its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<Protected>,
}

/// Stops new calls, and says why.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardHold {
    /// Why the objects are held, and until when. Each of them shows it in its condition Ready.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}

/// Instances that must not be deleted.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct Protected {
    /// Instances by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub instances: Option<Vec<ProtectedInstance>>,

    /// Patterns of names: * stands for any characters, also none, and ? for one character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub names: Option<Vec<String>>,

    /// Tags. An instance with any of these is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 20))]
    #[x_kube(
        validation = Rule::new("self.all(key, key.size() >= 1 && key.size() <= 128 && self[key].size() <= 255)").message("protected.tags: a key has 1 to 128 characters, and a value at most 255")
    )]
    pub tags: Option<BTreeMap<String, String>>,
}

/// An instance that must not be deleted.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedInstance {
    /// Its id, a lower-case UUID.
    #[schemars(
        length(max = 36),
        regex(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
    )]
    pub id: String,
    /// Why it is protected. A person whose deletion is refused reads it.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}

/// Selects namespaces by their labels. A namespace must match all of it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that the namespace has, each with this value. The label kubernetes.io/metadata.name is its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: Option<BTreeMap<String, String>>,

    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Option<Vec<Requirement>>,
}

/// A requirement on one label of a namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0")
        .message("In and NotIn need values; Exists and DoesNotExist have none")
)]
pub struct Requirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How it is judged.
    pub operator: Operator,
    /// The values of In and NotIn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub values: Option<Vec<String>>,
}

/// How a label is judged.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// It is there, with one of the values.
    In,
    /// It is absent, or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}
