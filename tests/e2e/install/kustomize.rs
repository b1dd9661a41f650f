//! `kubectl apply -k` of the base and of each overlay.

use harness::{Manifest, condition};
use serde_json::{Value, json};

use super::{
    SYSTEM, cluster, deletes, deployment, may,
    objects::{Objects, assert_same, assert_selectors, kustomized, of_kind},
    pod, read, run, runs_under_pod_security, stage, start, until_may,
};
use crate::support::{assert_succeeded, each_once, instances};

/// The documented commands that let the controller read one Secret of one namespace.
pub(super) const GRANTS: [&str; 2] = [
    "kubectl create role instance-deletion-controller-secrets -n fleet --verb=get --resource=secrets --resource-name=clouddc",
    "kubectl create rolebinding instance-deletion-controller-secrets -n fleet --role=instance-deletion-controller-secrets --serviceaccount=clouddc-system:instance-deletion-controller",
];
const REMOVAL: [&str; 3] = [
    "kubectl delete deployment,poddisruptionbudget,networkpolicy,serviceaccount instance-deletion-controller -n clouddc-system",
    "kubectl delete role,rolebinding instance-deletion-controller-lease -n clouddc-system",
    "kubectl delete clusterrole,clusterrolebinding instance-deletion-controller instance-deletion-controller-secrets",
];
const NAME: &str = "instance-deletion-controller";

#[tokio::test(flavor = "multi_thread")]
async fn the_base_and_the_cluster_wide_overlay_work_in_every_namespace() {
    let (control_plane, _ends) = cluster();
    for command in ["kubectl apply -k deploy/base", "kubectl apply -k deploy/overlays/cluster-wide"] {
        run(control_plane, command);
        // The second command is an upgrade: it restores fields of the files and keeps fields that were added by hand.
        let guard = read(control_plane, &["configmap", "instance-deletion-guard", "-n", SYSTEM]);
        assert_eq!(guard["data"]["maxInstanceIDs"], "500");
        assert_eq!(guard["data"].get("namespace.production").is_some(), command.contains("cluster-wide"));
        let by_hand = r#"{"data":{"maxInstanceIDs":"400","namespace.production":"by hand"}}"#;
        let patch =
            ["patch", "configmap", "instance-deletion-guard", "-n", SYSTEM, "--type=merge", "-p", by_hand];
        control_plane.kubectl(&patch).ok().unwrap();
        let deployment = deployment(control_plane, NAME);
        runs_under_pod_security(control_plane, &deployment);
        let namespace = control_plane.create_namespace("anywhere").unwrap();
        let stage = stage(control_plane, &namespace, &deployment).await;
        let _controller = start(&stage, &deployment);
        deletes(&stage, "retire");
    }
    assert_same(&kustomized(control_plane, "base"), &kustomized(control_plane, "overlays/cluster-wide"), &[]);

    // The documented removal leaves every object.
    for command in REMOVAL {
        run(control_plane, command);
    }
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
    run(control_plane, "kubectl apply -k deploy/overlays/single-namespace");
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
        "kubectl apply --dry-run=server -f deploy/examples/instancedeletion.yaml",
    ] {
        run(control_plane, command);
    }
    assert!(stage.get("retire-rack-12").is_null(), "tried, not stored");
    let controller = start(&stage, &deployment);
    deletes(&stage, "retire");
    assert!(!controller.log().contains("forbidden"), "{}", controller.log());

    let base = kustomized(control_plane, "base");
    let narrowed = kustomized(control_plane, "overlays/single-namespace");
    assert_eq!(rules(&narrowed, "Role", "fleet"), rules(&base, "ClusterRole", ""));
    let left = |kind| of_kind(&narrowed, kind).iter().filter(|o| name(o).starts_with(NAME)).count();
    assert_eq!((left("ClusterRole"), left("ClusterRoleBinding")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_only_where_that_is_granted() {
    let (control_plane, _ends) = cluster();
    run(control_plane, "kubectl apply -k deploy/overlays/secrets-by-namespace");
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
    for command in [
        "kubectl apply -k deploy/base",
        "kubectl apply -k deploy/overlays/sharded",
        "kubectl delete deployment,poddisruptionbudget,networkpolicy instance-deletion-controller -n clouddc-system",
    ] {
        run(control_plane, command);
    }
    let shards = ["a", "b"].map(|shard| deployment(control_plane, &format!("{NAME}-{shard}")));
    let namespace = control_plane.create_namespace("sharded").unwrap();
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
