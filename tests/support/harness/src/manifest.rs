//! Manifests as users write them.

use serde_json::{Value, json};

use crate::stage::PROJECT;

/// An `InstanceDeletion` to apply.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The whole object.
    pub value: Value,
}

impl Manifest {
    /// An object that lists these ids.
    #[must_use]
    pub fn new(name: &str, ids: &[String]) -> Self {
        Self {
            value: json!({
                "apiVersion": "clouddc.dev/v1alpha1",
                "kind": "InstanceDeletion",
                "metadata": {"name": name},
                "spec": {
                    "region": "ap-southeast-3",
                    "projectID": PROJECT,
                    "credentialsSecretRef": {"name": "clouddc"},
                    "instanceIDs": ids,
                },
            }),
        }
    }

    /// Sets a field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        if let Some(spec) = self.value.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert(field.to_owned(), value.into());
        }
        self
    }

    /// The manifest as JSON, for `kubectl apply -f -`.
    #[must_use]
    pub fn text(&self) -> String {
        self.value.to_string()
    }
}
