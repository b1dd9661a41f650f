//! The objects that `run` would work on, by namespace and phase.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, ListParams},
};
use tokio::time::timeout;

use super::report::{Report, why};
use crate::{
    api::{InstanceDeletion, Phase},
    scope::Scope,
};

/// Objects of one page. One may have a megabyte.
const PAGE: u32 = 100;
/// Limit for one page.
const LIMIT: Duration = Duration::from_secs(15);
/// Names of unfinished objects that are told of a namespace.
const NAMES: usize = 10;

/// The objects of a scope.
#[derive(Debug, Default)]
pub struct Objects {
    namespaces: BTreeMap<String, Namespace>,
}

/// The objects of a namespace.
#[derive(Debug, Default)]
struct Namespace {
    phases: BTreeMap<String, usize>,
    unfinished: Vec<String>,
    /// Secrets of unfinished objects.
    secrets: BTreeSet<String>,
}

/// Lists the objects of a scope. An object whose status this version can't decode is listed too.
pub async fn list(client: &Client, scope: &Scope) -> Result<Objects, String> {
    let mut objects = Objects::default();
    for namespace in scope.watches() {
        let kind = ApiResource::erase::<InstanceDeletion>(&());
        let api: Api<DynamicObject> = match &namespace {
            Some(namespace) => {
                objects.namespaces.entry(namespace.clone()).or_default();
                Api::namespaced_with(client.clone(), namespace, &kind)
            }
            None => Api::all_with(client.clone(), &kind),
        };
        let mut page = ListParams::default().labels(&scope.selector().to_string()).limit(PAGE);
        loop {
            let listed = match timeout(LIMIT, api.list(&page)).await {
                Ok(Ok(listed)) => listed,
                Ok(Err(error)) => return Err(not_listed(&error)),
                Err(_) => return Err(format!("the API server did not answer within {} s", LIMIT.as_secs())),
            };
            listed.items.iter().for_each(|object| objects.add(object));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(objects)
}

fn not_listed(error: &kube::Error) -> String {
    match error {
        // Of a kind that it does not know, the API server says it in plain text, without a reason.
        kube::Error::Api(status) if status.code == 404 => {
            "the cluster has no CustomResourceDefinition of InstanceDeletions; install it".to_owned()
        }
        error => format!("InstanceDeletions can't be listed: {}", why(error)),
    }
}

impl Objects {
    fn add(&mut self, object: &DynamicObject) {
        let meta = object.meta();
        let text = |pointer: &str| object.data.pointer(pointer).and_then(|value| value.as_str());
        let namespace = self.namespaces.entry(meta.namespace.clone().unwrap_or_default()).or_default();
        let phase = text("/status/phase").unwrap_or(Phase::Pending.as_str());
        *namespace.phases.entry(phase.to_owned()).or_default() += 1;
        // A phase of a later version is none that this one has finished.
        if !Phase::parse(phase).is_some_and(Phase::is_end) {
            namespace.unfinished.push(meta.name.clone().unwrap_or_default());
            namespace.secrets.extend(text("/spec/credentialsSecretRef/name").map(str::to_owned));
        }
    }

    /// Secrets of unfinished objects, as namespace and name.
    pub fn secrets(&self) -> Vec<(String, String)> {
        let of = |(namespace, has): (&String, &Namespace)| {
            has.secrets.iter().map(|secret| (namespace.clone(), secret.clone())).collect::<Vec<_>>()
        };
        self.namespaces.iter().flat_map(of).collect()
    }

    /// Tells how many there are, and names those that are not finished.
    pub fn tell(&self, report: &mut Report) {
        if self.namespaces.is_empty() {
            report.line("none");
        }
        for (name, namespace) in &self.namespaces {
            let phases = namespace.phases.iter().map(|(phase, n)| format!("{n} {phase}"));
            let phases = phases.collect::<Vec<_>>().join(", ");
            report.line(&format!("{name}: {}", if phases.is_empty() { "none" } else { &phases }));
            if let Some(unfinished) = named(&namespace.unfinished) {
                report.line(&format!("{name}: not finished: {unfinished}"));
            }
        }
    }
}

/// The first names, and how many follow.
fn named(names: &[String]) -> Option<String> {
    let shown = &names[..names.len().min(NAMES)];
    let more = names.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!names.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, phase: Option<&str>) -> DynamicObject {
        let mut value = json!({
            "apiVersion": "clouddc.dev/v1alpha1", "kind": "InstanceDeletion",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"credentialsSecretRef": {"name": format!("{namespace}-secret")}},
        });
        if let Some(phase) = phase {
            value["status"] = json!({"phase": phase});
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn objects_are_counted_by_namespace_and_phase_and_unfinished_ones_are_named() {
        let mut objects = Objects::default();
        objects.add(&object("fleet", "new", None));
        objects.add(&object("fleet", "done", Some("Succeeded")));
        objects.add(&object("fleet", "later", Some("OfALaterVersion")));
        objects.add(&object("other", "bad", Some("Failed")));
        let fleet = &objects.namespaces["fleet"];
        let one = |phase: &str| (phase.to_owned(), 1);
        assert_eq!(fleet.phases, BTreeMap::from(["Pending", "Succeeded", "OfALaterVersion"].map(one)));
        assert_eq!(fleet.unfinished, ["new", "later"]);
        assert_eq!(objects.secrets(), [("fleet".to_owned(), "fleet-secret".to_owned())]);
    }

    #[test]
    fn so_many_names_and_no_more() {
        let names = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(named(&[]), None);
        assert_eq!(named(&names(10)).unwrap(), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
        assert_eq!(named(&names(12)).unwrap(), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
    }
}
