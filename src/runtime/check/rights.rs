//! Whether this user may do what `run` does, as the API server says (SelfSubjectAccessReview, which stores nothing).

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use super::report::{Report, why};
use crate::scope::Scope;

/// Limit for one question.
const LIMIT: Duration = Duration::from_secs(10);
/// Secrets that are asked for by name.
const SECRETS: usize = 50;

/// Verbs on a resource.
struct Right {
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    verbs: &'static [&'static str],
    /// The consequence of a missing verb, for people.
    without: &'static str,
}

/// In each namespace of the scope. A test compares this list with `deploy/base/role.yaml`.
const IN_SCOPE: [Right; 4] = [
    Right {
        group: "clouddc.dev",
        resource: "instancedeletions",
        subresource: None,
        verbs: &["get", "list", "watch"],
        without: "nothing works",
    },
    Right {
        group: "clouddc.dev",
        resource: "instancedeletions",
        subresource: None,
        verbs: &["delete"],
        without: "finished objects with ttlSecondsAfterFinished stay",
    },
    Right {
        group: "clouddc.dev",
        resource: "instancedeletions",
        subresource: Some("status"),
        verbs: &["update"],
        without: "nothing is sent",
    },
    Right {
        group: "events.k8s.io",
        resource: "events",
        subresource: None,
        verbs: &["create", "patch"],
        without: "no event is stored",
    },
];

const SECRET: Right = Right {
    group: "",
    resource: "secrets",
    subresource: None,
    verbs: &["get"],
    without: "objects say SecretForbidden",
};

/// In the whole cluster, whatever the scope is.
const IN_CLUSTER: [Right; 3] = [
    Right {
        group: "clouddc.dev",
        resource: "deletionguards",
        subresource: None,
        verbs: &["list"],
        without: "objects say GuardUnreadable, and nothing is sent",
    },
    Right {
        group: "clouddc.dev",
        resource: "deletionguards",
        subresource: None,
        verbs: &["watch"],
        without: "objects that a guard held go on later",
    },
    Right {
        group: "",
        resource: "namespaces",
        subresource: None,
        verbs: &["get"],
        without: "where a guard selects namespaces, objects say GuardUnreadable, and nothing is sent",
    },
];

/// In the namespace of the Lease.
const LEASE: Right = Right {
    group: "coordination.k8s.io",
    resource: "leases",
    subresource: None,
    verbs: &["get", "create", "update"],
    without: "no replica is elected",
};

/// Tells which rights are missing. `lease` is the namespace of the Lease, if there is one; `secrets` are those that
/// unfinished objects name, as namespace and name.
pub async fn tell(
    report: &mut Report,
    client: &Client,
    scope: &Scope,
    lease: Option<&str>,
    secrets: &[(String, String)],
) {
    if let Err(error) = ask_all(report, client, scope, lease, secrets).await {
        report.problem(&format!("permissions can't be asked for: {error}"));
    }
}

async fn ask_all(
    report: &mut Report,
    client: &Client,
    scope: &Scope,
    lease: Option<&str>,
    secrets: &[(String, String)],
) -> Result<(), String> {
    for namespace in scope.watches() {
        for right in &IN_SCOPE {
            ask_and_tell(report, client, right, namespace.as_deref()).await?;
        }
        if allowed(client, &SECRET, "get", namespace.as_deref(), None).await? {
            report.line(&granted(&SECRET, namespace.as_deref()));
        } else {
            let own =
                |(of, _): &&(String, String)| namespace.as_ref().is_none_or(|namespace| namespace == of);
            let own: Vec<_> = secrets.iter().filter(own).collect();
            ask_for_each(report, client, namespace.as_deref(), &own).await?;
        }
    }
    for right in &IN_CLUSTER {
        ask_and_tell(report, client, right, None).await?;
    }
    if let Some(namespace) = lease {
        ask_and_tell(report, client, &LEASE, Some(namespace)).await?;
    }
    Ok(())
}

/// Asks for each Secret by name: Secrets may be granted one by one.
async fn ask_for_each(
    report: &mut Report,
    client: &Client,
    place: Option<&str>,
    secrets: &[&(String, String)],
) -> Result<(), String> {
    report.line(&format!("not granted: get secrets {}; each Secret must be granted by name", within(place)));
    for (namespace, name) in secrets.iter().take(SECRETS) {
        if allowed(client, &SECRET, "get", Some(namespace), Some(name)).await? {
            report.line(&format!("granted: get secret {namespace}/{name}"));
        } else {
            report.problem(&format!("not granted: get secret {namespace}/{name}; {}", SECRET.without));
        }
    }
    if secrets.len() > SECRETS {
        report.line(&format!("not asked: {} more Secrets", secrets.len() - SECRETS));
    }
    Ok(())
}

async fn ask_and_tell(
    report: &mut Report,
    client: &Client,
    right: &Right,
    namespace: Option<&str>,
) -> Result<(), String> {
    let mut missing = Vec::new();
    for verb in right.verbs {
        if !allowed(client, right, verb, namespace, None).await? {
            missing.push(*verb);
        }
    }
    if missing.is_empty() {
        report.line(&granted(right, namespace));
    } else {
        let (verbs, name) = (missing.join(", "), right.name());
        report.problem(&format!("not granted: {verbs} {name} {}; {}", within(namespace), right.without));
    }
    Ok(())
}

fn granted(right: &Right, namespace: Option<&str>) -> String {
    format!("granted: {} {} {}", right.verbs.join(", "), right.name(), within(namespace))
}

fn within(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "in all namespaces".to_owned(), |namespace| format!("in {namespace}"))
}

async fn allowed(
    client: &Client,
    right: &Right,
    verb: &str,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<bool, String> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.to_owned()),
                resource: Some(right.resource.to_owned()),
                subresource: right.subresource.map(str::to_owned),
                verb: Some(verb.to_owned()),
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    match timeout(LIMIT, api.create(&PostParams::default(), &review)).await {
        Ok(Ok(answer)) => Ok(answer.status.is_some_and(|status| status.allowed)),
        Ok(Err(error)) => Err(why(&error)),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

impl Right {
    /// As `kubectl auth can-i` names it.
    fn name(&self) -> String {
        let subresource = self.subresource.map(|sub| format!("/{sub}")).unwrap_or_default();
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        format!("{}{group}{subresource}", self.resource)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_asked_for_is_what_the_manifests_grant() {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(include_str!("../../../deploy/base/role.yaml")).unwrap();
        let words = |value: &Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let mut granted = BTreeSet::new();
        for rule in documents.iter().filter_map(|object| object["rules"].as_array()).flatten() {
            for (group, resource) in words(&rule["apiGroups"])
                .iter()
                .flat_map(|group| words(&rule["resources"]).into_iter().map(move |r| (group.clone(), r)))
            {
                let verbs = words(&rule["verbs"]);
                granted.extend(verbs.into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
        let asked = IN_SCOPE.iter().chain(&IN_CLUSTER).chain([&SECRET, &LEASE]).flat_map(|right| {
            let sub = right.subresource.map(|sub| format!("/{sub}")).unwrap_or_default();
            let resource = format!("{}{sub}", right.resource);
            right.verbs.iter().map(move |verb| (right.group.to_owned(), resource.clone(), (*verb).to_owned()))
        });
        assert_eq!(asked.collect::<BTreeSet<_>>(), granted);
    }
}
