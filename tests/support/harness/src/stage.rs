//! What one test works with: a namespace, a simulated cloud, a controller.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clouddc_simulator::{Entry, Options, Projects, Simulator};
use control_plane::{ControlPlane, Error, Output};
use serde_json::Value;

use crate::{Controller, History, Manifest, controller::beside, install};

/// The project of all instances.
pub const PROJECT: &str = "0123456789abcdef0123456789abcdef";
/// The token that the cloud accepts.
pub const TOKEN: &str = "stage-token-0123456789";

/// How long [`until`] waits. Most conditions hold within a second; a loaded machine needs longer.
const LIMIT: Duration = Duration::from_mins(2);

/// Pause between two reads of an object: large ones take the API server some milliseconds each.
const BETWEEN_READS: Duration = Duration::from_millis(50);

/// Waits until `look` finds something, and returns it.
///
/// # Panics
/// After two minutes: only tests and the demo wait with this.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_every(Duration::from_millis(25), what, look)
}

fn until_every<T>(step: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within two minutes: {what}");
        std::thread::sleep(step);
    }
}

/// A namespace, a simulated cloud, and the ways to start a controller for both.
pub struct Stage {
    /// The real control plane.
    pub control_plane: &'static ControlPlane,
    /// The test's own namespace.
    pub namespace: String,
    /// The test's own cloud.
    pub cloud: Simulator,
    kubeconfig: PathBuf,
    binary: PathBuf,
    _own: Option<OwnControlPlane>,
}

