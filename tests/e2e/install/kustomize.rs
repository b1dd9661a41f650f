//! `kubectl apply -k` of the base and of each overlay.

use harness::{Manifest, condition, project};
use serde_json::{Value, json};

use super::{
    SYSTEM, cluster, deletes, deployment, grant, install, may,
    objects::{Objects, assert_same, assert_selectors, kustomized, of_kind, parsed},
    pod, read, run, run_in, runs_under_pod_security, stage, start, until_may,
};
use crate::support::{assert_succeeded, each_once, instances};

/// The documented commands that let the controller read one Secret of one namespace.
const GRANTS: [&str; 2] = [
    "kubectl create role instance-deletion-controller-secrets -n fleet --verb=get --resource=secrets --resource-name=clouddc",
    "kubectl create rolebinding instance-deletion-controller-secrets -n fleet --role=instance-deletion-controller-secrets --serviceaccount=clouddc-system:instance-deletion-controller",
];
const REMOVAL: [&str; 3] = [
    "kubectl delete deployment,poddisruptionbudget,networkpolicy,serviceaccount instance-deletion-controller -n clouddc-system",
    "kubectl delete role,rolebinding instance-deletion-controller-lease -n clouddc-system",
    "kubectl delete clusterrole,clusterrolebinding instance-deletion-controller instance-deletion-controller-guards instance-deletion-controller-secrets --ignore-not-found",
];
const REVOKE: &str = "kubectl delete rolebinding instance-deletion-controller-secrets -n fleet";
const NAME: &str = "instance-deletion-controller";

#[tokio::test(flavor = "multi_thread")]
async fn the_base_and_the_cluster_wide_overlay_work_in_every_namespace() {
    let (control_plane, _ends) = cluster();
    let mut granted = String::new();
    for command in ["kubectl apply -k deploy/base", "kubectl apply -k deploy/overlays/cluster-wide"] {
        install(control_plane, command);
        // The second command is an upgrade: it restores fields of the files and keeps fields that were added by hand.
        let guard = read(control_plane, &["deletionguard", "default"]);
        assert_eq!(guard["spec"]["maxInstanceIDs"], 500);
        assert_eq!(guard["spec"].get("requireRolloutAbove").is_some(), command.contains("cluster-wide"));
        let by_hand = r#"{"spec":{"maxInstanceIDs":400,"requireRolloutAbove":300}}"#;
        let patch = ["patch", "deletionguard", "default", "--type=merge", "-p", by_hand];
        control_plane.kubectl(&patch).ok().unwrap();
        let deployment = deployment(control_plane, NAME);
        runs_under_pod_security(control_plane, &deployment);
        let namespace = control_plane.create_namespace("anywhere").unwrap();
        let stage = stage(control_plane, &namespace, &deployment).await;
        if command.contains("base") {
            grant(control_plane, &namespace);
            granted = namespace;
        }
        let _controller = start(&stage, &deployment);
        deletes(&stage, "retire");
    }
    let mut wide = kustomized(control_plane, "overlays/cluster-wide");
    let secrets = ("ClusterRoleBinding".to_owned(), String::new(), format!("{NAME}-secrets"));
    assert!(wide.remove(&secrets).is_some());
    assert_same(&kustomized(control_plane, "base"), &wide, &[]);

    // The documented removal leaves every object.
    for command in REMOVAL {
        run(control_plane, command);
    }
    run_in(control_plane, &granted, REVOKE);
    let left = read(control_plane, &["idel", "--all-namespaces"]);
    assert_eq!(left["items"].as_array().unwrap().len(), 2);
    let ours = control_plane.kubectl(&[
        "get",
        "deployment,pdb,networkpolicy,sa,role,rolebinding",
        "-n",
        SYSTEM,
        "-o",
        "name",
    ]);
    assert_eq!(ours.ok().unwrap(), "");
    let roles = control_plane.kubectl(&["get", "clusterrole,clusterrolebinding", "-o", "name"]).ok().unwrap();
    assert!(!roles.contains(NAME), "{roles}");
}

