//! Argo CD's own program judges objects as they are stored, with the health check and the actions of `deploy/argocd`.

use std::{path::Path, process::Command};

use clouddc_simulator::Options;
use control_plane::programs::ARGO_CD;
use harness::{Manifest, PROJECT, Stage, project};
use serde_json::{Value, json};

use crate::scenarios::options;

/// The commands of `argocd admin settings resource-overrides`, over one ConfigMap.
struct Overrides {
    folder: tempfile::TempDir,
}

impl Overrides {
    /// The ConfigMap as the documents have it made.
    fn new(stage: &Stage) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            project().join("deploy/argocd").join(name).canonicalize().unwrap().display().to_string()
        };
        let key = |what: &str, name: &str| {
            format!("--from-file=resource.customizations.{what}.clouddc.dev_InstanceDeletion={}", file(name))
        };
        let map = ["create", "configmap", "argocd-cm", "--dry-run=client", "-o", "yaml"];
        let files = [key("health", "health.lua"), key("actions", "actions.yaml")];
        let map = stage.kubectl(&[&map[..], &[&files[0], &files[1]]].concat()).unwrap();
        std::fs::write(folder.path().join("argocd-cm.yaml"), map).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What the program prints about an object.
    fn run(&self, object: &Value, arguments: &[&str]) -> String {
        let file = self.path("object.yaml");
        std::fs::write(&file, object.to_string()).unwrap();
        let (command, rest) = arguments.split_first().unwrap();
        let mut argocd = Command::new(ARGO_CD.find().unwrap().path("argocd"));
        argocd.args(["admin", "settings", "resource-overrides", command]).arg(&file).args(rest);
        argocd.arg("--argocd-cm-path").arg(self.path("argocd-cm.yaml")).env("HOME", self.folder.path());
        let output = argocd.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The health, and its message.
    fn health(&self, object: &Value) -> (String, String) {
        let said = self.run(object, &["health"]);
        let after =
            |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
        (after("STATUS: "), after("MESSAGE: "))
    }

    /// The names of the actions that are offered.
    fn actions(&self, object: &Value) -> Vec<String> {
        let said = self.run(object, &["list-actions"]);
        said.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }
}

fn stage(name: &str, options: Options) -> (tokio::runtime::Runtime, Stage) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_instance-deletion-controller"));
    let stage = runtime.block_on(Stage::new(name, binary, options)).unwrap();
    (runtime, stage)
}

/// Every phase that a sync waits for, goes on after, or fails at.
pub fn health() {
    let (_runtime, stage) = stage("argo-health", options());
    let overrides = Overrides::new(&stage);
    let ids = stage.cloud.ids(PROJECT, 12);
    let manifest = |dry_run: bool| {
        Manifest::new("retire", &ids).with("dryRun", dry_run).with("rollout", json!({"limit": 5}))
    };
    stage.apply(&manifest(true)).unwrap();
    assert_eq!(overrides.health(&stage.get("retire")).0, "Progressing", "no status yet");
    let _controller = stage.controller(&[]).unwrap();
    let (status, message) = overrides.health(&stage.wait_reason("retire", "Planned"));
    assert_eq!(status, "Suspended");
    assert!(message.contains("12"), "the message is the plan: {message}");
    stage.apply(&manifest(false)).unwrap();
    assert_eq!(overrides.health(&stage.wait_reason("retire", "LimitReached")).0, "Suspended");
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    assert_eq!(overrides.health(&stage.wait_reason("retire", "Suspended")).0, "Suspended");
    stage.patch("retire", &json!({"suspend": null, "rollout": null})).unwrap();
    let object = stage.wait_finished("retire");
    let (status, message) = overrides.health(&object);
    assert_eq!(status, "Healthy", "{message}");
    let mut later = object;
    later["metadata"]["generation"] = json!(99);
    assert_eq!(overrides.health(&later).0, "Progressing", "the status is of an older generation");
}

/// A deletion that has failed is degraded, and offers no action.
pub fn degraded() {
    let (_runtime, stage) = stage("argo-failed", Options { running_deletable: false, ..options() });
    let overrides = Overrides::new(&stage);
    let ids = stage.cloud.ids(PROJECT, 2);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 0)).unwrap();
    let object = stage.wait_finished("retire");
    let (status, message) = overrides.health(&object);
    assert_eq!(status, "Degraded");
    assert!(message.contains("failed"), "{message}");
    assert!(overrides.actions(&object).is_empty(), "a finished object is not suspended");
}

/// What the actions change is what stops an object, and lets it go on.
pub fn actions() {
    let (_runtime, stage) = stage("argo-actions", options());
    let overrides = Overrides::new(&stage);
    let ids = stage.cloud.ids(PROJECT, 3);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("dryRun", true)).unwrap();
    let planned = stage.wait_reason("retire", "Planned");
    assert_eq!(overrides.actions(&planned), ["suspend"]);
    let changed = overrides.run(&planned, &["run-action", "suspend"]);
    assert!(changed.contains("suspend: true"), "{changed}");
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    let suspended = stage.get("retire");
    assert_eq!(overrides.actions(&suspended), ["resume"]);
    let changed = overrides.run(&suspended, &["run-action", "resume"]);
    assert!(changed.contains("suspend: false"), "{changed}");
}
