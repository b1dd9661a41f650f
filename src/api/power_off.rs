//! Whether instances are powered off before they are deleted, and for how long they stay off.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest soak in seconds: 90 days.
pub const MAX_SOAK: u32 = 7_776_000;

/// Whether instances are powered off before they are deleted, and for how long they stay off.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.soakSeconds) || self.when == 'Always'")
        .message("powerOff.soakSeconds needs when: Always; with IfRefused an instance is deleted as soon as it is off")
)]
pub struct PowerOff {
    /// IfRefused: the controller powers off a running instance only after the cloud refused to delete it for its state.
    /// Always: it powers off every running instance, deletes none that still runs, and never deletes one that somebody has
    /// powered on again.
    pub when: PowerOffWhen,

    /// How long an instance has to stay off before it is deleted, in seconds, at most 90 days. Only with when: Always. An
    /// absent field means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 7_776_000), extend("format" = "int32"))]
    pub soak_seconds: Option<u32>,
}

/// Which instances are powered off.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerOffWhen {
    /// Running instances that the cloud refuses to delete for their state.
    IfRefused,
    /// Every running instance.
    Always,
}
