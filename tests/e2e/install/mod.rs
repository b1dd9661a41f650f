//! Each way to install, applied to an empty cluster.
//!
//! No controller manager runs the Deployment. The tests start the controller with the arguments and the ServiceAccount of the
//! Deployment that the API server holds, and create a Pod of its template.

mod chart;
mod disaster;
mod helm;
mod image;
mod kustomize;
mod objects;
mod published;
mod values;

use std::path::PathBuf;

use control_plane::ControlPlane;
use harness::{Controller, Manifest, OwnControlPlane, Stage, project, until};
use serde_json::{Value, json};

use crate::support::{assert_succeeded, binary, each_once, instances, options};

/// Where everything is installed.
const SYSTEM: &str = "clouddc-system";

/// An empty cluster. It ends when the second value is dropped.
fn cluster() -> (&'static ControlPlane, OwnControlPlane) {
    let own = OwnControlPlane::start().unwrap();
    (own.0, own)
}

/// The pages whose commands are run here.
pub const PAGES: [&str; 6] = [
    "docs/how-to/install-with-kustomize.md",
    "docs/how-to/install-with-helm.md",
    "docs/how-to/restrict-permissions.md",
    "docs/how-to/upgrade.md",
    "docs/how-to/uninstall.md",
    "docs/how-to/recover-from-a-disaster.md",
];

const ESTABLISHED: &str = "kubectl wait --for=condition=Established crd/instancedeletions.clouddc.dev \
     crd/deletionguards.clouddc.dev --timeout=60s";

/// A command that one of these pages says in these words: what it calls, and its arguments.
fn documented(command: &str) -> Vec<String> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |page: &&str| -> bool {
        let text = std::fs::read_to_string(project().join(page)).unwrap().replace("\\\n", " ");
        words(&text).contains(&words(command))
    };
    assert!(PAGES.iter().any(says), "no page says: {command}");
    let root = project().canonicalize().unwrap();
    // Folders are meant from the top folder of the project.
    let absolute = |word: &str| match word.strip_prefix("deploy/") {
        Some(rest) => root.join("deploy").join(rest).display().to_string(),
        None if word == "crds" => root.join(word).display().to_string(),
        None => word.trim_matches('\'').to_owned(),
    };
    command.split_whitespace().map(absolute).collect()
}

/// Runs a documented command of kubectl or helm as an administrator.
fn run(control_plane: &ControlPlane, command: &str) -> String {
    let words = documented(command);
    let call = if words[0] == "helm" {
        control_plane.helm(&words[1..]).unwrap()
    } else {
        assert_eq!(words[0], "kubectl");
        control_plane.kubectl(&words[1..])
    };
    call.ok().unwrap()
}

/// Runs the documented commands that install the definitions, and then this one: kubectl applies no guard before its definition
/// is served.
fn install(control_plane: &ControlPlane, command: &str) {
    for definitions in ["kubectl apply -k crds", ESTABLISHED] {
        run(control_plane, definitions);
    }
    run(control_plane, command);
}

/// Runs a documented command of kubectl for the namespace fleet in another one.
fn run_in(control_plane: &ControlPlane, namespace: &str, command: &str) {
    let meant = |word: &String| if word == "fleet" { namespace.to_owned() } else { word.clone() };
    let words: Vec<String> = documented(command).iter().map(meant).collect();
    assert!(words[0] == "kubectl" && words.iter().any(|word| word == namespace), "{command}");
    control_plane.kubectl(&words[1..]).ok().unwrap();
}

/// Lets the controller read the Secrets of a namespace.
fn grant(control_plane: &ControlPlane, namespace: &str) {
    run_in(
        control_plane,
        namespace,
        "kubectl create rolebinding instance-deletion-controller-secrets -n fleet \
         --clusterrole=instance-deletion-controller-secrets \
         --serviceaccount=clouddc-system:instance-deletion-controller",
    );
    let account = "--as=system:serviceaccount:clouddc-system:instance-deletion-controller";
    until("the grant is in force", || {
        let can = ["auth", "can-i", "get", "secrets", "-n", namespace, account];
        control_plane.kubectl(&can).run().ok()?.status.success().then_some(())
    });
}

/// An object as the API server has it.
fn read(control_plane: &ControlPlane, what: &[&str]) -> Value {
    let text = control_plane.kubectl(&[&["get", "-o", "json"], what].concat()).ok().unwrap();
    serde_json::from_str(&text).unwrap()
}

