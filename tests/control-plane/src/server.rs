//! etcd and kube-apiserver, running.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Error, Kubectl, Signal, Supervised, process, programs::Programs};

const ADMIN_TOKEN: &str = "control-plane-admin";
const READY_WITHIN: Duration = Duration::from_mins(2);
/// A port that the kernel gave may be taken before the server binds it.
const TRIES: usize = 5;

/// A control plane of its own: etcd and kube-apiserver on ports of the loopback address, with their data in a temporary
/// folder. Dropping it stops both and removes the folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: processes before the folder.
    api_server: Mutex<Option<Supervised>>,
    etcd: Supervised,
    programs: Programs,
    port: u16,
    etcd_url: String,
    kubeconfig: PathBuf,
    namespaces: AtomicUsize,
    folder: tempfile::TempDir,
}

impl ControlPlane {
    /// Starts one, and builds the programs first if they are missing. Blocks until it is ready.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(&mut |line| eprintln!("{line}"))
    }

    /// [`start`](Self::start), telling `say` what goes on.
    pub fn start_with(say: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let programs = Programs::find_or_build(say)?;
        let mut last = None;
        for _ in 0..TRIES {
            match Self::try_start(programs.clone()) {
                Ok(started) => return Ok(started),
                Err(error) if error.to_string().contains("address already in use") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Deadline("finding free ports".to_owned())))
    }

    /// The one that all tests of this process share, each in a namespace of its own. It ends with the process.
    pub fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceLock<ControlPlane> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(started) = SHARED.get() {
            return Ok(started);
        }
        let started = Self::start()?;
        Ok(SHARED.get_or_init(|| started))
    }

    fn try_start(programs: Programs) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("control-plane-")
            .tempdir()
            .map_err(Error::io("making a temporary folder"))?;
        process::remove_at_the_end(folder.path())?;
        let [client, peer, port] = free_ports()?;
        let etcd_url = format!("http://127.0.0.1:{client}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let mut etcd = Command::new(programs.path("etcd"));
        etcd.arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            // The host is not crashed here.
            .args(["--unsafe-no-fsync", "--log-level", "warn"]);
        let etcd = Supervised::spawn(etcd, &folder.path().join("etcd.log"))?;
        write_keys(folder.path())?;
        let tokens = folder.path().join("tokens.csv");
        fs::write(&tokens, format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))
            .map_err(Error::io("writing the token file"))?;
        let kubeconfig = folder.path().join("admin.kubeconfig");
        let this = Self {
            api_server: Mutex::new(None),
            etcd,
            programs,
            port,
            etcd_url,
            kubeconfig,
            namespaces: AtomicUsize::new(0),
            folder,
        };
        this.write_kubeconfig(&this.kubeconfig, ADMIN_TOKEN)?;
        this.start_api_server()?;
        Ok(this)
    }

    /// Starts the API server again after [`stop_api_server`](Self::stop_api_server), on the same port with the same data.
    pub fn start_api_server(&self) -> Result<(), Error> {
        let path = self.folder.path();
        let mut command = Command::new(self.programs.path("kube-apiserver"));
        let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
        command
            .args(["--etcd-servers", &self.etcd_url])
            .args(["--bind-address=127.0.0.1", &format!("--secure-port={}", self.port)])
            .arg(flag("cert-dir", &path.join("certs")))
            .arg(flag("token-auth-file", &path.join("tokens.csv")))
            .arg(flag("service-account-key-file", &path.join("sa.pub")))
            .arg(flag("service-account-signing-key-file", &path.join("sa.key")))
            .args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"])
            .args(["--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none"])
            // No controller manager makes a ServiceAccount in each new namespace.
            .arg("--disable-admission-plugins=ServiceAccount");
        let mut server = Supervised::spawn(command, &path.join("kube-apiserver.log"))?;
        let end = Instant::now() + READY_WITHIN;
        while !self.answers() {
            let ended = server.try_status()?.is_some();
            if ended || Instant::now() >= end {
                return Err(Error::NotReady { server: "kube-apiserver", log: server.log_tail(30) });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        *self.api_server() = Some(server);
        Ok(())
    }

    fn answers(&self) -> bool {
        // The serving certificate is the authority too; it is there when the server has made it.
        self.folder.path().join("certs/apiserver.crt").is_file()
            && self.kubectl(&["get", "--raw", "/readyz"]).limit(Duration::from_secs(5)).ok().is_ok()
    }

    fn api_server(&self) -> std::sync::MutexGuard<'_, Option<Supervised>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the API server at once; etcd goes on.
    pub fn stop_api_server(&self) {
        self.api_server().take();
    }

    /// Stops the API server in its tracks: it accepts connections and answers nothing.
    pub fn pause_api_server(&self) -> Result<(), Error> {
        self.api_server().as_mut().map_or(Ok(()), |server| server.signal(Signal::STOP))
    }

    /// Lets it go on.
    pub fn resume_api_server(&self) -> Result<(), Error> {
        self.api_server().as_mut().map_or(Ok(()), |server| server.signal(Signal::CONT))
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A folder that lives as long as this control plane, for logs and other files of tests.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process ids of etcd and, if it runs, kube-apiserver.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        std::iter::once(self.etcd.pid()).chain(self.api_server().as_ref().map(Supervised::pid)).collect()
    }

    /// Path of kubectl, for commands that a person may copy.
    #[must_use]
    pub fn kubectl_path(&self) -> PathBuf {
        self.programs.path("kubectl")
    }

    /// A call of kubectl as an administrator.
    pub fn kubectl<S: AsRef<str>>(&self, arguments: &[S]) -> Kubectl {
        self.kubectl_as(&self.kubeconfig, arguments)
    }

    /// A call of kubectl with another kubeconfig.
    pub fn kubectl_as<S: AsRef<str>>(&self, kubeconfig: &Path, arguments: &[S]) -> Kubectl {
        Kubectl::new(self.programs.path("kubectl"), kubeconfig, self.folder.path(), arguments)
    }

    /// kubeconfig of a ServiceAccount that exists.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf, Error> {
        let token = self.kubectl(&["create", "token", name, "-n", namespace, "--duration=24h"]).ok()?;
        let path = self.folder.path().join(format!("{namespace}-{name}.kubeconfig"));
        self.write_kubeconfig(&path, token.trim())?;
        Ok(path)
    }

    /// Makes a namespace with a name that no other test has.
    pub fn create_namespace(&self, prefix: &str) -> Result<String, Error> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::SeqCst));
        self.kubectl(&["create", "namespace", &name]).ok()?;
        Ok(name)
    }

    fn write_kubeconfig(&self, path: &Path, token: &str) -> Result<(), Error> {
        let authority = self.folder.path().join("certs/apiserver.crt");
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url(), "certificate-authority": authority}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        fs::write(path, config.to_string()).map_err(Error::io("writing a kubeconfig"))
    }
}

fn write_keys(folder: &Path) -> Result<(), Error> {
    let key = rcgen::KeyPair::generate()?;
    fs::write(folder.join("sa.key"), key.serialize_pem()).map_err(Error::io("writing a key"))?;
    fs::write(folder.join("sa.pub"), key.public_key_pem()).map_err(Error::io("writing a key"))
}

fn free_ports() -> Result<[u16; 3], Error> {
    let bind = || TcpListener::bind("127.0.0.1:0").map_err(Error::io("asking for a free port"));
    // All three are held until all are known, so that they differ.
    let listeners = [bind()?, bind()?, bind()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr().map_err(Error::io("asking for a free port"))?.port();
    }
    Ok(ports)
}