/// A control plane that one test has for itself. Dropping it stops the servers: until then each has the memory and some of
/// the processor time of an API server.
#[derive(Debug)]
pub struct OwnControlPlane(pub &'static ControlPlane);

impl OwnControlPlane {
    /// Starts one.
    pub fn start() -> Result<Self, Error> {
        Ok(Self(Box::leak(Box::new(ControlPlane::start()?))))
    }
}

impl Drop for OwnControlPlane {
    fn drop(&mut self) {
        self.0.stop_api_server();
        self.0.stop_etcd();
    }
}

impl Stage {
    /// Prepares everything but the controller: a namespace with a Secret that the cloud accepts.
    pub async fn new(name: &str, binary: &Path, options: Options) -> Result<Self, Error> {
        Self::on(ControlPlane::shared()?, name, binary, options).await
    }

    /// A stage on a control plane of its own, for a test that changes what all objects share. Its servers end with the
    /// stage.
    pub async fn alone(name: &str, binary: &Path, options: Options) -> Result<Self, Error> {
        let own = OwnControlPlane::start()?;
        let stage = Self::on(own.0, name, binary, options).await?;
        Ok(Self { _own: Some(own), ..stage })
    }

    async fn on(
        control_plane: &'static ControlPlane,
        name: &str,
        binary: &Path,
        options: Options,
    ) -> Result<Self, Error> {
        let kubeconfig = install(control_plane)?;
        let namespace = control_plane.create_namespace(name)?;
        Self::installed(control_plane, &namespace, &kubeconfig, binary, options).await
    }

    /// A stage in a namespace that exists, for the ServiceAccount of a kubeconfig: for tests that install the manifests
    /// themselves.
    pub async fn installed(
        control_plane: &'static ControlPlane,
        namespace: &str,
        kubeconfig: &Path,
        binary: &Path,
        options: Options,
    ) -> Result<Self, Error> {
        let cloud = Simulator::start(options).await.map_err(Error::io("starting the simulator"))?;
        cloud.add_token("user", TOKEN, Projects::All);
        let stage = Self {
            control_plane,
            namespace: namespace.to_owned(),
            cloud,
            kubeconfig: kubeconfig.to_owned(),
            binary: binary.to_owned(),
            _own: None,
        };
        stage.secret(TOKEN)?;
        Ok(stage)
    }

    /// The binary beside the program that runs now.
    pub fn binary_beside_this() -> Result<PathBuf, Error> {
        std::env::current_exe().map(|exe| beside(&exe)).map_err(Error::io("finding this program"))
    }

    /// Flags that name the namespace and the cloud.
    fn own_flags(&self) -> Vec<String> {
        [strings(&["--namespace", &self.namespace]), self.cloud_flags()].concat()
    }

    fn cloud_flags(&self) -> Vec<String> {
        let endpoint = format!("ap-southeast-3={}", self.cloud.url());
        strings(&["--endpoint", &endpoint, "--iam-endpoint", &endpoint, "--allow-insecure-endpoint"])
    }

    /// Flags for quick tests: short waits, high rates, and no leader election. With it, a controller that follows a killed
    /// one would wait for the lease to expire. Tests of the election turn it on.
    #[must_use]
    pub fn quick_flags(&self) -> Vec<String> {
        [strings(&["--namespace", &self.namespace]), self.quick_flags_anywhere()].concat()
    }

    /// The quick flags without a namespace.
    #[must_use]
    pub fn quick_flags_anywhere(&self) -> Vec<String> {
        let quick = [
            "--poll-min",
            "300ms",
            "--poll-max",
            "5s",
            "--settle",
            "1s",
            "--retry-min",
            "100ms",
            "--retry-max",
            "3s",
            "--request-timeout",
            "3s",
            "--delete-rate",
            "200",
            "--read-rate",
            "500",
            "--leader-elect",
            "false",
        ];
        [self.cloud_flags(), strings(&quick)].concat()
    }

    /// Starts a controller with the default flags, except these, and without leader election.
    pub fn controller_by_default(&self, flags: &[&str]) -> Result<Controller, Error> {
        self.controller_by_default_through(&self.kubeconfig, flags)
    }

    /// The same with another kubeconfig.
    pub fn controller_by_default_through(
        &self,
        kubeconfig: &Path,
        flags: &[&str],
    ) -> Result<Controller, Error> {
        let flags = [self.own_flags(), strings(&["--leader-elect", "false"]), strings(flags)].concat();
        Controller::start(&self.binary, kubeconfig, self.control_plane.folder(), &flags)
    }

    /// Starts a controller with the quick flags; `flags` override them.
    pub fn controller(&self, flags: &[&str]) -> Result<Controller, Error> {
        self.controller_through(&self.kubeconfig, flags)
    }

    /// [`controller`](Self::controller) with another kubeconfig.
    pub fn controller_through(&self, kubeconfig: &Path, flags: &[&str]) -> Result<Controller, Error> {
        let mut all = self.quick_flags();
        for pair in flags.chunks(2) {
            if let [name, value] = pair {
                if let Some(position) = all.iter().position(|flag| flag == name) {
                    all.drain(position..position + 2);
                }
                all.extend([(*name).to_owned(), (*value).to_owned()]);
            }
        }
        Controller::start(&self.binary, kubeconfig, self.control_plane.folder(), &all)
    }

    /// Starts a controller with the quick flags and another kubeconfig.
    pub fn controller_as(&self, kubeconfig: &Path) -> Result<Controller, Error> {
        Controller::start(&self.binary, kubeconfig, self.control_plane.folder(), &self.quick_flags())
    }

    /// The kubeconfig of the controller's ServiceAccount.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Records the versions of all objects of this namespace from now on.
    pub fn history(&self) -> Result<History, Error> {
        History::start(self.control_plane, &self.namespace)
    }

    /// Runs kubectl in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        self.control_plane.kubectl(&[&["-n", &self.namespace], arguments].concat()).ok()
    }

    /// Runs kubectl in this namespace with `text` as its input. An answer that is an error is returned as output.
    pub fn kubectl_in(&self, arguments: &[&str], text: &str) -> Result<Output, Error> {
        self.control_plane.kubectl(&[&["-n", &self.namespace], arguments].concat()).stdin(text).run()
    }

    /// Replaces the Secret `clouddc` by one with this token.
    pub fn secret(&self, token: &str) -> Result<(), Error> {
        self.secret_data(&serde_json::json!({"token": token}))
    }

    /// Replaces the Secret `clouddc` by one with these keys.
    pub fn secret_data(&self, data: &Value) -> Result<(), Error> {
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "clouddc"}, "stringData": data,
        });
        // Deleted and created, not applied: no earlier key may remain.
        let _ = self.kubectl(&["delete", "secret", "clouddc", "--ignore-not-found"]);
        self.create(&secret.to_string())
    }

    fn create(&self, text: &str) -> Result<(), Error> {
        let output = self.kubectl_in(&["create", "-f", "-"], text)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Kubectl { command: "kubectl create".to_owned(), stderr: output.stderr })
    }

    /// Applies a manifest with client-side `kubectl apply`.
    pub fn apply(&self, manifest: &Manifest) -> Result<(), Error> {
        let output = self.kubectl_in(&["apply", "-f", "-"], &manifest.text())?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Kubectl { command: "kubectl apply".to_owned(), stderr: output.stderr })
    }

    /// Merges these fields into the object's spec.
    pub fn patch(&self, name: &str, spec: &Value) -> Result<(), Error> {
        let patch = serde_json::json!({"spec": spec}).to_string();
        self.kubectl(&["patch", "idel", name, "--type=merge", "-p", &patch]).map(drop)
    }

    /// The object as `kubectl get` shows it; null if it does not exist or the API server does not answer.
    #[must_use]
    pub fn get(&self, name: &str) -> Value {
        let path =
            format!("/apis/clouddc.dev/v1alpha1/namespaces/{}/instancedeletions/{name}", self.namespace);
        let mut object = self.control_plane.get(&path).ok().flatten().unwrap_or_default();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        object
    }

    /// Waits until `is` holds of the object, and returns it. `what` says in a failure what the test waited for.
    pub fn wait(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{}/{name}: {what}", self.namespace);
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until_every(BETWEEN_READS, &what, || {
                last = self.get(name);
                is(&last).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|panic| {
            eprintln!("{what}; the object is {:#}", summary(&last));
            std::panic::resume_unwind(panic)
        })
    }

    /// Waits until the object is finished.
    #[expect(clippy::must_use_candidate, reason = "waiting is the point")]
    pub fn wait_finished(&self, name: &str) -> Value {
        self.wait(name, "finished", |object| condition(object, "Finished").0 == "True")
    }

    /// Waits until the reason of `Ready` is this one.
    #[expect(clippy::must_use_candidate, reason = "waiting is the point")]
    pub fn wait_reason(&self, name: &str, reason: &str) -> Value {
        self.wait(name, &format!("Ready says {reason}"), |object| condition(object, "Ready").1 == reason)
    }

    /// The delete calls that the cloud has received.
    #[must_use]
    pub fn calls(&self) -> Vec<Entry> {
        self.cloud.delete_calls()
    }

    /// The power calls that the cloud has received. Their `ids` are servers, `instance_ids` the instances on them.
    #[must_use]
    pub fn power_calls(&self) -> Vec<Entry> {
        self.cloud.power_calls()
    }

    /// In how many power calls the server of each instance is.
    #[must_use]
    pub fn powered(&self) -> HashMap<String, usize> {
        let mut powered = HashMap::new();
        for id in self.power_calls().into_iter().flat_map(|call| call.instance_ids) {
            *powered.entry(id).or_default() += 1;
        }
        powered
    }

    /// The state of an instance, and the `power_state` of its server, whatever reads show; empty if there is no such instance.
    #[must_use]
    pub fn power(&self, id: &str) -> (String, &'static str) {
        let state = self.cloud.state(PROJECT, id).unwrap_or_default();
        (state, self.cloud.power_state(PROJECT, id).unwrap_or_default())
    }
}

fn strings(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}

/// Status, reason and message of a condition; empty strings if the object does not have it.
#[must_use]
pub fn condition(object: &Value, kind: &str) -> (String, String, String) {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|c| c["type"] == kind));
    let text = |field: &str| found.and_then(|c| c[field].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// An object without its long lists.
fn summary(object: &Value) -> Value {
    let mut status = object["status"].clone();
    for list in ["instances", "batches"] {
        if let Some(rows) = status[list].as_array_mut() {
            rows.truncate(3);
        }
    }
    status
}
