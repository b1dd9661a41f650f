//! The Helm chart: the same objects as the base, values that are checked, upgrades and removal.

use std::{fs, path::Path, process::Command};

use control_plane::ControlPlane;
use harness::{project, until};
use serde_json::{Value, json};

use super::{
    SYSTEM, cluster, deletes, deployment,
    kustomize::GRANTS,
    objects::{assert_same, assert_selectors, chart, kustomized, of_kind, rendered},
    read, run, runs_under_pod_security, stage, start, until_may,
};
use crate::support::binary;

const NAME: &str = "instance-deletion-controller";
const INSTALL: &str = "helm install instance-deletion-controller deploy/helm/instance-deletion-controller --namespace clouddc-system --create-namespace";
const UPGRADE: &str = "helm upgrade instance-deletion-controller deploy/helm/instance-deletion-controller --namespace clouddc-system";
const SECOND: &str = "helm install second deploy/helm/instance-deletion-controller --namespace clouddc-system \
     --set crd.install=false,policy.install=false,userRoles.install=false --set flags.selector=clouddc.dev/shard=b";
const RESTRICT: &str = "kubectl label namespace clouddc-system pod-security.kubernetes.io/enforce=restricted \
     pod-security.kubernetes.io/warn=restricted";

fn shared() -> &'static ControlPlane {
    ControlPlane::shared().unwrap()
}

