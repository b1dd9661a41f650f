//! The fixture of all scenarios: a node, a simulated cloud and a DNS in its network, and the controller installed on it.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clouddc_simulator::{EndTime, Options, Projects, Simulator};
use control_plane::Kubectl;
use fake_dns::FakeDns;
use harness::{Manifest, PROJECT, TOKEN, project, until};
use node::{Image, Network, Node, pause};
use serde_json::{Value, json};

use crate::names;

/// Namespace of the controller.
pub const SYSTEM: &str = "clouddc-system";
/// Namespace of the objects.
pub const FLEET: &str = "fleet";
/// The image as the manifests name it; without a host, as the runtime completes it.
const IMAGE: &str = "docker.io/library/instance-deletion-controller:0.1.0";
/// The Deployment, and the chart's release.
pub const NAME: &str = "instance-deletion-controller";
/// The cloud's port in the node's network.
const CLOUD: u16 = 8081;

/// How the controller is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Base,
    Chart,
}

/// A node with the controller on it.
pub struct Cluster {
    pub node: Node,
    pub cloud: Simulator,
    pub dns: FakeDns,
    objects: usize,
}

/// The image of the controller as users build it, but for an unoptimized program.
fn controller_image() -> Image {
    let root = project().join("target/image-root-of-tests");
    let mut make = Command::new("make");
    make.current_dir(project()).args(["--silent", "image-root", "PROFILE=dev"]);
    make.arg(format!("IMAGE_ROOT={}", root.display()));
    make.env_remove("RUSTC_BOOTSTRAP");
    let output = make.output().unwrap();
    assert!(output.status.success(), "make image-root: {}", String::from_utf8_lossy(&output.stderr));
    Image::build(&project().join("deploy/image/Containerfile"), &root, IMAGE).unwrap()
}

fn simulator(node: &Node) -> Simulator {
    let options = Options {
        listen: SocketAddr::new(node.network().node, CLOUD),
        end: EndTime::Fixed(Duration::from_secs(1)),
        ..Options::default()
    };
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Simulator::start(options)).unwrap()
    };
    let cloud = node.inside(start).unwrap();
    cloud.add_token("user", TOKEN, Projects::All);
    cloud
}

fn dns(node: &Node) -> FakeDns {
    let address = node.network().node;
    node.inside(|| {
        FakeDns::start(SocketAddr::new(address, 53), move |name, family| names::answer(address, name, family))
    })
    .unwrap()
    .unwrap()
}

