//! Flux's kustomize-controller on the shared control plane, and a server of artifacts in place of its source-controller.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use clouddc_simulator::Options;
use control_plane::{ControlPlane, Supervised, programs::FLUX};
use harness::Stage;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};

const KUSTOMIZATIONS: &str = "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml";

/// The files that it can fetch, by their names.
type Artifacts = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// Flux, for all scenarios.
pub struct Flux {
    runtime: Runtime,
    process: Supervised,
    artifacts: Artifacts,
    address: SocketAddr,
}

impl Flux {
    /// Installs its definitions and starts it.
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let artifacts = Artifacts::default();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let served = Router::new().route("/{name}", get(artifact)).with_state(artifacts.clone());
        runtime.spawn(async move { axum::serve(listener, served).await });
        let control_plane = ControlPlane::shared().unwrap();
        install(control_plane);
        let mut command = Command::new(FLUX.find().unwrap().path("kustomize-controller"));
        command.env("KUBECONFIG", control_plane.kubeconfig()).env("RUNTIME_NAMESPACE", "default");
        command.env("TMPDIR", control_plane.folder());
        command.args(["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--requeue-dependency=2s"]);
        let process = Supervised::spawn(command, &control_plane.folder().join("flux.log")).unwrap();
        Self { runtime, process, artifacts, address }
    }

    /// A namespace with a simulated cloud of its own.
    pub fn stage(&self, name: &str, options: Options) -> Stage {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_instance-deletion-controller"));
        self.runtime.block_on(Stage::new(name, binary, options)).unwrap()
    }

    /// Serves a file, and returns its address.
    pub fn serve(&self, name: &str, bytes: Vec<u8>) -> String {
        self.artifacts.lock().unwrap().insert(name.to_owned(), bytes);
        format!("http://{}/{name}", self.address)
    }

    /// How often it has reconciled this Kustomization, with whatever result.
    pub fn reconciled(&self, namespace: &str, name: &str) -> usize {
        let of = format!(r#""name":"{name}","namespace":"{namespace}""#);
        let log = self.process.log();
        log.lines().filter(|line| line.contains(&of) && line.contains("econciliation f")).count()
    }

    /// What it has logged last.
    pub fn log(&self) -> String {
        self.process.log_tail(20)
    }
}

async fn artifact(
    State(artifacts): State<Artifacts>,
    Path(name): Path<String>,
) -> Result<Vec<u8>, StatusCode> {
    artifacts.lock().unwrap().get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}

fn install(control_plane: &ControlPlane) {
    let kustomizations = FLUX.source("github.com/fluxcd/kustomize-controller").unwrap().join(KUSTOMIZATIONS);
    let kustomizations = kustomizations.display().to_string();
    let apply = |arguments: &[&str], text: String| {
        control_plane.kubectl(&[&["apply", "--server-side"], arguments].concat()).stdin(text).ok().unwrap()
    };
    apply(&["-f", &kustomizations], String::new());
    let kinds = [
        ("gitrepositories", "GitRepository"),
        ("ocirepositories", "OCIRepository"),
        ("buckets", "Bucket"),
        ("externalartifacts", "ExternalArtifact"),
    ];
    let sources: Vec<Value> = kinds.into_iter().map(|(plural, kind)| source(plural, kind)).collect();
    apply(&["-f", "-"], json!({"apiVersion": "v1", "kind": "List", "items": sources}).to_string());
    let mut established = vec!["wait", "--for=condition=Established", "--timeout=60s", "crd"];
    let names: Vec<String> =
        kinds.iter().map(|(plural, _)| format!("{plural}.source.toolkit.fluxcd.io")).collect();
    established.extend(names.iter().map(String::as_str));
    established.push("kustomizations.kustomize.toolkit.fluxcd.io");
    control_plane.kubectl(&established).limit(Duration::from_mins(1)).ok().unwrap();
}

/// The definition of a kind of source, without a schema: the scenarios play the controller that writes its status.
fn source(plural: &str, kind: &str) -> Value {
    let group = "source.toolkit.fluxcd.io";
    let names = json!({
        "plural": plural, "kind": kind, "singular": kind.to_lowercase(), "listKind": format!("{kind}List"),
    });
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": anything},
            }],
        },
    })
}