/// The namespace: `helm install --create-namespace` makes it.
#[test]
fn the_chart_holds_the_objects_of_the_base() {
    let (base, chart) = (kustomized(shared(), "base"), rendered(shared(), &[]).unwrap());
    assert_same(&base, &chart, &["Namespace"]);
    let narrowed = rendered(shared(), &["--set-json", r#"flags.namespace=["fleet"]"#]).unwrap();
    assert_same(&kustomized(shared(), "overlays/single-namespace"), &narrowed, &["Namespace"]);
    // Only for clusters with the Prometheus operator.
    let monitored = rendered(shared(), &["--set", "monitoring.enabled=true"]).unwrap();
    let mut both = kustomized(shared(), "monitoring");
    both.extend(base);
    assert_same(&both, &monitored, &["Namespace"]);
    let labels = ["--set", "monitoring.enabled=true,monitoring.rules=false,monitoring.labels.release=stack"];
    let scraped = rendered(shared(), &labels).unwrap();
    assert_eq!(of_kind(&scraped, "PodMonitor")[0]["metadata"]["labels"]["release"], "stack");
    assert!(of_kind(&scraped, "PrometheusRule").is_empty());
    let without = rendered(shared(), &["--set", "rbac.secrets=false"]).unwrap();
    assert_same(&kustomized(shared(), "overlays/secrets-by-namespace"), &without, &["Namespace"]);
}

/// Files of the chart that `make generate` copies.
#[test]
fn the_copies_in_the_chart_are_those_of_the_base() {
    let files = Path::new(&chart()).join("files");
    let mut copies = 0;
    for (copy, source) in [
        ("crd.yaml", "crds/clouddc.dev_instancedeletions.yaml"),
        ("guard.yaml", "deploy/policy/guard.yaml"),
        ("advice.yaml", "deploy/policy/advice.yaml"),
        ("users.yaml", "deploy/base/users.yaml"),
        ("alerts.yaml", "deploy/monitoring/alerts.yaml"),
    ] {
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(text(&files.join(copy)), text(&project().join(source)), "run make generate: {copy}");
        copies += 1;
    }
    assert_eq!(fs::read_dir(&files).unwrap().count(), copies);
}

#[test]
fn a_second_release_beside_the_first_shares_no_object_with_it() {
    let chart = chart();
    let second = ["--set", "crd.install=false,policy.install=false,userRoles.install=false"];
    let release = |name: &str, more: &[&str]| {
        let all = ["template", name, &chart, "--namespace", SYSTEM];
        let text = shared().helm(&[&all, more].concat()).unwrap().ok().unwrap();
        super::objects::parsed(&text)
    };
    let (first, second) = (release(NAME, &[]), release("other", &second));
    assert!(second.len() >= 8, "{:?}", second.keys());
    assert!(second.keys().all(|key| !first.contains_key(key)), "{:?}", second.keys());
    assert_selectors(&first.into_iter().chain(second).collect());
}

/// The flags that `run --help` lists.
fn flags() -> Vec<String> {
    let help = Command::new(binary()).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help.lines().filter(|line| line.trim_start().starts_with(['-']));
    let mut flags: Vec<String> = lines
        .filter_map(|line| line.split_once("--")?.1.split([' ', '=']).next().map(str::to_owned))
        .filter(|flag| flag != "help")
        .collect();
    flags.sort();
    assert!(flags.len() > 15, "{flags:?}");
    flags
}

fn camel(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

fn schema() -> Value {
    let text = fs::read_to_string(Path::new(&chart()).join("values.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The schema of the values has an example of each flag, and the program accepts the flags that the chart makes of them.
#[test]
fn every_flag_is_a_value_and_becomes_an_argument_that_the_program_takes() {
    let properties = schema()["properties"]["flags"]["properties"].clone();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, crate::tls::authority("roots").pem).unwrap();
    let mut values = serde_json::Map::new();
    for flag in flags() {
        let example = &properties[camel(&flag)]["examples"][0];
        assert!(!example.is_null(), "values.schema.json has no example of {flag}");
        let value = if flag == "ca-file" { json!(roots.display().to_string()) } else { example.clone() };
        values.insert(camel(&flag), value);
    }
    assert_eq!(properties.as_object().unwrap().len(), values.len(), "a value that is no flag");
    let objects = rendered(shared(), &["--set-json", &format!("flags={}", Value::Object(values))]).unwrap();
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    for flag in flags() {
        let given = |arg: &&String| arg.split('=').next() == Some(&format!("--{flag}"));
        assert!(args.iter().any(|arg| given(&arg)), "--{flag}: {args:?}");
    }
    assert_eq!(args.iter().filter(|arg| arg.starts_with("--namespace=")).count(), 2);
    assert_eq!(container["ports"][0]["containerPort"], 9090, "of flags.listen");
    assert_eq!(container["ports"][1]["containerPort"], 9091, "of flags.healthListen");
    let policy = &of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"];
    assert_eq!(policy[0]["ports"], json!([{"protocol": "TCP", "port": 9090}]), "metrics alone: {policy}");
    // The program looks for a cluster and finds none. With an unknown flag it would have ended before that.
    let mut program = Command::new(binary());
    program.args(&args).env_clear().env("KUBECONFIG", "/nowhere/kubeconfig");
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("/nowhere/kubeconfig"), "{args:?}: {said}");
}

#[test]
fn values_of_a_wrong_type_or_name_are_refused_with_their_place() {
    let table = [
        ("replicas=\"two\"", "/replicas"),
        ("replicas=-1", "/replicas"),
        ("flags.pollMin=5", "/flags/pollMin"),
        ("flags.pollMin=\"5\"", "/flags/pollMin"),
        ("flags.settle=\"0s\"", "/flags/settle"),
        ("flags.deleteRate=0", "/flags/deleteRate"),
        ("flags.deleteRate=\"fast\"", "/flags/deleteRate"),
        ("flags.parallelCalls=65", "/flags/parallelCalls"),
        ("flags.namespace=\"fleet\"", "/flags/namespace"),
        ("flags.namespace=[\"\"]", "/flags/namespace"),
        ("flags.endpoint=[\"r=https://x\"]", "/flags/endpoint"),
        ("flags.endpoint={\"r\":\"x\"}", "/flags/endpoint"),
        ("flags.logFormat=\"xml\"", "/flags/logFormat"),
        ("flags.pollmin=\"5s\"", "'pollmin'"),
        ("flags.allowInsecureEndpoint=\"yes\"", "/flags/allowInsecureEndpoint"),
        ("image.digest=\"sha256:12\"", "/image/digest"),
        ("image.repository=\"\"", "/image/repository"),
        ("policy.maxInstanceIDs=\"500\"", "/policy/maxInstanceIDs"),
        ("policy.maxInstanceIDs=5001", "/policy/maxInstanceIDs"),
        ("policy.protected={\"Namespace.x\":\"y\"}", "Namespace.x"),
        ("networkPolicy.egressPorts=[]", "/networkPolicy/egressPorts"),
        ("terminationGracePeriodSeconds=10", "/terminationGracePeriodSeconds"),
        ("monitoring.runbookURL=\"docs/alerts\"", "/monitoring/runbookURL"),
        ("nonsense=1", "'nonsense'"),
    ];
    for (value, place) in table {
        let said = rendered(shared(), &["--set-json", value]).expect_err(value);
        assert!(said.contains("schema") && said.contains(place), "{value}: {said}");
    }
}

#[test]
fn alerts_lead_to_the_address_of_the_runbooks_and_metrics_are_for_whom_the_values_say() {
    let address = "https://docs.example/respond-to-alerts";
    let values = format!("monitoring.enabled=true,monitoring.runbookURL={address}");
    let objects =
        rendered(shared(), &["--set", &values, "--set-json", "networkPolicy.metricsFrom=[]"]).unwrap();
    let rules = of_kind(&objects, "PrometheusRule")[0]["spec"]["groups"][0]["rules"].clone();
    for rule in rules.as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        let annotations = &rule["annotations"];
        assert_eq!(annotations["runbook_url"], format!("{address}#{}", name.to_lowercase()));
        assert!(annotations["runbook"].is_null(), "{name}");
    }
    assert_eq!(of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"], json!([]), "nobody");
}

#[test]
fn the_chart_is_well_formed_for_helm_itself() {
    let output = shared().helm(&["lint", "--strict", &chart()]).unwrap().run().unwrap();
    assert!(output.status.success() && output.stdout.contains("0 chart(s) failed"), "{}", output.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_leaves_every_object_at_the_end() {
    let (control_plane, _ends) = cluster();
    let said = run(control_plane, INSTALL);
    assert!(said.contains("works on all namespaces") && said.contains("dryRun: true"), "{said}");
    run(control_plane, RESTRICT);
    let first = deployment(control_plane, NAME);
    runs_under_pod_security(control_plane, &first);
    let namespace = control_plane.create_namespace("charted").unwrap();
    let stage = stage(control_plane, &namespace, &first).await;
    let controller = start(&stage, &first);
    deletes(&stage, "first");
    controller.kill();
    // Protection that was added by hand.
    let protect = "kubectl patch configmap instance-deletion-guard -n clouddc-system --type=merge \
         -p '{\"data\":{\"0198170e-4ca7-7ee4-89a7-fa631843920b\":\"database-of-the-billing\"}}'";
    run(control_plane, protect);
    // A value that was changed by hand makes an upgrade fail; it is not overwritten silently.
    let most = ["patch", "configmap", "instance-deletion-guard", "-n", SYSTEM, "--type=merge"];
    control_plane
        .kubectl(&[&most[..], &["-p", r#"{"data":{"maxInstanceIDs":"400"}}"#]].concat())
        .ok()
        .unwrap();
    let upgrade = super::documented(UPGRADE);
    let refused = control_plane.helm(&upgrade[1..]).unwrap().run().unwrap();
    assert!(refused.stderr.contains("conflict with \"kubectl-patch\""), "{}", refused.stderr);
    for (mode, rate) in [("true", 50), ("false", 60)] {
        let values = format!("flags={{\"deleteRate\":{rate},\"parallelCalls\":2}}");
        let mut words = super::documented(&format!("{UPGRADE} --set policy.maxInstanceIDs=400"));
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
        let guard = read(control_plane, &["configmap", "instance-deletion-guard", "-n", SYSTEM]);
        assert_eq!(guard["data"]["maxInstanceIDs"], "400");
        assert_eq!(guard["data"]["0198170e-4ca7-7ee4-89a7-fa631843920b"], "database-of-the-billing");
    }
    shards(control_plane);
    let before = stage.get("first");
    let uninstall = "helm uninstall instance-deletion-controller --namespace clouddc-system";
    let said = run(control_plane, uninstall);
    assert!(said.contains("kept") && said.contains("instancedeletions.clouddc.dev"), "{said}");
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
    deletes(&stage, "again");
    assert_eq!(stage.get("first"), before, "what had ended is not touched");
    drop(controller);
}

/// A second release beside the first.
fn shards(control_plane: &ControlPlane) {
    run(control_plane, SECOND);
    let mut words = super::documented(UPGRADE);
    let more = ["--set flags.selector=clouddc.dev/shard!=b", "--set policy.maxInstanceIDs=400"];
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
    let crd = older.join("files/crd.yaml");
    let text = fs::read_to_string(&crd).unwrap();
    let without = text.replace("name: PROGRESS", "name: DONE");
    assert_ne!(text, without);
    fs::write(&crd, without).unwrap();
    let older = older.display().to_string();
    let install =
        ["install", NAME, &older, "--namespace", SYSTEM, "--create-namespace", "--set", "replicas=3"];
    control_plane.helm(&install).unwrap().ok().unwrap();
    let column = || {
        let crd = read(control_plane, &["crd", "instancedeletions.clouddc.dev"]);
        crd["spec"]["versions"][0]["additionalPrinterColumns"][1]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(column(), "DONE");
    run(control_plane, UPGRADE);
    assert_eq!(column(), "PROGRESS");
    // Values stay only when none is given.
    let replicas = || deployment(control_plane, NAME)["spec"]["replicas"].clone();
    assert_eq!(replicas(), 3);
    run(control_plane, &format!("{UPGRADE} --set policy.maxInstanceIDs=400"));
    assert_eq!(replicas(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kustomize_installed_helm_takes_over() {
    let (control_plane, _ends) = cluster();
    run(control_plane, "kubectl apply -k deploy/base");
    let command = "helm install instance-deletion-controller deploy/helm/instance-deletion-controller \
         --namespace clouddc-system --take-ownership --force-conflicts";
    run(control_plane, command);
    let taken = deployment(control_plane, NAME);
    assert_eq!(taken["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    let namespace = control_plane.create_namespace("taken").unwrap();
    let stage = stage(control_plane, &namespace, &taken).await;
    let _controller = start(&stage, &taken);
    deletes(&stage, "retire");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_one_namespace_and_one_secret_helm_gives_no_more() {
    let (control_plane, _ends) = cluster();
    control_plane.kubectl(&["create", "namespace", "fleet"]).ok().unwrap();
    let command = "helm install instance-deletion-controller deploy/helm/instance-deletion-controller \
         --namespace clouddc-system --create-namespace --set flags.namespace={fleet} --set rbac.secrets=false";
    let said = run(control_plane, command);
    assert!(
        said.contains("works on the namespaces fleet") && said.contains("No Secret may be read yet"),
        "{said}"
    );
    for grant in GRANTS {
        run(control_plane, grant);
    }
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