/// `roles.rs` tests each verb of the base's roles. This test shows that the overlay has the same rules, and that they apply
/// in its namespace only.
#[tokio::test(flavor = "multi_thread")]
async fn the_single_namespace_overlay_works_there_and_may_nothing_elsewhere() {
    let (control_plane, _ends) = cluster();
    control_plane.kubectl(&["create", "namespace", "fleet"]).ok().unwrap();
    install(control_plane, "kubectl apply -k deploy/overlays/single-namespace");
    let deployment = deployment(control_plane, NAME);
    runs_under_pod_security(control_plane, &deployment);
    let elsewhere = control_plane.create_namespace("elsewhere").unwrap();
    let stage = stage(control_plane, "fleet", &deployment).await;
    let account = stage.kubeconfig();
    let rights: [&[&str]; 4] = [
        &["list", "instancedeletions.clouddc.dev"],
        &["update", "instancedeletions.clouddc.dev", "--subresource=status"],
        &["get", "secrets"],
        &["create", "events.events.k8s.io"],
    ];
    for right in rights {
        until_may(control_plane, account, &[right, &["-n", "fleet"]].concat());
        for outside in [&["-n", elsewhere.as_str()][..], &["-n", SYSTEM], &["--all-namespaces"]] {
            assert!(!may(control_plane, account, &[right, outside].concat()), "{right:?} {outside:?}");
        }
    }
    for command in [
        "kubectl get crd instancedeletions.clouddc.dev",
        "kubectl get deletionguards",
        "kubectl apply --dry-run=server -f deploy/examples/instancedeletion.yaml",
    ] {
        run(control_plane, command);
    }
    assert!(stage.get("retire-rack-12").is_null(), "tried, not stored");
    let controller = start(&stage, &deployment);
    deletes(&stage, "retire");
    assert!(!controller.log().contains("forbidden"), "{}", controller.log());

    // Guards and labels of namespaces are of the cluster.
    until_may(control_plane, account, &["list", "deletionguards.clouddc.dev"]);
    until_may(control_plane, account, &["get", "namespaces"]);
    assert!(!may(control_plane, account, &["list", "namespaces"]));

    let base = kustomized(control_plane, "base");
    let narrowed = kustomized(control_plane, "overlays/single-namespace");
    let (of_guards, others): (Vec<_>, Vec<_>) =
        rules(&base, "ClusterRole", "").into_iter().partition(|(name, _)| name.ends_with("-guards"));
    assert_eq!(rules(&narrowed, "Role", "fleet"), others);
    assert_eq!(rules(&narrowed, "ClusterRole", ""), of_guards);
    let bindings = of_kind(&narrowed, "ClusterRoleBinding");
    assert_eq!(bindings.iter().map(|o| name(o)).collect::<Vec<_>>(), [format!("{NAME}-guards")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_only_where_that_is_granted() {
    let (control_plane, _ends) = cluster();
    install(control_plane, "kubectl apply -k deploy/base");
    let deployment = deployment(control_plane, NAME);
    control_plane.kubectl(&["create", "namespace", "fleet"]).ok().unwrap();
    let stage = stage(control_plane, "fleet", &deployment).await;
    until_may(
        control_plane,
        stage.kubeconfig(),
        &["list", "instancedeletions.clouddc.dev", "--all-namespaces"],
    );
    let _controller = start(&stage, &deployment);
    let ids = instances(&stage, 1);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let message = condition(&stage.wait_reason("retire", "SecretForbidden"), "Ready").2;
    assert!(message.contains("may not read Secret clouddc; grant"), "{message}");
    assert!(stage.calls().is_empty());
    for command in GRANTS {
        run(control_plane, command);
    }
    // A further object: the first one alone would be tried again only after its own delay.
    stage.apply(&Manifest::new("next", &instances(&stage, 1))).unwrap();
    assert_succeeded(&stage.wait_finished("next"), 1);
    assert!(!may(control_plane, stage.kubeconfig(), &["get", "secrets/other", "-n", "fleet"]));
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The rules of the controller's roles.
fn rules(objects: &Objects, kind: &str, namespace: &str) -> Vec<(String, Value)> {
    let ours = |o: &&&Value| {
        name(o).starts_with(NAME) && o["metadata"]["namespace"].as_str().unwrap_or_default() == namespace
    };
    let roles = of_kind(objects, kind);
    let rules: Vec<_> = roles.iter().filter(ours).map(|o| (name(o).to_owned(), o["rules"].clone())).collect();
    assert!(!rules.is_empty());
    rules
}

#[tokio::test(flavor = "multi_thread")]
async fn each_object_is_worked_on_by_one_shard() {
    let (control_plane, _ends) = cluster();
    // From one installation to two.
    install(control_plane, "kubectl apply -k deploy/base");
    for command in [
        "kubectl apply -k deploy/overlays/sharded",
        "kubectl delete deployment,poddisruptionbudget,networkpolicy instance-deletion-controller -n clouddc-system",
    ] {
        run(control_plane, command);
    }
    let shards = ["a", "b"].map(|shard| deployment(control_plane, &format!("{NAME}-{shard}")));
    let namespace = control_plane.create_namespace("sharded").unwrap();
    grant(control_plane, &namespace);
    let stage = stage(control_plane, &namespace, &shards[0]).await;
    for shard in &shards {
        runs_under_pod_security(control_plane, shard);
    }
    let labelled = |name: &str, shard: Option<&str>, ids: &[String]| {
        let mut manifest = Manifest::new(name, ids);
        if let Some(shard) = shard {
            manifest.value["metadata"]["labels"] = json!({"clouddc.dev/shard": shard});
        }
        stage.apply(&manifest).unwrap();
    };
    let ids = [(); 3].map(|()| instances(&stage, 3));
    labelled("none", None, &ids[0]);
    labelled("first", Some("a"), &ids[1]);
    labelled("second", Some("b"), &ids[2]);
    // Each shard alone, while the other shard has work to do.
    let untouched =
        |name: &str| assert_eq!(condition(&stage.get(name), "Ready").1, "", "{name} is the other's");
    let second = start(&stage, &shards[1]);
    assert_succeeded(&stage.wait_finished("second"), 3);
    untouched("none");
    untouched("first");
    second.kill();
    labelled("later", Some("b"), &instances(&stage, 1));
    let _first = start(&stage, &shards[0]);
    for name in ["none", "first"] {
        assert_succeeded(&stage.wait_finished(name), 3);
    }
    untouched("later");
    each_once(&stage.calls(), &ids.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_holds_the_objects_of_the_base_and_what_selects_pods_selects_its_own() {
    let control_plane = control_plane::ControlPlane::shared().unwrap();
    let base = kustomized(control_plane, "base");
    for folder in ["base", "overlays/cluster-wide", "overlays/single-namespace", "overlays/sharded"] {
        assert_selectors(&kustomized(control_plane, folder));
    }
    // A shard's Deployment differs from the base's in name, labels and selector. Objects of other kinds exist once.
    let sharded = kustomized(control_plane, "overlays/sharded");
    let once = |objects: &Objects| -> Objects {
        let of_a_shard = ["Deployment", "PodDisruptionBudget", "NetworkPolicy"];
        objects.clone().into_iter().filter(|((kind, ..), _)| !of_a_shard.contains(&kind.as_str())).collect()
    };
    assert_same(&once(&base), &once(&sharded), &[]);
    assert_eq!(of_kind(&sharded, "Deployment").len(), 2, "one for each shard");
    for deployment in of_kind(&sharded, "Deployment") {
        let mut spec = pod(deployment, |_| ())["spec"].clone();
        let mut expected = pod(of_kind(&base, "Deployment")[0], |_| ())["spec"].clone();
        for spec in [&mut spec, &mut expected] {
            for own in ["affinity", "topologySpreadConstraints"] {
                spec.as_object_mut().unwrap().remove(own).unwrap();
            }
            spec["containers"][0].as_object_mut().unwrap().remove("args").unwrap();
        }
        assert_eq!(spec, expected);
    }
}

/// `kubectl kustomize` of a kustomization in a folder of its own, with these files beside it. `PROJECT` in it stands for the
/// project's top folder.
fn built(kustomization: &str, files: &[(&str, &str)]) -> Objects {
    parsed(&built_text(kustomization, files))
}

fn built_text(kustomization: &str, files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    // kustomize takes no absolute folder.
    let up = "../".repeat(at.components().count() - 1);
    let project = project().canonicalize().unwrap();
    let relative = format!("{up}{}", project.strip_prefix("/").unwrap().display());
    std::fs::write(at.join("kustomization.yaml"), kustomization.replace("PROJECT", &relative)).unwrap();
    for (name, text) in files {
        std::fs::write(at.join(name), text).unwrap();
    }
    let control_plane = control_plane::ControlPlane::shared().unwrap();
    control_plane.kubectl(&["kustomize", &at.display().to_string()]).ok().unwrap()
}

#[test]
fn on_openshift_no_user_is_named_and_all_else_stays() {
    let kustomization =
        "resources: [PROJECT/deploy/base]\ncomponents: [PROJECT/deploy/components/openshift]\n";
    let mut base = kustomized(control_plane::ControlPlane::shared().unwrap(), "base");
    let openshift = built(kustomization, &[]);
    let key = ("Deployment".to_owned(), SYSTEM.to_owned(), NAME.to_owned());
    let context = &mut base.get_mut(&key).unwrap()["spec"]["template"]["spec"]["securityContext"];
    for id in ["runAsUser", "runAsGroup"] {
        context.as_object_mut().unwrap().remove(id).unwrap();
    }
    assert_same(&base, &openshift, &[]);
}

/// A generated Secret has a hash in its name. The object and a Role for that Secret alone name it by the same name.
#[test]
fn a_generated_secret_is_named_by_its_objects() {
    let object = Manifest::new("retire", &["0198170e-4ca7-7ee4-89a7-fa631843920b".to_owned()]).text();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "secrets"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["clouddc"], "verbs": ["get"]}],
    });
    let kustomization = "namespace: fleet\nnamePrefix: rack-\nresources: [object.yaml, role.yaml]\n\
                         components: [PROJECT/deploy/components/secret-names]\n\
                         secretGenerator: [{name: clouddc, literals: [token=example]}]\n";
    let files = [("object.yaml", object.as_str()), ("role.yaml", &role.to_string())];
    let objects = built(kustomization, &files);
    let secret = name(of_kind(&objects, "Secret")[0]);
    assert!(secret.starts_with("rack-clouddc-") && secret.len() > "rack-clouddc-".len() + 5, "{secret}");
    let deletion = of_kind(&objects, "InstanceDeletion")[0];
    assert_eq!(deletion["spec"]["credentialsSecretRef"]["name"], secret);
    assert_eq!(name(deletion), "rack-retire");
    assert_eq!(of_kind(&objects, "Role")[0]["rules"][0]["resourceNames"], json!([secret]));
}

/// With the CRD goes every object, and with it its hold; with that of the guards goes every guard.
#[test]
fn gitops_tools_prune_no_crd() {
    let base = kustomized(control_plane::ControlPlane::shared().unwrap(), "base");
    let definitions = of_kind(&base, "CustomResourceDefinition");
    assert_eq!(definitions.len(), 2);
    for definition in definitions {
        let annotations = &definition["metadata"]["annotations"];
        assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false");
    }
}

const RENAMED: &str = "namespace: elsewhere\nnamePrefix: team-\nresources: [PROJECT/deploy/base]\n\
                       components: [PROJECT/deploy/components/renamed]\n";

/// Whether there is an object of this kind and name.
fn there(objects: &Objects, kind: &Value, name: &Value) -> bool {
    objects.keys().any(|(k, _, n)| kind == k.as_str() && name == n.as_str())
}

#[test]
fn under_another_name_and_namespace_each_reference_names_what_is_there() {
    let objects = built(RENAMED, &[]);
    let mut references = 0;
    for ((kind, _, name), object) in &objects {
        let binding = kind.ends_with("Binding");
        assert!(
            name.starts_with("team-") || ["Namespace", "CustomResourceDefinition"].contains(&kind.as_str()),
            "{name}"
        );
        if binding && object["roleRef"].is_object() {
            let role = &object["roleRef"];
            assert!(there(&objects, &role["kind"], &role["name"]), "{name}: {role}");
            for subject in object["subjects"].as_array().unwrap() {
                assert!(there(&objects, &subject["kind"], &subject["name"]), "{name}: {subject}");
                assert_eq!(subject["namespace"], "elsewhere", "{name}");
            }
        } else if binding {
            let policy = &object["spec"]["policyName"];
            assert!(there(&objects, &json!("ValidatingAdmissionPolicy"), policy), "{name}: {policy}");
        } else if kind == "Deployment" {
            let account = &object["spec"]["template"]["spec"]["serviceAccountName"];
            assert!(there(&objects, &json!("ServiceAccount"), account), "{account}");
        } else {
            continue;
        }
        references += 1;
    }
    assert_eq!(references, 3 + 3 + 1, "roles, policies, and the account");
    let text = built_text(RENAMED, &[]);
    assert!(!text.contains("clouddc-system"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_another_name_and_namespace_it_is_admitted_and_guards() {
    let (control_plane, _ends) = cluster();
    harness::install_definitions(control_plane).unwrap();
    let text = built_text(RENAMED, &[]);
    for how in [&["apply", "-f", "-"][..], &["apply", "--server-side", "--force-conflicts", "-f", "-"]] {
        control_plane.kubectl(how).stdin(text.clone()).ok().unwrap();
    }
    let account = "--as=system:serviceaccount:elsewhere:team-instance-deletion-controller";
    for what in
        [&["list", "instancedeletions.clouddc.dev", "-A"][..], &["list", "deletionguards.clouddc.dev"]]
    {
        harness::until("the roles are in force", || {
            let can = [&["auth", "can-i", account], what].concat();
            control_plane.kubectl(&can).run().ok()?.status.success().then_some(())
        });
    }
    let id = |n: usize| format!("{n:08x}-0000-0000-0000-000000000000");
    let many = Manifest::new("many", &(0..501).map(id).collect::<Vec<_>>()).text();
    harness::until("the policy is in force", || {
        let call = control_plane.kubectl(&["create", "--dry-run=server", "-n", "default", "-f", "-"]);
        let said = call.stdin(many.clone()).run().ok()?.stderr;
        said.contains("at most 500 (maxInstanceIDs of DeletionGuard team-default)").then_some(())
    });
}
