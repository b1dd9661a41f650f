//! The objects that the Helm chart makes: the same as those of the base.

use std::{fs, path::Path, process::Command};

use control_plane::ControlPlane;
use harness::project;
use serde_json::{Value, json};

use super::{
    SYSTEM,
    objects::{
        GUARDS, Objects, assert_same, assert_selectors, chart, is_hook, kustomized, labels, of_kind, parsed,
        rendered, selectors,
    },
};
use crate::support::binary;

/// Name of the chart, and of the release of most tests.
pub(super) const NAME: &str = "instance-deletion-controller";

pub(super) fn shared() -> &'static ControlPlane {
    ControlPlane::shared().unwrap()
}

/// The namespace: `helm install --create-namespace` makes it.
#[test]
fn the_chart_holds_the_objects_of_the_base() {
    let (base, chart) = (kustomized(shared(), "base"), rendered(shared(), &[]).unwrap());
    assert_same(&base, &chart, &["Namespace"]);
    let narrow = ["--set-json", r#"flags.namespace=["fleet"]"#, "--set-json", r#"rbac.secrets={"fleet":[]}"#];
    let narrowed = rendered(shared(), &narrow).unwrap();
    assert_same(&kustomized(shared(), "overlays/single-namespace"), &narrowed, &["Namespace"]);
    // Only for clusters with the Prometheus operator, and with Grafana's sidecar.
    let monitoring = "monitoring.enabled=true,monitoring.dashboard.enabled=true";
    let monitored = rendered(shared(), &["--set", monitoring]).unwrap();
    let mut both = kustomized(shared(), "monitoring");
    both.extend(base);
    assert_same(&both, &monitored, &["Namespace"]);
    let labels = ["--set", "monitoring.enabled=true,monitoring.rules=false,monitoring.labels.release=stack"];
    let scraped = rendered(shared(), &labels).unwrap();
    assert_eq!(of_kind(&scraped, "PodMonitor")[0]["metadata"]["labels"]["release"], "stack");
    assert!(of_kind(&scraped, "PrometheusRule").is_empty());
    let anywhere = rendered(shared(), &["--set", "rbac.secrets=true"]).unwrap();
    assert_same(&kustomized(shared(), "overlays/cluster-wide"), &anywhere, &["Namespace"]);
}

/// Where the controller may read Secrets: namespace, kind and name of each bound role with its rule.
fn secrets(objects: &Objects) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for ((kind, namespace, name), role) in objects {
        let binding = (format!("{kind}Binding"), namespace.clone(), name.clone());
        let Some(binding) = objects.get(&binding).filter(|_| name.ends_with("-secrets")) else { continue };
        assert_eq!(binding["roleRef"]["kind"], *kind);
        found.push((kind.clone(), namespace.clone(), role["rules"][0]["resourceNames"].clone()));
    }
    found
}

#[test]
fn secrets_are_granted_by_namespace_and_name_and_everywhere_only_if_asked_for() {
    let given = |values: &[&str]| secrets(&rendered(shared(), values).unwrap());
    assert_eq!(given(&[]), []);
    assert_eq!(given(&["--set", "rbac.secrets=false"]), []);
    let role = |namespace: &str, names: Value| ("Role".to_owned(), namespace.to_owned(), names);
    let values = r#"rbac.secrets={"fleet":["clouddc","other"],"labs":[]}"#;
    let (fleet, labs) = (role("fleet", json!(["clouddc", "other"])), role("labs", Value::Null));
    assert_eq!(given(&["--set-json", values]), [fleet, labs]);
    let everywhere = ("ClusterRole".to_owned(), String::new(), Value::Null);
    assert_eq!(given(&["--set", "rbac.secrets=true"]), [everywhere]);
    let within = ["--set", "rbac.secrets=true", "--set", "flags.namespace={fleet,labs}"];
    assert_eq!(given(&within), [role("fleet", Value::Null), role("labs", Value::Null)]);
    assert_eq!(given(&["--set", "flags.namespace={fleet}"]), []);
}

