//! Command lines of the servers, and the files that they read.

use std::{fs, net::TcpListener, path::Path, process::Command};

use crate::{Error, programs::Programs};

/// The administrator's token. It is no secret: the server listens on a loopback address, as long as a test runs.
pub(crate) const ADMIN_TOKEN: &str = "control-plane-admin";

/// Where the servers listen, on the loopback address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    peer: u16,
    pub(crate) api_server: u16,
}

impl Ports {
    /// Asks the kernel for free ones. Another process may take one before the server does.
    pub(crate) fn free() -> Result<Self, Error> {
        let bind = || TcpListener::bind("127.0.0.1:0").map_err(Error::io("asking for a free port"));
        let port = |listener: &TcpListener| {
            listener.local_addr().map(|a| a.port()).map_err(Error::io("asking for a free port"))
        };
        // All three stay bound until the last is known: they must differ.
        let (client, peer, api_server) = (bind()?, bind()?, bind()?);
        Ok(Self { client: port(&client)?, peer: port(&peer)?, api_server: port(&api_server)? })
    }
}

pub(crate) fn etcd(programs: &Programs, folder: &Path, ports: Ports) -> Command {
    let client = format!("http://127.0.0.1:{}", ports.client);
    let peer = format!("http://127.0.0.1:{}", ports.peer);
    let mut command = Command::new(programs.path("etcd"));
    command
        .arg("--data-dir")
        .arg(data(folder))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        // No test crashes the host, so nothing needs to reach the disk.
        .args(["--unsafe-no-fsync", "--log-level", "warn"]);
    command
}

/// The data folder of etcd.
pub(crate) fn data(folder: &Path) -> std::path::PathBuf {
    folder.join("etcd")
}

pub(crate) fn api_server(programs: &Programs, folder: &Path, ports: Ports) -> Command {
    let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let mut command = Command::new(programs.path("kube-apiserver"));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{}", ports.client))
        .args(["--bind-address=127.0.0.1", &format!("--secure-port={}", ports.api_server)])
        .arg(flag("cert-dir", &folder.join("certs")))
        .arg(flag("token-auth-file", &folder.join("tokens.csv")))
        .arg(flag("service-account-key-file", &folder.join("sa.pub")))
        .arg(flag("service-account-signing-key-file", &folder.join("sa.key")))
        .args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"])
        .args(["--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none"])
        // No controller manager makes a ServiceAccount in each new namespace.
        .arg("--disable-admission-plugins=ServiceAccount");
    command
}

/// The administrator's token, and the key that signs tokens of ServiceAccounts.
pub(crate) fn write_secrets(folder: &Path) -> Result<(), Error> {
    let key = rcgen::KeyPair::generate()?;
    let files = [
        ("tokens.csv", format!("{ADMIN_TOKEN},admin,admin,system:masters\n")),
        ("sa.key", key.serialize_pem()),
        ("sa.pub", key.public_key_pem()),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).map_err(Error::io(format!("writing {name}")))?;
    }
    Ok(())
}

/// A kubeconfig with a token and a namespace. The API server makes its own serving certificate, which is its authority too.
pub(crate) fn kubeconfig(folder: &Path, ports: Ports, token: &str, namespace: &str) -> String {
    let server = format!("https://127.0.0.1:{}", ports.api_server);
    let authority = authority(folder);
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "current-context": "test",
    })
    .to_string()
}

/// Path of the certificate that clients trust. The API server writes it when it starts.
pub(crate) fn authority(folder: &Path) -> std::path::PathBuf {
    folder.join("certs").join("apiserver.crt")
}
