//! Helm on a cluster: installs, upgrades, removal, and a release that takes over what kustomize installed.

use std::{fs, process::Command};

use control_plane::ControlPlane;
use harness::{Manifest, until};
use serde_json::{Value, json};

use super::{
    SYSTEM,
    chart::{NAME, test_pod},
    cluster, deletes, deployment, grant, install,
    objects::chart,
    read, run, runs_under_pod_security, stage, start, until_may,
    values::BEFORE,
};
use crate::support::binary;

const INSTALL: &str = "helm install instance-deletion-controller deploy/helm/instance-deletion-controller --namespace clouddc-system --create-namespace";
const UPGRADE: &str = "helm upgrade instance-deletion-controller deploy/helm/instance-deletion-controller --namespace clouddc-system";
const SECOND: &str = "helm install second deploy/helm/instance-deletion-controller --namespace clouddc-system \
     --set crd.install=false,policy.install=false,userRoles.install=false --set flags.selector=clouddc.dev/shard=b";
const RESTRICT: &str = "kubectl label namespace clouddc-system pod-security.kubernetes.io/enforce=restricted \
     pod-security.kubernetes.io/warn=restricted";

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_leaves_every_object_at_the_end() {
    let (control_plane, _ends) = cluster();
    let said = run(control_plane, INSTALL);
    assert!(said.contains("works on all namespaces") && said.contains("dryRun: true"), "{said}");
    assert!(said.contains("No Secret may be read yet"), "{said}");
    guards_come_with_the_next_call(control_plane, &said);
    run(control_plane, RESTRICT);
    let first = deployment(control_plane, NAME);
    runs_under_pod_security(control_plane, &first);
    let tested = control_plane.kubectl(&["create", "-n", SYSTEM, "-f", "-"]);
    let tested = tested.stdin(test_pod(&[]).to_string()).run().unwrap();
    assert!(tested.status.success() && tested.stderr.is_empty(), "{}", tested.stderr);
    nothing_is_in_the_way(control_plane, &first);
    let namespace = control_plane.create_namespace("charted").unwrap();
    grant(control_plane, &namespace);
    let stage = stage(control_plane, &namespace, &first).await;
    let controller = start(&stage, &first);
    deletes(&stage, "first");
    controller.kill();
    // Protection that was added by hand.
    let protect =
        "kubectl patch deletionguard default --type=merge -p '{\"spec\":{\"requireRolloutAbove\":100}}'";
    run(control_plane, protect);
    // A value that was changed by hand makes an upgrade fail; it is not overwritten silently.
    let most =
        ["patch", "deletionguard", "default", "--type=merge", "-p", r#"{"spec":{"maxInstanceIDs":400}}"#];
    control_plane.kubectl(&most).ok().unwrap();
    let upgrade = super::documented(UPGRADE);
    let refused = control_plane.helm(&upgrade[1..]).unwrap().run().unwrap();
    assert!(refused.stderr.contains("conflict with \"kubectl-patch\""), "{}", refused.stderr);
    for (mode, rate) in [("true", 50), ("false", 60)] {
        let values = format!("flags={{\"deleteRate\":{rate},\"parallelCalls\":2}}");
        let mut words = super::documented(&format!("{UPGRADE} --set guards.default.maxInstanceIDs=400"));
        words.extend(["--set-json", &values, "--set", "replicas=3"].map(str::to_owned));
        words.push(format!("--server-side={mode}"));
        control_plane.helm(&words[1..]).unwrap().ok().unwrap();
        let upgraded = deployment(control_plane, NAME);
        let args = upgraded["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        assert_eq!(args, json!(["run", format!("--delete-rate={rate}"), "--parallel-calls=2"]));
        assert_eq!(upgraded["spec"]["replicas"], 3);
        let controller = start(&stage, &upgraded);
        deletes(&stage, &format!("upgraded-{mode}"));
        controller.kill();
        let guard = read(control_plane, &["deletionguard", "default"]);
        assert_eq!(guard["spec"], json!({"maxInstanceIDs": 400, "requireRolloutAbove": 100}));
    }
    shards(control_plane);
    let before = stage.get("first");
    let uninstall = "helm uninstall instance-deletion-controller --namespace clouddc-system";
    let said = run(control_plane, uninstall);
    for definition in ["instancedeletions.clouddc.dev", "deletionguards.clouddc.dev"] {
        assert!(said.contains("kept") && said.contains(definition), "{said}");
    }
    let gone =
        ["get", "deployment,networkpolicy,poddisruptionbudget,serviceaccount", "-n", SYSTEM, "-o", "name"];
    until("its objects are gone", || {
        let left = control_plane.kubectl(&gone).ok().ok()?;
        left.is_empty().then_some(())
    });
    assert_eq!(stage.get("first"), before, "with its record");
    // Installed again, with the CRD that was kept.
    run(control_plane, INSTALL);
    let again = deployment(control_plane, NAME);
    // The new ServiceAccount has the same name and another token.
    super::account(control_plane, &again);
    let controller = start(&stage, &again);
    until_may(control_plane, stage.kubeconfig(), &["list", "deletionguards.clouddc.dev"]);
    deletes(&stage, "again");
    assert_eq!(stage.get("first"), before, "what had ended is not touched");
    drop(controller);
}

/// Helm creates no object of a kind that the same call defines. Until the guards are there, everything is refused.
fn guards_come_with_the_next_call(control_plane: &ControlPlane, said: &str) {
    assert!(said.contains("The guards are not there yet"), "{said}");
    let plan =
        Manifest::new("plan", &["0198170e-4ca7-7ee4-89a7-fa631843920b".to_owned()]).with("dryRun", true);
    let tried = || {
        let call = control_plane.kubectl(&["create", "--dry-run=server", "-n", "default", "-f", "-"]);
        call.stdin(plan.text()).run().unwrap()
    };
    until("everything is refused", || tried().stderr.contains("no params found").then_some(()));
    let none = control_plane.kubectl(&["get", "deletionguards", "-o", "name"]).ok().unwrap();
    assert_eq!(none, "");
    let said = run(control_plane, UPGRADE);
    assert!(!said.contains("The guards are not there yet"), "{said}");
    assert_eq!(read(control_plane, &["deletionguard", "default"])["spec"], json!({"maxInstanceIDs": 500}));
    until("the guards admit it", || tried().status.success().then_some(()));
}

/// What the Pod of `helm test` does: `check` as the ServiceAccount, which says that nothing is in the way.
fn nothing_is_in_the_way(control_plane: &ControlPlane, deployment: &Value) {
    let account = super::account(control_plane, deployment);
    until("the check passes", || {
        let mut check = Command::new(binary());
        let lease = format!("--lease-namespace={SYSTEM}");
        check.args(["check", &lease]).env_clear().env("KUBECONFIG", &account);
        check.output().unwrap().status.success().then_some(())
    });
}

/// A second release beside the first.
fn shards(control_plane: &ControlPlane) {
    run(control_plane, SECOND);
    let mut words = super::documented(UPGRADE);
    let more = ["--set flags.selector=clouddc.dev/shard!=b", "--set guards.default.maxInstanceIDs=400"];
    words.extend(more.iter().flat_map(|more| super::documented(more)));
    control_plane.helm(&words[1..]).unwrap().ok().unwrap();
    let args = |name: &str| {
        let deployment = deployment(control_plane, name);
        deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone()
    };
    assert_eq!(args(NAME), json!(["run", "--selector=clouddc.dev/shard!=b"]));
    assert_eq!(args("second-instance-deletion-controller"), json!(["run", "--selector=clouddc.dev/shard=b"]));
    control_plane.helm(&["uninstall", "second", "--namespace", SYSTEM]).unwrap().ok().unwrap();
}

/// A copy of the chart as of an older version, with one column and one field less.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_brings_the_new_crd() {
    let (control_plane, _ends) = cluster();
    let folder = tempfile::tempdir().unwrap();
    let older = folder.path().join("older");
    let copy = Command::new("cp").arg("-r").arg(chart()).arg(&older).status().unwrap();
    assert!(copy.success());
    fs::write(older.join("values.yaml"), BEFORE).unwrap();
    let crd = older.join("files/crd.yaml");
    let text = fs::read_to_string(&crd).unwrap();
    let without = text.replace("name: PROGRESS", "name: DONE");
    assert_ne!(text, without);
    fs::write(&crd, without).unwrap();
    // It knew no guards.
    let definitions = older.join("templates/crd.yaml");
    let text = fs::read_to_string(&definitions).unwrap();
    let without = text.replace(r#"list "files/crd.yaml" "files/guard-crd.yaml""#, r#"list "files/crd.yaml""#);
    assert_ne!(text, without);
    fs::write(&definitions, without).unwrap();
    // Its Pods were selected by other labels.
    let helpers = older.join("templates/_helpers.tpl");
    let text = fs::read_to_string(&helpers).unwrap();
    let without = text.replace("app.kubernetes.io/instance: {{ .Release.Name }}\n", "");
    assert_ne!(text, without);
    fs::write(&helpers, without).unwrap();
    let older = older.display().to_string();
    let install =
        ["install", NAME, &older, "--namespace", SYSTEM, "--create-namespace", "--set", "replicas=3"];
    control_plane.helm(&install).unwrap().ok().unwrap();
    let column = || {
        let crd = read(control_plane, &["crd", "instancedeletions.clouddc.dev"]);
        crd["spec"]["versions"][0]["additionalPrinterColumns"][1]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(column(), "DONE");
    let guards = || control_plane.kubectl(&["get", "deletionguards", "-o", "name"]).run().unwrap();
    assert!(guards().stderr.contains("doesn't have a resource type"), "{}", guards().stderr);
    let mut reuse = super::documented(UPGRADE);
    reuse.push("--reuse-values".to_owned());
    let refused = control_plane.helm(&reuse[1..]).unwrap().run().unwrap();
    assert!(refused.stderr.contains("field is immutable"), "{}", refused.stderr);
    run(control_plane, "kubectl delete deployment instance-deletion-controller -n clouddc-system");
    control_plane.helm(&reuse[1..]).unwrap().ok().unwrap();
    assert_eq!(column(), "PROGRESS");
    let replicas = || deployment(control_plane, NAME)["spec"]["replicas"].clone();
    assert_eq!(replicas(), 3);
    // Values stay only when none is given.
    run(control_plane, UPGRADE);
    assert_eq!((replicas(), guards().stdout.trim()), (json!(3), "deletionguard.clouddc.dev/default"));
    run(control_plane, &format!("{UPGRADE} --set guards.default.maxInstanceIDs=400"));
    assert_eq!(replicas(), 2);
    // A Secret of a namespace, and the cluster of one node.
    control_plane.kubectl(&["create", "namespace", "fleet"]).ok().unwrap();
    run(control_plane, &format!("{UPGRADE} --set rbac.secrets.fleet={{clouddc}}"));
    let kubeconfig = super::account(control_plane, &deployment(control_plane, NAME));
    until_may(control_plane, &kubeconfig, &["get", "secrets/clouddc", "-n", "fleet"]);
    assert!(!super::may(control_plane, &kubeconfig, &["get", "secrets/other", "-n", "fleet"]));
    run(
        control_plane,
        "kubectl scale deployment/instance-deletion-controller -n clouddc-system --replicas=1",
    );
    assert_eq!(replicas(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kustomize_installed_helm_takes_over() {
    let (control_plane, _ends) = cluster();
    install(control_plane, "kubectl apply -k deploy/base");
    let command = "helm install instance-deletion-controller deploy/helm/instance-deletion-controller \
         --namespace clouddc-system --take-ownership --force-conflicts";
    run(control_plane, command);
    let taken = deployment(control_plane, NAME);
    assert_eq!(taken["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    let namespace = control_plane.create_namespace("taken").unwrap();
    grant(control_plane, &namespace);
    let stage = stage(control_plane, &namespace, &taken).await;
    let _controller = start(&stage, &taken);
    deletes(&stage, "retire");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_one_namespace_and_one_secret_helm_gives_no_more() {
    let (control_plane, _ends) = cluster();
    control_plane.kubectl(&["create", "namespace", "fleet"]).ok().unwrap();
    let command = "helm install instance-deletion-controller deploy/helm/instance-deletion-controller \
         --namespace clouddc-system --create-namespace --set flags.namespace={fleet} --set rbac.secrets.fleet={clouddc}";
    let said = run(control_plane, command);
    assert!(said.contains("works on the namespaces fleet") && !said.contains("No Secret"), "{said}");
    run(control_plane, UPGRADE);
    let deployment = deployment(control_plane, NAME);
    let stage = stage(control_plane, "fleet", &deployment).await;
    until_may(control_plane, stage.kubeconfig(), &["get", "secrets/clouddc", "-n", "fleet"]);
    for more in [
        &["get", "secrets/other", "-n", "fleet"][..],
        &["list", "instancedeletions.clouddc.dev", "-n", SYSTEM],
    ] {
        assert!(!super::may(control_plane, stage.kubeconfig(), more), "{more:?}");
    }
    let _controller = start(&stage, &deployment);
    deletes(&stage, "retire");
}