/// Helm creates no object of a kind that the cluster does not serve yet. Until the next call creates the guards, the policy refuses
/// everything, and not only what they would.
#[test]
fn without_the_definition_the_chart_leaves_the_guards_for_the_next_call_and_admits_nothing() {
    let chart = chart();
    let made = |values: &[&str]| {
        let all = ["template", NAME, &chart, "--namespace", SYSTEM];
        let objects = parsed(&shared().helm(&[&all, values].concat()).unwrap().ok().unwrap());
        let bindings = of_kind(&objects, "ValidatingAdmissionPolicyBinding").into_iter();
        let binding = bindings.map(|b| &b["spec"]).find(|b| b["policyName"] == "instance-deletion-guard");
        let without = binding.map(|b| b["paramRef"]["parameterNotFoundAction"].as_str().unwrap().to_owned());
        (of_kind(&objects, "DeletionGuard").len(), without)
    };
    let (deny, allow) = (Some("Deny".to_owned()), Some("Allow".to_owned()));
    let null = ["--set-json", r#"guards={"default":null}"#];
    let two = ["--set-json", r#"guards={"other":{"requireExpect":true}}"#];
    assert_eq!(made(&[]), (0, deny.clone()));
    assert_eq!(made(&two), (0, deny));
    // Nothing is left for the next call.
    assert_eq!(made(&null), (0, allow.clone()));
    assert_eq!(made(&GUARDS), (1, allow.clone()));
    assert_eq!(made(&[GUARDS, two].concat()), (2, allow.clone()));
    assert_eq!(made(&[GUARDS, null].concat()), (0, allow.clone()));
    assert_eq!(made(&["--set", "crd.install=false"]), (1, allow), "the definitions are there already");
    assert_eq!(made(&[&GUARDS[..], &["--set", "policy.install=false"]].concat()), (0, None));
}

/// Files of the chart that `make generate` copies.
#[test]
fn the_copies_in_the_chart_are_those_of_the_base() {
    let files = Path::new(&chart()).join("files");
    let mut copies = 0;
    for (copy, source) in [
        ("crd.yaml", "crds/clouddc.dev_instancedeletions.yaml"),
        ("guard-crd.yaml", "crds/clouddc.dev_deletionguards.yaml"),
        ("guard.yaml", "deploy/policy/guard.yaml"),
        ("advice.yaml", "deploy/policy/advice.yaml"),
        ("users.yaml", "deploy/base/users.yaml"),
        ("alerts.yaml", "deploy/monitoring/alerts.yaml"),
        ("dashboard.json", "deploy/monitoring/dashboard.json"),
        ("values.yaml", "deploy/helm/instance-deletion-controller/values.yaml"),
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
        let text = shared().helm(&[&all, &GUARDS[..], more].concat()).unwrap().ok().unwrap();
        parsed(&text)
    };
    let (first, second) = (release(NAME, &[]), release("other", &second));
    assert!(second.len() >= 8, "{:?}", second.keys());
    assert!(second.keys().all(|key| !first.contains_key(key)), "{:?}", second.keys());
    assert_selectors(&first.into_iter().chain(second).collect());
}

#[test]
fn alerts_lead_to_the_address_of_the_runbooks_and_metrics_are_for_whom_the_values_say() {
    let chart: Value =
        serde_saphyr::from_str(&fs::read_to_string(Path::new(&chart()).join("Chart.yaml")).unwrap()).unwrap();
    let home = chart["home"].as_str().unwrap();
    let address = "https://docs.example/respond-to-alerts";
    for (given, expected) in
        [("", format!("{home}/docs/how-to/respond-to-alerts.md")), (address, address.into())]
    {
        let values = format!("monitoring.enabled=true,monitoring.runbookURL={given}");
        let objects =
            rendered(shared(), &["--set", &values, "--set-json", "networkPolicy.metricsFrom=[]"]).unwrap();
        let rules = of_kind(&objects, "PrometheusRule")[0]["spec"]["groups"][0]["rules"].clone();
        for rule in rules.as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert_eq!(rule["annotations"]["runbook_url"], format!("{expected}#{}", name.to_lowercase()));
        }
        assert_eq!(of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"], json!([]), "nobody");
    }
}

pub(super) fn template(chart: &str, arguments: &[&str]) -> Objects {
    let all = ["template", NAME, chart, "--namespace", SYSTEM];
    let output = shared().helm(&[&all, &GUARDS[..], arguments].concat()).unwrap().run().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output.stderr);
    parsed(&output.stdout)
}

#[test]
fn a_user_id_may_be_taken_away_and_all_else_of_the_security_contexts_stays() {
    let without = ["--set", "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null"];
    let objects = rendered(shared(), &without).unwrap();
    let mut expected = rendered(shared(), &[]).unwrap();
    let key = ("Deployment".to_owned(), SYSTEM.to_owned(), NAME.to_owned());
    let context = &mut expected.get_mut(&key).unwrap()["spec"]["template"]["spec"]["securityContext"];
    for id in ["runAsUser", "runAsGroup"] {
        context.as_object_mut().unwrap().remove(id).unwrap();
    }
    assert_same(&expected, &objects, &[]);
    let named = rendered(shared(), &["--set", "securityContext.runAsUser=1000700000"]).unwrap();
    let container = &of_kind(&named, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["runAsUser"], 1_000_700_000);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn pods_run_on_the_architectures_of_the_image_beside_the_affinity_of_the_values() {
    let affinity = |values: &str| {
        let objects = rendered(shared(), &["--set-json", values]).unwrap();
        of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["affinity"].clone()
    };
    let term =
        "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions";
    let arch = |affinity: &Value| affinity.pointer(&format!("{term}/1/values")).cloned();
    assert_eq!(arch(&affinity("replicas=2")), Some(json!(["amd64", "arm64"])));
    let one = affinity(r#"image.architectures=["amd64"]"#);
    assert_eq!(arch(&one), Some(json!(["amd64"])));
    assert_eq!(one.pointer(&format!("{term}/0/values")), Some(&json!(["linux"])));
    let any = affinity("image.architectures=[]");
    assert!(any["nodeAffinity"].is_null() && !any["podAntiAffinity"].is_null());
    let beside = affinity(r#"affinity={"podAntiAffinity":{}}"#);
    assert!(arch(&beside).is_some() && beside["podAntiAffinity"] == json!({}));
}

#[test]
fn labels_and_objects_of_ones_own_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    let values = json!({
        "nameOverride": "idc",
        "commonLabels": {"team": "fleet", "app.kubernetes.io/name": "another"},
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-map"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Namespace }}-text'}\n",
        ],
    });
    fs::write(&file, values.to_string()).unwrap();
    let objects = rendered(shared(), &["--values", &file.display().to_string()]).unwrap();
    assert_selectors(&objects);
    let extra = [format!("{NAME}-map"), format!("{SYSTEM}-text")];
    let mut found = 0;
    for ((kind, _, name), object) in &objects {
        if extra.contains(name) {
            found += 1;
            continue;
        }
        let labels = labels(&object["metadata"]["labels"]);
        let label = |key: &str| labels.get(key).map(String::as_str);
        assert_eq!(label("team"), Some("fleet"), "{kind} {name}");
        assert_eq!(label("app.kubernetes.io/name"), Some("idc"), "{kind} {name}");
        assert_eq!(label("app.kubernetes.io/instance"), Some(NAME), "{kind} {name}");
    }
    assert_eq!(found, 2, "{:?}", objects.keys());
    let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "fleet");
}

#[test]
fn a_parent_chart_brings_it_along_or_leaves_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("charts")).unwrap();
    assert!(Command::new("cp").arg("-r").arg(chart()).arg(at.join("charts")).status().unwrap().success());
    let condition = format!("{NAME}.enabled");
    let dependency = json!({"name": NAME, "version": "0.1.0", "condition": condition});
    let parent =
        json!({"apiVersion": "v2", "name": "fleet", "version": "1.0.0", "dependencies": [dependency]});
    fs::write(at.join("Chart.yaml"), parent.to_string()).unwrap();
    let values =
        json!({"global": {"site": "x"}, NAME: {"enabled": true, "replicas": 3, "crd": null, "rbac": null}});
    fs::write(at.join("values.yaml"), values.to_string()).unwrap();
    let parent = at.display().to_string();
    let brought = template(&parent, &[]);
    let mut expected = rendered(shared(), &["--set", "replicas=3"]).unwrap();
    assert_same(&expected, &brought, &[]);
    let disabled = template(&parent, &["--set", &format!("{condition}=false")]);
    assert!(disabled.is_empty(), "{:?}", disabled.keys());
    // From the command line, keys of maps may be taken away there too.
    let without = template(&parent, &["--set", &format!("{NAME}.podSecurityContext.runAsUser=null")]);
    let key = ("Deployment".to_owned(), SYSTEM.to_owned(), NAME.to_owned());
    let context = &mut expected.get_mut(&key).unwrap()["spec"]["template"]["spec"]["securityContext"];
    context.as_object_mut().unwrap().remove("runAsUser").unwrap();
    assert_same(&expected, &without, &[]);
}

