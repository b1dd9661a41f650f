//! What the author of an object says about its instances.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// Longest pattern for a name, in characters.
pub const MAX_PATTERN: usize = 128;
/// Most tags of one `expect`, and of one guard.
pub const MAX_TAGS: usize = 20;

/// What every listed instance is. Each field that is there must hold, or nothing is sent.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct Expect {
    /// Pattern of the instance's whole name: * stands for any characters, also none, and ? for one character. Upper and
    /// lower case differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,

    /// Id of the VPC that the instance is in.
    #[serde(default, rename = "vpcID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub vpc_id: Option<String>,

    /// Tags that the instance has, each with exactly this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 20))]
    #[x_kube(
        validation = Rule::new("self.all(key, key.size() >= 1 && key.size() <= 128 && self[key].size() <= 255)").message("expect.tags: a key has 1 to 128 characters, and a value at most 255")
    )]
    pub tags: Option<BTreeMap<String, String>>,

    /// Moment before which the instance was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Moment>,
}
