//! Who writes an object: a GitOps tool would undo what a person writes.

use std::fmt;

use kube::core::ObjectMeta;
use serde_json::Value;

/// A tool that keeps an object as git says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    tool: &'static str,
    /// What of the tool owns it, such as `flux-system/fleet`.
    by: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.tool, self.by)
    }
}

/// Labels that Flux sets: of the namespace and of the name of what applies the object.
const FLUX: [(&str, &str, &str); 2] = [
    ("Flux", "kustomize.toolkit.fluxcd.io/namespace", "kustomize.toolkit.fluxcd.io/name"),
    ("Flux", "helm.toolkit.fluxcd.io/namespace", "helm.toolkit.fluxcd.io/name"),
];
/// The annotation and the label by which Argo CD tracks objects.
const ARGO_ID: &str = "argocd.argoproj.io/tracking-id";
const ARGO_LABEL: &str = "argocd.argoproj.io/instance";
/// Field managers of tools that apply what git holds.
const MANAGERS: [(&str, &str); 4] = [
    ("kustomize-controller", "Flux"),
    ("helm-controller", "Flux"),
    ("argocd-controller", "Argo CD"),
    ("argocd-application-controller", "Argo CD"),
];

/// The tool that owns the object; `None` if people write it.
#[must_use]
pub fn owner(metadata: &ObjectMeta) -> Option<Owner> {
    let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
    for (tool, namespace, name) in FLUX {
        if let Some(name) = label(name) {
            let by = label(namespace).map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
            return Some(Owner { tool, by });
        }
    }
    let tracked = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ARGO_ID));
    if let Some(id) = tracked {
        let by = id.split(':').next().unwrap_or_default().to_owned();
        return Some(Owner { tool: "Argo CD", by });
    }
    if let Some(by) = label(ARGO_LABEL) {
        return Some(Owner { tool: "Argo CD", by: by.clone() });
    }
    let mut managers = metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.as_deref());
    managers.find_map(tool_of).map(|(by, tool)| Owner { tool, by: by.to_owned() })
}

fn tool_of(manager: &str) -> Option<(&'static str, &'static str)> {
    MANAGERS.into_iter().find(|(name, _)| *name == manager)
}

/// The field managers of an annotation, and when they wrote last.
#[must_use]
pub fn writers(metadata: &ObjectMeta, annotation: &str) -> Vec<(String, Option<String>)> {
    let pointer = format!("/f:metadata/f:annotations/f:{}", annotation.replace('~', "~0").replace('/', "~1"));
    fields_written(metadata, &pointer)
}

/// The field managers of a field of the spec.
#[must_use]
pub fn writers_of_spec(metadata: &ObjectMeta, field: &str) -> Vec<(String, Option<String>)> {
    fields_written(metadata, &format!("/f:spec/f:{field}"))
}

fn fields_written(metadata: &ObjectMeta, pointer: &str) -> Vec<(String, Option<String>)> {
    let entries = metadata.managed_fields.iter().flatten();
    let writes = entries.filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| Value::pointer(&fields.0, pointer).is_some())
    });
    writes
        .map(|entry| {
            let at = entry.time.as_ref().map(|time| time.0.to_string());
            (entry.manager.clone().unwrap_or_default(), at)
        })
        .collect()
}

/// Whether a field manager is a GitOps tool.
#[must_use]
pub fn is_tool(manager: &str) -> bool {
    tool_of(manager).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_tool_that_owns_an_object_is_known_by_its_marks() {
        let table = [
            (json!({}), None),
            (json!({"labels": {"app.kubernetes.io/instance": "x"}}), None),
            (
                json!({"labels": {
                    "kustomize.toolkit.fluxcd.io/name": "fleet", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
                }}),
                Some("Flux (flux-system/fleet)"),
            ),
            (json!({"labels": {"helm.toolkit.fluxcd.io/name": "fleet"}}), Some("Flux (fleet)")),
            (
                json!({"annotations": {"argocd.argoproj.io/tracking-id": "app:clouddc.dev/InstanceDeletion:ns/x"}}),
                Some("Argo CD (app)"),
            ),
            (json!({"labels": {"argocd.argoproj.io/instance": "app"}}), Some("Argo CD (app)")),
            (json!({"managedFields": [{"manager": "kubectl"}]}), None),
            (
                json!({"managedFields": [{"manager": "kubectl"}, {"manager": "argocd-controller"}]}),
                Some("Argo CD (argocd-controller)"),
            ),
        ];
        for (value, expected) in table {
            let found = owner(&metadata(value.clone())).map(|owner| owner.to_string());
            assert_eq!(found.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_writers_of_an_annotation_are_its_field_managers() {
        let fields = json!({"f:metadata": {"f:annotations": {"f:clouddc.dev/hold": {}}}});
        let value = json!({"managedFields": [
            {"manager": "a", "fieldsV1": {"f:spec": {"f:suspend": {}}}},
            {"manager": "b", "fieldsV1": fields, "time": "2026-01-01T00:00:00Z"},
        ]});
        let metadata = metadata(value);
        let at = Some("2026-01-01T00:00:00Z".to_owned());
        assert_eq!(writers(&metadata, "clouddc.dev/hold"), [("b".to_owned(), at)]);
        assert_eq!(writers_of_spec(&metadata, "suspend"), [("a".to_owned(), None)]);
    }
}
