//! Velero backs objects up and restores them: without their status, unless it is told otherwise.

use std::{collections::BTreeSet, process::Command};

use control_plane::{ControlPlane, Supervised, programs::VELERO};
use harness::{Manifest, PROJECT, Stage, until};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::scenarios::options;

const NAMESPACE: &str = "velero";
const BACKUP: &str = "before";

/// Velero's server, with its backups in a folder.
struct Velero {
    control_plane: &'static ControlPlane,
    process: Supervised,
}

impl Velero {
    /// Installs its definitions, and starts it with one place for backups.
    fn start() -> Self {
        let control_plane = ControlPlane::shared().unwrap();
        let (programs, folder) = (VELERO.find().unwrap(), control_plane.folder().join("velero"));
        std::fs::create_dir_all(&folder).unwrap();
        let velero = || Command::new(programs.path("velero"));
        let definitions =
            velero().args(["install", "--crds-only", "--dry-run", "-o", "json"]).output().unwrap();
        assert!(definitions.status.success(), "{}", String::from_utf8_lossy(&definitions.stderr));
        let apply = |text: String| {
            control_plane.kubectl(&["apply", "--server-side", "-f", "-"]).stdin(text).ok().unwrap();
        };
        apply(String::from_utf8(definitions.stdout).unwrap());
        control_plane
            .kubectl(&[
                "wait",
                "--for=condition=Established",
                "--timeout=60s",
                "crd",
                "-l",
                "component=velero",
            ])
            .ok()
            .unwrap();
        apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string());
        // A restore reads the image of its own Deployment. Nothing runs it here.
        let labels = json!({"deploy": "velero"});
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "velero", "namespace": NAMESPACE},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "velero", "image": "velero"}]},
                },
            },
        });
        apply(deployment.to_string());
        let location = json!({
            "apiVersion": "velero.io/v1",
            "kind": "BackupStorageLocation",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": {
                "default": true,
                "provider": "clouddc.dev/file-store",
                "objectStorage": {"bucket": "backups"},
                "config": {"root": folder.join("stored")},
            },
        });
        apply(location.to_string());
        // It loads every file of the folder as a plugin.
        let plugins = folder.join("plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::copy(programs.path("file-store"), plugins.join("file-store")).unwrap();
        let mut server = velero();
        server.env("KUBECONFIG", control_plane.kubeconfig());
        server.args(["server", "--namespace", NAMESPACE, "--plugin-dir"]).arg(plugins);
        server.args(["--metrics-address=127.0.0.1:0", "--profiler-address=127.0.0.1:0"]);
        let process = Supervised::spawn(server, &folder.join("velero.log")).unwrap();
        Self { control_plane, process }
    }

    /// Makes an object of Velero's, and waits until what it asks for is done.
    fn carry_out(&self, kind: &str, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "velero.io/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        });
        self.control_plane.kubectl(&["create", "-f", "-"]).stdin(object.to_string()).ok().unwrap();
        let read = || -> Value {
            let text = self.control_plane.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json"]).ok();
            serde_json::from_str(&text.unwrap()).unwrap()
        };
        until(&format!("{kind} {name} has its end"), || {
            let status = &read()["status"];
            let phase = status["phase"].as_str().unwrap_or_default();
            let bad = phase.contains("Failed");
            assert!(!bad, "{status}; {}", self.process.log_tail(20));
            (phase == "Completed").then_some(())
        });
    }

    fn restore(&self, stage: &Stage, name: &str, and: &Value) {
        let mut spec = json!({
            "backupName": BACKUP,
            "includedNamespaces": [stage.namespace],
            "includedResources": ["instancedeletions.clouddc.dev"],
        });
        spec.as_object_mut().unwrap().extend(and.as_object().unwrap().clone());
        self.carry_out("Restore", name, &spec);
    }
}

/// The ids that calls have named, each as often as it was.
fn named(stage: &Stage) -> Vec<String> {
    let mut named: Vec<String> = stage.calls().iter().flat_map(|call| call.ids.clone()).collect();
    named.sort();
    named
}

/// A restored object has no record. The controller reads every instance first, so it sends what is left, and nothing twice.
pub fn restored() {
    let velero = Velero::start();
    let runtime = Runtime::new().unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_instance-deletion-controller"));
    let stage = runtime.block_on(Stage::new("restored", binary, options())).unwrap();
    let ids = stage.cloud.ids(PROJECT, 20);
    let _controller = stage.controller(&[]).unwrap();
    let objects = [
        Manifest::new("done", &ids[..5]),
        Manifest::new("canary", &ids[5..12]).with("rollout", json!({"limit": 2})),
        Manifest::new("plan", &ids[12..15]).with("dryRun", true),
        Manifest::new("late", &ids[15..]).with("notAfter", "2026-01-01T00:00:00Z"),
    ];
    for object in &objects {
        stage.apply(object).unwrap();
    }
    let phases = || {
        stage.wait_finished("done");
        stage.wait_reason("canary", "LimitReached");
        stage.wait_reason("plan", "Planned");
        stage.wait_finished("late");
        ["done", "canary", "plan", "late"].map(|name| stage.get(name)["status"]["phase"].clone())
    };
    let expected = ["Succeeded", "LimitReached", "Planned", "Expired"].map(Value::from);
    assert_eq!(phases(), expected);
    let before = named(&stage);
    assert_eq!(before.len(), 7);
    velero.carry_out("Backup", BACKUP, &json!({"includedNamespaces": [stage.namespace]}));

    stage.kubectl(&["delete", "idel", "--all"]).unwrap();
    velero.restore(&stage, "without-status", &json!({}));
    assert_eq!(phases(), expected);
    assert_eq!(named(&stage), before, "what is gone is not sent again");
    let done = stage.get("done");
    assert_eq!(done["status"]["batches"], Value::Null, "its calls are not remembered");
    stage.patch("canary", &json!({"rollout": null})).unwrap();
    stage.wait_finished("canary");
    let each: BTreeSet<String> = ids[..12].iter().cloned().collect();
    assert_eq!(named(&stage), each.into_iter().collect::<Vec<_>>(), "each once");

    stage.kubectl(&["delete", "idel", "done"]).unwrap();
    let with_status = json!({"restoreStatus": {"includedResources": ["instancedeletions.clouddc.dev"]}});
    velero.restore(&stage, "with-status", &with_status);
    let done = stage.wait_finished("done");
    assert_eq!(done["status"]["batches"][0]["returned"], 5, "its calls are remembered");
    assert_eq!(named(&stage).len(), 12);
}
