//! The permissions in the cluster, from the roles of `deploy/base`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{Error, cell};

/// What fails without a right: its resource, its verbs, and the consequence.
const WITHOUT: [(&str, &[&str], &str); 9] = [
    ("instancedeletions.clouddc.dev", &["get", "list", "watch"], "nothing works"),
    ("instancedeletions.clouddc.dev", &["delete"], "finished objects with `ttlSecondsAfterFinished` stay"),
    ("instancedeletions/status.clouddc.dev", &["update"], "nothing is sent"),
    ("events.events.k8s.io", &["create", "patch"], "no event is stored"),
    ("deletionguards.clouddc.dev", &["list"], "the object says `GuardUnreadable`, and nothing is sent"),
    ("deletionguards.clouddc.dev", &["watch"], "objects that a guard held go on later"),
    (
        "namespaces",
        &["get"],
        "where a guard selects namespaces, the object says `GuardUnreadable`, and nothing is sent",
    ),
    ("secrets", &["get"], "the object says `SecretForbidden`"),
    ("leases.coordination.k8s.io", &["get", "create", "update"], "no replica is elected"),
];

const INTRODUCTION: &str = "# Permissions

<!-- Written by `make generate` from deploy/base/role.yaml and users.yaml. Do not edit. -->

## The controller, in the cluster

A test takes each of these rights away in turn and sees what is missing. The controller never lists
Secrets. To grant less, see [restrict permissions](../how-to/restrict-permissions.md).

";

const CLOUD: &str = "
## The credentials, at the cloud

| action | for | without it |
|---|---|---|
| `clouddc:instance:deleteBatch` | delete calls | the object says `Forbidden` |
| `clouddc:instance:list` | reads of up to 100 instances | instances are read one by one, which is much slower; with `spec.powerOff` the servers are unknown, and nothing is sent for an instance that is to be powered off |
| `clouddc:instance:get` | reads of one instance: what a list leaves out, and not-found reads | the object says `Forbidden` |
| `clouddc:imetal:updatePowerStatus` | calls that power servers off, only with `spec.powerOff` | the object says `Forbidden` |

The vendor's rules cannot name single instances. How to create the user:
[create credentials](../how-to/create-credentials.md).

## People

| role | rights | who has it |
|---|---|---|
";

/// A role: its name, its kind, and its rules as resource and verbs.
struct Role {
    name: String,
    kind: String,
    aggregated: bool,
    rules: Vec<(String, Vec<String>)>,
}

/// The page.
pub fn page(root: &Path) -> Result<String, Error> {
    let mut page = INTRODUCTION.to_owned();
    page += "| resource | verbs | where | without it |\n|---|---|---|---|\n";
    let mut explained = 0;
    for role in roles(&root.join("deploy/base/role.yaml"))? {
        let place = if role.kind == "Role" {
            "`clouddc-system`"
        } else if role.name.ends_with("-secrets") {
            "where you [grant it](../how-to/restrict-permissions.md)"
        } else if role.name.ends_with("-guards") {
            "the cluster"
        } else {
            "all namespaces, or those of `--namespace`"
        };
        for (resource, verbs) in &role.rules {
            let known = WITHOUT.iter().filter(|(named, _, _)| named == resource);
            let mut left = verbs.clone();
            for (_, of, consequence) in known {
                if of.iter().any(|verb| !left.iter().any(|has| has == verb)) {
                    return Err(format!("deploy/base/role.yaml grants {resource} less than {of:?}").into());
                }
                left.retain(|verb| !of.contains(&verb.as_str()));
                explained += 1;
                page += &format!("| `{resource}` | {} | {place} | {consequence} |\n", list(of));
            }
            if !left.is_empty() {
                return Err(
                    format!("say in tests/support/reference what {left:?} on {resource} is for").into()
                );
            }
        }
    }
    if explained != WITHOUT.len() {
        return Err(
            "tests/support/reference explains a right that deploy/base/role.yaml does not grant".into()
        );
    }
    page += CLOUD;
    for role in roles(&root.join("deploy/base/users.yaml"))? {
        let rights: Vec<String> =
            role.rules.iter().map(|(resource, verbs)| format!("{} on `{resource}`", list(verbs))).collect();
        let holders = if role.aggregated {
            "everybody with the cluster's role view, edit or admin"
        } else if role.name == "deletion-guard-editor" {
            "whom you bind it to in the cluster; nobody at first"
        } else {
            "whom you grant it to"
        };
        page += &format!("| `{}` | {} | {holders} |\n", role.name, cell(&rights.join("; ")));
    }
    page += "\nHow to grant them: [protect instances](../how-to/protect-instances.md#let-people-delete).\n";
    Ok(page)
}

fn list(words: &[impl AsRef<str>]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn roles(file: &Path) -> Result<Vec<Role>, Error> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(file)?)?;
    let roles =
        documents.iter().filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")));
    Ok(roles
        .map(|role| {
            let rules = role["rules"].as_array().into_iter().flatten().flat_map(|rule| {
                let group = strings(&rule["apiGroups"]).join(",");
                let named = move |resource: &String| {
                    if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") }
                };
                let resources: Vec<String> = strings(&rule["resources"]).iter().map(named).collect();
                resources.into_iter().map(move |resource| (resource, strings(&rule["verbs"])))
            });
            Role {
                name: role["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                kind: role["kind"].as_str().unwrap_or_default().to_owned(),
                aggregated: role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"]
                    == "true",
                rules: rules.collect(),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_with(change: impl Fn(String) -> String) -> Result<String, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir_all(copy.path().join("deploy/base")).unwrap();
        let role = fs::read_to_string(root.join("deploy/base/role.yaml")).unwrap();
        fs::write(copy.path().join("deploy/base/role.yaml"), change(role)).unwrap();
        fs::copy(root.join("deploy/base/users.yaml"), copy.path().join("deploy/base/users.yaml")).unwrap();
        page(copy.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_right_without_an_explanation_is_refused_and_so_is_the_reverse() {
        assert!(page_with(|role| role).unwrap().contains("| `secrets` | `get` | "));
        let more = page_with(|role| {
            role.replace("[secrets]\n  verbs: [get]\n", "[secrets]\n  verbs: [get, list]\n")
        });
        assert!(more.unwrap_err().contains("what [\"list\"] on secrets is for"));
        let less = page_with(|role| role.replace("verbs: [create, patch]\n", "verbs: [create]\n"));
        assert!(less.unwrap_err().contains("less than"));
        let none = page_with(|role| {
            role.replace("resources: [secrets]\n  verbs: [get]\n", "resources: []\n  verbs: []\n")
        });
        assert!(none.unwrap_err().contains("does not grant"));
    }
}
