//! Installs `deploy/overlays/cluster-wide` with kubectl.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use control_plane::{ControlPlane, Error, Supervised};
use serde_json::json;

use crate::{manifest::Manifest, stage::until};

/// Namespace and ServiceAccount of `deploy/base`.
pub(crate) const ACCOUNT: (&str, &str) = ("clouddc-system", "instance-deletion-controller");

/// The top folder of the project.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// The folder of the overlay for all namespaces and all Secrets.
#[must_use]
pub fn cluster_wide() -> String {
    project().join("deploy/overlays/cluster-wide").display().to_string()
}

/// Applies `deploy/overlays/cluster-wide` once to a control plane and waits until the CRD is served. Returns a kubeconfig of the
/// controller's ServiceAccount.
pub fn install(control_plane: &ControlPlane) -> Result<PathBuf, Error> {
    // Once: the next test must not rewrite the kubeconfig while a controller reads it.
    static DONE: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut done = DONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, kubeconfig)) = done.iter().find(|(url, _)| *url == control_plane.url()) {
        return Ok(kubeconfig.clone());
    }
    install_definitions(control_plane)?;
    control_plane.kubectl(&["apply", "-k", &cluster_wide()]).ok()?;
    let (namespace, name) = ACCOUNT;
    raise_the_cap(control_plane)?;
    watch_versions(control_plane, done.len())?;
    let kubeconfig = control_plane.service_account_kubeconfig(namespace, name)?;
    done.push((control_plane.url(), kubeconfig.clone()));
    Ok(kubeconfig)
}

/// Applies `crds` and waits until both kinds are served.
pub fn install_definitions(control_plane: &ControlPlane) -> Result<(), Error> {
    let crds = project().join("crds").display().to_string();
    control_plane.kubectl(&["apply", "-k", &crds]).ok()?;
    let both = ["crd/instancedeletions.clouddc.dev", "crd/deletionguards.clouddc.dev"];
    let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
    control_plane.kubectl(&[&wait[..], &both].concat()).ok().map(drop)
}

/// Raises the number of ids that one object may list to 5,000, which tests need. The API server learns of policies and guards
/// with a delay: they are in force once it refuses an id that a guard protects.
fn raise_the_cap(control_plane: &ControlPlane) -> Result<(), Error> {
    const PROBE: &str = "00000000-0000-0000-0000-000000000001";
    let protected = json!({"instances": [{"id": PROBE, "reason": "probe"}]});
    let spec = json!({"spec": {"maxInstanceIDs": 5000, "protected": protected}}).to_string();
    control_plane.kubectl(&["patch", "deletionguard", "default", "--type=merge", "--patch", &spec]).ok()?;
    let probe = Manifest::new("probe", &[PROBE.to_owned()]).text();
    until("the policy is in force", || {
        let tried = control_plane.kubectl(&["create", "--dry-run=server", "--namespace=default", "-f", "-"]);
        let output = tried.stdin(probe.clone()).run().ok()?;
        output.stderr.contains("are protected").then_some(())
    });
    Ok(())
}

/// Keeps every version of every object for `tests/conformance/gitops`, in the folder that `RECORDED_VERSIONS` names.
fn watch_versions(control_plane: &ControlPlane, number: usize) -> Result<(), Error> {
    // They end with this process.
    static WATCHES: Mutex<Vec<Supervised>> = Mutex::new(Vec::new());
    let Some(folder) = std::env::var_os("RECORDED_VERSIONS") else { return Ok(()) };
    let log = Path::new(&folder).join(format!("watch-{}-{number}.json", std::process::id()));
    let mut command = Command::new(control_plane.kubectl_path());
    command
        .args(["get", "--raw", "/apis/clouddc.dev/v1alpha1/instancedeletions?watch=true"])
        .env("KUBECONFIG", control_plane.kubeconfig())
        .env("HOME", control_plane.folder());
    let watch = Supervised::spawn(command, &log)?;
    WATCHES.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(watch);
    Ok(())
}
