//! How fast a deletion may spread.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How fast the deletion may spread, and when it stops by itself.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct Rollout {
    /// Only the first so many ids of the list may be sent; repeated ids count once. When they have their ends, the object
    /// rests until this is raised or removed. An absent field means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5_000), extend("format" = "int32"))]
    pub limit: Option<u32>,

    /// Most instances on their way at a time. One whose call may have been accepted counts until reads show its end. An
    /// absent field means no such bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5_000), extend("format" = "int32"))]
    pub max_in_flight: Option<u32>,

    /// If more instances than this have failed, nothing new is sent: those on their way are followed to their end, and
    /// then the object ends. An absent field means no such bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5_000), extend("format" = "int32"))]
    pub max_failed: Option<u32>,
}
