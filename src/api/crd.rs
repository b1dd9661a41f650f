//! The CRD, made from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

use super::InstanceDeletion;

/// The CustomResourceDefinition that this version of the controller works with.
///
/// No field takes null: the derive marks every optional field nullable, and a null that means "absent" would be a second
/// way to write a field whose removal is guarded (`dryRun`).
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = InstanceDeletion::crd();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            refuse_null(schema);
        }
    }
    crd
}

/// [`crd`] as YAML, as committed in `crds/` and printed by the subcommand `crd`.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&crd())
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
