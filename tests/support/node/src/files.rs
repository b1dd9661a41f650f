//! The configuration files of the node's programs.

use std::path::Path;

use serde_json::{Value, json};

use crate::{NAME, Network};

/// Folder of the CNI plugins in Debian's package.
pub(crate) const CNI: &str = "/usr/lib/cni";
/// runc in Debian's package.
pub(crate) const RUNC: &str = "/usr/sbin/runc";
/// The image that holds a Pod's namespaces.
pub(crate) const PAUSE: &str = "localhost/pause:1";

/// A file by its name, and its text.
pub(crate) fn all(folder: &Path, network: &Network) -> [(&'static str, String); 5] {
    [
        ("kubelet.json", kubelet(folder, network).to_string()),
        ("proxy.json", proxy(folder, network).to_string()),
        ("cni/10-pods.conflist", pods(network).to_string()),
        ("containerd.toml", containerd(folder)),
        // The last one fails: a resolver must get past it. The kubelet puts those of the cluster before it.
        ("resolv.conf", format!("nameserver {}\nsearch failing.test\n", network.node)),
    ]
}

fn kubelet(folder: &Path, network: &Network) -> Value {
    let file = |name: &str| folder.join(name).display().to_string();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // 1.37 does not start on cgroup v1 without it.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": "unix:///run/containerd.sock",
        "address": network.node,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": file("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": file("pki/kubelet-server.crt"),
        "tlsPrivateKeyFile": file("pki/kubelet-server.key"),
        "clusterDNS": [network.node],
        "clusterDomain": "cluster.local",
        "resolvConf": file("resolv.conf"),
        // Where CAP_SYS_RESOURCE is missing, neither can be raised.
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "makeIPTablesUtilChains": false,
        "enforceNodeAllocatable": [],
        // The disk is the machine's and may be rather full. No image is removed: there is nowhere to pull it from.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": file("pod-logs"),
        "volumePluginDir": file("kubelet/volume-plugins"),
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
    })
}

fn proxy(folder: &Path, network: &Network) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": folder.join("pki/proxy.kubeconfig")},
        "clusterCIDR": network.pods,
        "detectLocalMode": "ClusterCIDR",
        "bindAddress": network.node,
        "hostnameOverride": NAME,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        // It leaves the machine's limits alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

/// Addresses are kept in /run: after a restart no Pod has one.
fn pods(network: &Network) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-addresses",
                "ranges": [[{"subnet": network.pods}]],
                "routes": [{"dst": network.everywhere}],
            },
        }],
    })
}

fn containerd(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE no process may get a lower value than containerd has.
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{RUNC}"
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI}"
    conf_dir = "{folder}/cni"
"#
    )
}
