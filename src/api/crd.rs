//! The CRD, made from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

use super::{DeletionGuard, InstanceDeletion, moment::WRITTEN_MOMENT};

/// The CustomResourceDefinitions that this version of the controller works with: of `InstanceDeletion`, and of
/// `DeletionGuard`.
///
/// No field takes null: the derive marks every optional field nullable, and a null that means "absent" would be a second
/// way to write a field whose removal is guarded (`dryRun`).
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 2] {
    [strict(InstanceDeletion::crd()), strict(DeletionGuard::crd())]
}

fn strict(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            refuse_null(schema);
            refuse_unreadable_times(schema);
        }
    }
    crd
}

/// [`crds`] as two YAML documents, as printed by the subcommand `crd` and committed in `crds/`.
pub fn crds_yaml() -> Result<String, serde_saphyr::ser::Error> {
    let [deletions, guards] = crds();
    Ok(format!("{}---\n{}", serde_saphyr::to_string(&deletions)?, serde_saphyr::to_string(&guards)?))
}

/// The format `date-time` admits times that no controller can read, and an object whose times can't be read is not worked on.
fn refuse_unreadable_times(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref() == Some("date-time") {
        schema.pattern.get_or_insert_with(|| WRITTEN_MOMENT.to_owned());
    }
    for child in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        refuse_unreadable_times(child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        refuse_unreadable_times(items);
    }
}

fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for child in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        refuse_null(child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        refuse_null(items);
    }
}
