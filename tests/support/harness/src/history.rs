//! Every version of an object, recorded from a watch of the API server.

use std::{path::PathBuf, process::Command};

use control_plane::{ControlPlane, Error, Supervised};
use serde_json::Value;

/// Versions of the objects of one namespace, in order, from their creation on.
#[derive(Debug)]
pub struct History {
    process: Supervised,
}

impl History {
    /// Starts to record with `kubectl get --watch`.
    pub fn start(control_plane: &ControlPlane, namespace: &str) -> Result<Self, Error> {
        let log: PathBuf = control_plane.folder().join(format!("history-{namespace}.json"));
        let mut command = Command::new(control_plane.kubectl_path());
        command
            .args(["get", "instancedeletions", "-n", namespace, "--watch", "--output=json"])
            .env("KUBECONFIG", control_plane.kubeconfig())
            .env("HOME", control_plane.folder());
        Ok(Self { process: Supervised::spawn(command, &log)? })
    }

    /// The versions so far of the object with this name.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<Value> {
        let log = self.process.log();
        // The first document may be an empty list; the last may be half written.
        let all = serde_json::Deserializer::from_str(&log).into_iter::<Value>().map_while(Result::ok);
        all.filter(|v| v["metadata"]["name"] == name).collect()
    }
}
