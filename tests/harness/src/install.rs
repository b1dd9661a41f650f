//! `deploy/base`, applied as a person would.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use control_plane::{ControlPlane, Error};

/// Namespace and ServiceAccount of `deploy/base`.
pub(crate) const ACCOUNT: (&str, &str) = ("clouddc-system", "instance-deletion-controller");

/// The top folder of the project.
pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder `deploy/base`.
#[must_use]
pub fn base() -> String {
    project().join("deploy/base").display().to_string()
}

/// Applies `deploy/base` once to a control plane and waits until the CRD is served. Returns a kubeconfig of the
/// controller's ServiceAccount.
pub fn install(control_plane: &ControlPlane) -> Result<PathBuf, Error> {
    // Once: a controller that starts must not find the file half written by the next test.
    static DONE: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut done = DONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, kubeconfig)) = done.iter().find(|(url, _)| *url == control_plane.url()) {
        return Ok(kubeconfig.clone());
    }
    control_plane.kubectl(&["apply", "-k", &base()]).ok()?;
    let crd = "crd/instancedeletions.clouddc.dev";
    control_plane.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=60s"]).ok()?;
    let (namespace, name) = ACCOUNT;
    // By default one object may list fewer ids than tests do.
    let most = r#"{"data":{"maxInstanceIDs":"5000"}}"#;
    let guard = [
        "patch",
        "configmap",
        "instance-deletion-guard",
        "--namespace",
        namespace,
        "--type=merge",
        "--patch",
        most,
    ];
    control_plane.kubectl(&guard).ok()?;
    let kubeconfig = control_plane.service_account_kubeconfig(namespace, name)?;
    done.push((control_plane.url(), kubeconfig.clone()));
    Ok(kubeconfig)
}