impl Cluster {
    /// Starts a node and installs the controller in this way, with the addresses of the simulated cloud.
    pub fn start(network: Network, way: Way) -> Self {
        let (pause, controller) = (pause().unwrap(), controller_image());
        let node = Node::start(network, &[&pause, &controller]).unwrap();
        let (cloud, dns) = (simulator(&node), dns(&node));
        let cluster = Self { node, cloud, dns, objects: 0 };
        match way {
            Way::Base => cluster.install_base(),
            Way::Chart => cluster.install_chart(),
        }
        cluster.wait_rolled_out();
        cluster.k(&["create", "namespace", FLEET]);
        let token = format!("--from-literal=token={TOKEN}");
        cluster.k(&["create", "secret", "generic", "clouddc", "-n", FLEET, &token]);
        let role = format!("{NAME}-secrets");
        let (to, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={SYSTEM}:{NAME}"));
        cluster.k(&["create", "rolebinding", &role, "-n", FLEET, &to, &account]);
        cluster
    }

    /// `deploy/base` as it is, and an overlay that adds the addresses of the cloud.
    fn install_base(&self) {
        let folder = |name: &str| project().join(name).canonicalize().unwrap().display().to_string();
        self.k(&["apply", "-k", &folder("crds")]);
        let both = ["crd/instancedeletions.clouddc.dev", "crd/deletionguards.clouddc.dev"];
        self.k(&[&["wait", "--for=condition=Established", "--timeout=60s"][..], &both].concat());
        self.k(&["apply", "-k", &folder("deploy/base")]);
        self.wait_rolled_out();
        let args: Vec<Value> = names::flags(CLOUD)
            .iter()
            .map(
                |flag| json!({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": flag}),
            )
            .collect();
        self.patch(&Value::from(args));
    }

    fn install_chart(&self) {
        let chart = project().join("deploy/helm/instance-deletion-controller").canonicalize().unwrap();
        let values = self.node.folder().join("values.json");
        std::fs::write(&values, names::values(CLOUD).to_string()).unwrap();
        let (chart, values) = (chart.display().to_string(), values.display().to_string());
        // The second call creates the guards, since the first one brings the definition.
        for how in [&["install", "--create-namespace"][..], &["upgrade"]] {
            let what = [NAME, &chart, "--namespace", SYSTEM, "--values", &values, "--wait", "--timeout=3m"];
            let call = self.node.helm(&[how, &what].concat()).unwrap();
            call.limit(Duration::from_mins(4)).ok().unwrap();
        }
    }

    /// Runs kubectl as an administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Kubectl {
        self.node.kubectl(arguments)
    }

    /// Runs kubectl as nobody, for a caller that adds a token.
    pub fn kubectl_without_certificate(&self, arguments: &[&str]) -> Kubectl {
        let kubeconfig = self.node.folder().join("nobody.kubeconfig");
        let text = std::fs::read_to_string(self.node.folder().join("pki/admin.kubeconfig")).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["users"][0]["user"] = json!({});
        std::fs::write(&kubeconfig, value.to_string()).unwrap();
        self.node.kubectl_as(&kubeconfig, arguments)
    }

    /// Runs kubectl, which must succeed, and returns what it prints.
    pub fn k(&self, arguments: &[&str]) -> String {
        self.kubectl(arguments).ok().unwrap()
    }

    /// An object or a list, as the API server has it.
    pub fn read(&self, arguments: &[&str]) -> Value {
        let text = self.k(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// Patches the Deployment, with a JSON patch.
    pub fn patch(&self, patch: &Value) {
        let patch = patch.to_string();
        self.k(&["patch", "deployment", NAME, "-n", SYSTEM, "--type=json", "--patch", &patch]);
    }

    pub fn wait_rolled_out(&self) {
        let status = ["rollout", "status", &format!("deployment/{NAME}"), "-n", SYSTEM, "--timeout=3m"];
        self.kubectl(&status).limit(Duration::from_mins(4)).ok().unwrap();
        until("two Pods are ready and no other is there", || {
            let pods = self.pods();
            (pods.len() == 2 && pods.iter().all(is_ready)).then_some(())
        });
    }

    /// The Pods of the controller.
    pub fn pods(&self) -> Vec<Value> {
        let selector = format!("app.kubernetes.io/name={NAME}");
        let pods = self.read(&["pods", "-n", SYSTEM, "-l", &selector]);
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        // The Pod of the chart's test bears the same labels and has ended.
        pods.into_iter().filter(|pod| pod["status"]["phase"] != "Succeeded").collect()
    }

    /// The Pod that holds the Lease.
    pub fn leader(&self) -> Value {
        until("a Pod leads", || {
            let leases = self.read(&["leases", "-n", SYSTEM]);
            let holder = leases["items"][0]["spec"]["holderIdentity"].as_str()?.to_owned();
            self.pods().into_iter().find(|pod| holder.contains(name(pod)))
        })
    }

    /// Creates `n` instances and an object that lists them, in this region; returns the object's name and the ids.
    pub fn deletion(&mut self, region: &str, n: usize) -> (String, Vec<String>) {
        self.objects += 1;
        let name = format!("retire-{}", self.objects);
        let ids = self.cloud.ids(PROJECT, n);
        let manifest = Manifest::new(&name, &ids).with("region", region);
        self.kubectl(&["apply", "-n", FLEET, "-f", "-"]).stdin(manifest.text()).ok().unwrap();
        (name, ids)
    }

    /// The object of this name.
    pub fn object(&self, name: &str) -> Value {
        self.read(&["idel", name, "-n", FLEET])
    }

    /// Waits for the end of an object and asserts that each of its ids was in one call and is gone.
    pub fn assert_deleted_once(&self, name: &str, ids: &[String]) {
        let object = until("the object ends", || {
            let object = self.object(name);
            (harness::condition(&object, "Finished").0 == "True").then_some(object)
        });
        assert_eq!(object["status"]["phase"], "Succeeded", "{:#}", object["status"]["conditions"]);
        assert_eq!(object["status"]["progress"], format!("{0}/{0}", ids.len()));
        let calls = self.cloud.delete_calls();
        for id in ids {
            let named = calls.iter().flat_map(|call| &call.ids).filter(|other| *other == id).count();
            assert_eq!(named, 1, "calls with {id}");
        }
    }

    /// The node's power is cut. A new cloud and a new DNS stand at the same addresses, since those of before were in a network
    /// that is gone. The cloud has no instance yet.
    pub fn power_cut(&mut self) {
        self.node.restart().unwrap();
        (self.cloud, self.dns) = (simulator(&self.node), dns(&self.node));
    }

    /// A page of a Pod, over HTTP from the node.
    pub fn get(&self, pod: &Value, port: u16, path: &str) -> String {
        let address: IpAddr = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(SocketAddr::new(address, port))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            Ok(reply)
        };
        self.node.inside(ask).unwrap().unwrap()
    }

    /// Runs a script of the shell in the node, and returns what it prints.
    pub fn shell(&self, script: &str) -> String {
        let output = self.node.command("bash").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The process of the controller in a Pod, as the node numbers it.
    pub fn process(&self, pod: &Value) -> String {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let script = format!(
            "for p in /proc/[0-9]*; do
               grep -qs {uid} $p/cgroup && [ \"$(cat $p/comm)\" = instance-deleti ] && echo ${{p#/proc/}}
             done; true"
        );
        let found = self.shell(&script);
        let found: Vec<&str> = found.split_whitespace().collect();
        assert_eq!(found.len(), 1, "processes of the Pod: {found:?}");
        found[0].to_owned()
    }
}

pub fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn is_ready(pod: &Value) -> bool {
    harness::condition(pod, "Ready").0 == "True" && pod["metadata"]["deletionTimestamp"].is_null()
}

/// How often the controller's container of a Pod was started again.
pub fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

/// The folder of a file of the project.
pub fn file(path: &str) -> PathBuf {
    Path::new(&project()).join(path)
}
