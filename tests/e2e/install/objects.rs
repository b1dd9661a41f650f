//! Rendered objects, for comparison.

use std::collections::BTreeMap;

use control_plane::ControlPlane;
use harness::project;
use serde_json::Value;

/// Kind, namespace and name.
pub type Key = (String, String, String);
pub type Objects = BTreeMap<Key, Value>;

/// Labels that the chart adds to each object.
const OF_HELM: [&str; 3] = ["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"];

/// `kubectl kustomize` of a folder below `deploy/`.
pub fn kustomized(control_plane: &ControlPlane, folder: &str) -> Objects {
    let path = project().join("deploy").join(folder).display().to_string();
    parsed(&control_plane.kubectl(&["kustomize", &path]).ok().unwrap())
}

/// `helm template` is told of this kind, as a cluster that has the definitions tells it.
pub const GUARDS: [&str; 2] = ["--api-versions", "clouddc.dev/v1alpha1/DeletionGuard"];

/// `helm template` of the chart with the documented arguments and further ones.
pub fn rendered(control_plane: &ControlPlane, arguments: &[&str]) -> Result<Objects, String> {
    let chart = chart();
    let all = ["template", "instance-deletion-controller", &chart, "--namespace", super::SYSTEM];
    let output = control_plane.helm(&[&all, &GUARDS[..], arguments].concat()).unwrap().run().unwrap();
    if output.status.success() { Ok(parsed(&output.stdout)) } else { Err(output.stderr) }
}

pub fn chart() -> String {
    project().join("deploy/helm/instance-deletion-controller").display().to_string()
}

/// The objects of an installation: without the hooks of `helm test`.
pub fn parsed(yaml: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let mut objects = Objects::new();
    let installed = |document: &Value| !document.is_null() && !is_hook(document);
    for mut object in documents.into_iter().filter(installed) {
        let metadata = &mut object["metadata"];
        without(metadata, "labels", &OF_HELM);
        without(metadata, "annotations", &["helm.sh/resource-policy"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (
            text(&object["kind"]),
            text(&object["metadata"]["namespace"]),
            text(&object["metadata"]["name"]),
        );
        assert!(objects.insert(key.clone(), object).is_none(), "{key:?} twice");
    }
    objects
}

pub fn is_hook(object: &Value) -> bool {
    !object["metadata"]["annotations"]["helm.sh/hook"].is_null()
}

/// Removes these keys, and the map if it is then empty.
fn without(metadata: &mut Value, map: &str, keys: &[&str]) {
    let Some(found) = metadata[map].as_object_mut() else {
        metadata.as_object_mut().unwrap().remove(map);
        return;
    };
    found.retain(|key, _| !keys.contains(&key.as_str()));
    if found.is_empty() {
        metadata.as_object_mut().unwrap().remove(map);
    }
}

/// Asserts that both have the same objects. Objects of the kinds `but` may be in the first alone.
pub fn assert_same(first: &Objects, second: &Objects, but: &[&str]) {
    let keys = |objects: &Objects| -> Vec<Key> {
        objects.keys().filter(|(kind, ..)| !but.contains(&kind.as_str())).cloned().collect()
    };
    assert_eq!(keys(first), keys(second));
    assert!(second.keys().all(|(kind, ..)| !but.contains(&kind.as_str())));
    for (key, object) in second {
        assert_eq!(&first[key], object, "{key:?}");
    }
}

/// The objects of a kind.
pub fn of_kind<'a>(objects: &'a Objects, kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|((k, ..), _)| k == kind).map(|(_, object)| object).collect()
}

/// Asserts that each selector of Pods selects those of exactly one Deployment.
pub fn assert_selectors(objects: &Objects) {
    let templates: Vec<_> = of_kind(objects, "Deployment")
        .iter()
        .map(|d| labels(&d["spec"]["template"]["metadata"]["labels"]))
        .collect();
    let selectors = selectors(objects);
    assert_eq!(selectors.len(), templates.len() * 5, "each Deployment has its budget and its policy");
    for selector in selectors {
        let selects =
            |template: &&BTreeMap<String, String>| selector.iter().all(|(k, v)| template.get(k) == Some(v));
        assert_eq!(templates.iter().filter(selects).count(), 1, "{selector:?}");
    }
}

/// Labels, as a map.
pub fn labels(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Each selector of Pods.
pub fn selectors(objects: &Objects) -> Vec<BTreeMap<String, String>> {
    let mut selectors = Vec::new();
    for deployment in of_kind(objects, "Deployment") {
        let spec = &deployment["spec"]["template"]["spec"];
        let term = &spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
        selectors.push(labels(&deployment["spec"]["selector"]["matchLabels"]));
        selectors.push(labels(&term["podAffinityTerm"]["labelSelector"]["matchLabels"]));
        selectors.push(labels(&spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]));
    }
    for budget in of_kind(objects, "PodDisruptionBudget") {
        selectors.push(labels(&budget["spec"]["selector"]["matchLabels"]));
    }
    for policy in of_kind(objects, "NetworkPolicy") {
        selectors.push(labels(&policy["spec"]["podSelector"]["matchLabels"]));
    }
    selectors
}
