//! The default addresses in networks with both families, with IPv6 alone and with IPv4 alone.

use std::{
    fs::File,
    process::{Child, Command},
};

use harness::until;
use serde_json::json;

use crate::support::binary;

/// A controller in a network of its own, with its default addresses. Its cluster answers nothing.
struct InANetwork {
    process: Child,
    folder: tempfile::TempDir,
}

impl InANetwork {
    /// Starts it after a script has prepared the network.
    fn start(prepare: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let silent = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(&kubeconfig, silent.to_string()).unwrap();
        let script = format!("set -e; ip link set lo up; {prepare}; exec \"$0\" run");
        let process = Command::new("unshare")
            .args(["--net", "bash", "-c", &script])
            .arg(binary())
            .env("KUBECONFIG", kubeconfig)
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut this = Self { process, folder };
        until("it listens", || {
            assert_eq!(this.process.try_wait().unwrap(), None, "{}", this.log());
            this.log().contains("for metrics").then_some(())
        });
        this
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Whether both ports answer at an address of its network.
    fn answers_at(&self, host: &str) -> bool {
        let network = format!("--net=/proc/{}/ns/net", self.process.id());
        [("8081", "/healthz"), ("8080", "/metrics")].iter().all(|(port, path)| {
            let ask = format!(
                "exec 3<>/dev/tcp/{host}/{port} && printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3"
            );
            let output = Command::new("nsenter").args([&network, "bash", "-c", &ask]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains(" 200 ")
        })
    }
}

impl Drop for InANetwork {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Why this machine gives no network to a test, if it gives none.
fn obstacle() -> Option<String> {
    let script =
        "ip link set lo up && echo 1 > /proc/sys/net/ipv6/bindv6only && ip address show lo | grep -q ::1";
    match Command::new("unshare").args(["--net", "bash", "-c", script]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

#[test]
fn the_default_addresses_serve_the_families_that_there_are() {
    if let Some(obstacle) = obstacle() {
        println!("skipped: the test of the addresses: no network namespace with IPv6: {obstacle}");
        return;
    }
    // The setting of a host on which `[::]` means IPv6 alone, unless a socket says otherwise.
    let only_v6 = "echo 1 > /proc/sys/net/ipv6/bindv6only";
    let table = [
        ("both families", "true", [("127.0.0.1", true), ("::1", true)]),
        ("IPv6 alone", "ip address del 127.0.0.1/8 dev lo", [("::1", true), ("127.0.0.1", false)]),
        (
            "IPv4 alone",
            "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6",
            [("127.0.0.1", true), ("::1", false)],
        ),
    ];
    for (network, prepare, expected) in table {
        let controller = InANetwork::start(&format!("{only_v6}; {prepare}"));
        for (host, answers) in expected {
            assert_eq!(controller.answers_at(host), answers, "{network}, {host}: {}", controller.log());
        }
    }
}