fn deployment(control_plane: &ControlPlane, name: &str) -> Value {
    read(control_plane, &["deployment", name, "-n", SYSTEM])
}

fn account(control_plane: &ControlPlane, deployment: &Value) -> PathBuf {
    let name = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
    control_plane.service_account_kubeconfig(SYSTEM, name).unwrap()
}

/// A stage in this namespace, with the ServiceAccount of a Deployment.
async fn stage(control_plane: &'static ControlPlane, namespace: &str, deployment: &Value) -> Stage {
    run(control_plane, ESTABLISHED);
    let account = account(control_plane, deployment);
    Stage::installed(control_plane, namespace, &account, binary(), options()).await.unwrap()
}

/// Starts the controller with the arguments of the Deployment, and with the test's flags that name its cloud.
fn start(stage: &Stage, deployment: &Value) -> Controller {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    assert_eq!(args[0], "run");
    let environment: Vec<(&str, &str)> = container["env"].as_array().map_or(Vec::new(), |all| {
        all.iter().map(|e| (e["name"].as_str().unwrap(), e["value"].as_str().unwrap())).collect()
    });
    let mut flags = stage.quick_flags_anywhere();
    // The Deployment's flags override those that make tests quick.
    let name = |flag: &str| flag.split('=').next().unwrap().to_owned();
    for arg in &args[1..] {
        if let Some(position) = flags.iter().position(|flag| *flag == name(arg)) {
            flags.drain(position..position + 2);
        }
    }
    flags.extend_from_slice(&args[1..]);
    // A Pod knows its namespace.
    flags.push(format!("--lease-namespace={SYSTEM}"));
    let folder = stage.control_plane.folder();
    Controller::start_in(&environment, binary(), stage.kubeconfig(), folder, &flags).unwrap()
}

/// Deletes 60 instances with one object, and asserts that each id is in one call.
fn deletes(stage: &Stage, name: &str) {
    let ids = instances(stage, 60);
    stage.apply(&Manifest::new(name, &ids)).unwrap();
    assert_succeeded(&stage.wait_finished(name), 60);
    let calls: Vec<_> = stage.calls().into_iter().filter(|call| ids.contains(&call.ids[0])).collect();
    each_once(&calls, &ids);
}

/// A Pod of the Deployment's template, after this change.
fn pod(deployment: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let template = &deployment["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "metadata": template["metadata"]});
    pod["metadata"]["generateName"] = json!("admitted-");
    change(&mut pod);
    pod
}

/// Asserts that the namespace enforces Pod Security `restricted`: a Pod of the template is admitted, with its user and without,
/// as on OpenShift, and a Pod with more privileges is not.
fn runs_under_pod_security(control_plane: &ControlPlane, deployment: &Value) {
    let create = |pod: &Value| {
        let call = control_plane.kubectl(&["create", "-n", SYSTEM, "-f", "-"]);
        call.stdin(pod.to_string()).run().unwrap()
    };
    let unnamed = |pod: &mut Value| {
        for id in ["runAsUser", "runAsGroup"] {
            pod["spec"]["securityContext"].as_object_mut().unwrap().remove(id).unwrap();
        }
    };
    for pod in [pod(deployment, |_| ()), pod(deployment, unnamed)] {
        let admitted = create(&pod);
        assert!(admitted.status.success() && admitted.stderr.is_empty(), "{}", admitted.stderr);
    }
    let refused = create(&pod(deployment, |pod| {
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    }));
    assert!(refused.stderr.contains("violates PodSecurity \"restricted"), "{}", refused.stderr);
}

/// Whether the account of a kubeconfig may do this. The authorizer learns of roles with a delay.
fn may(control_plane: &ControlPlane, kubeconfig: &std::path::Path, what: &[&str]) -> bool {
    let can = [&["auth", "can-i"], what].concat();
    let answer = control_plane.kubectl_as(kubeconfig, &can).run().unwrap();
    let said = answer.stdout.trim();
    assert!(["yes", "no"].contains(&said), "{}", answer.stderr);
    said == "yes"
}

fn until_may(control_plane: &ControlPlane, kubeconfig: &std::path::Path, what: &[&str]) {
    until("the roles are in force", || may(control_plane, kubeconfig, what).then_some(()));
}