/// The Pod of `helm test`.
pub(super) fn test_pod(values: &[&str]) -> Value {
    let chart = chart();
    let all = ["template", NAME, &chart, "--namespace", SYSTEM];
    let text = shared().helm(&[&all, values].concat()).unwrap().ok().unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut hooks = documents.into_iter().filter(is_hook);
    let pod = hooks.next().unwrap();
    assert!(hooks.next().is_none());
    pod
}

#[test]
fn helm_test_runs_the_image_of_the_controller_as_the_controller_runs() {
    const FLAGS: [&str; 6] = [
        "--set",
        "flags.namespace={fleet},flags.pollMin=1m30s",
        "--set-json",
        r#"env=[{"name":"NO_PROXY","value":"clouddc.example"}]"#,
        "--set-json",
        r#"volumes=[{"name":"ca","emptyDir":{}}]"#,
    ];
    let pod = test_pod(&FLAGS);
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    let objects = rendered(shared(), &FLAGS).unwrap();
    let own = labels(&pod["metadata"]["labels"]);
    for selector in selectors(&objects) {
        assert!(!selector.iter().all(|(key, value)| own.get(key) == Some(value)), "{selector:?} takes it");
    }
    let spec = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    let (tested, controller) = (&pod["spec"]["containers"][0], &spec["containers"][0]);
    for field in ["image", "securityContext", "resources", "env", "volumeMounts"] {
        assert_eq!(tested[field], controller[field], "{field}");
    }
    for field in ["securityContext", "affinity", "enableServiceLinks", "serviceAccountName", "volumes"] {
        assert_eq!(pod["spec"][field], spec[field], "{field}");
    }
    let args = |container: &Value| serde_json::from_value::<Vec<String>>(container["args"].clone()).unwrap();
    let (tested, controller) = (args(tested), args(controller));
    assert_eq!((tested[0].as_str(), &tested[1..]), ("check", &controller[1..]));
    assert_eq!(tested.len(), 3, "{tested:?}");
    let output = Command::new(binary()).args(&tested).arg("--offline").env_clear().output().unwrap();
    assert!(output.status.success(), "{tested:?}: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_chart_is_well_formed_for_helm_itself() {
    let output = shared().helm(&["lint", "--strict", &chart()]).unwrap().run().unwrap();
    assert!(output.status.success() && output.stdout.contains("0 chart(s) failed"), "{}", output.stdout);
}
