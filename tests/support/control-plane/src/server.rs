//! Runs etcd and kube-apiserver.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Error, Kubectl, Signal, Supervised, flags,
    flags::Ports,
    leash::Folder,
    programs::{HELM, Programs},
    read,
};

/// Limit for a start with all its attempts, without the build of the programs.
const READY_WITHIN: Duration = Duration::from_mins(2);
const STEP: Duration = Duration::from_millis(100);

/// A running etcd and kube-apiserver, on loopback ports, with their data in a temporary folder. Both are stopped and the
/// folder is removed when it is dropped and when this process ends, however it ends.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: processes before the folder.
    servers: Mutex<Servers>,
    programs: Programs,
    ports: Ports,
    kubeconfig: PathBuf,
    namespaces: AtomicUsize,
    folder: Folder,
}

#[derive(Debug)]
struct Servers {
    api_server: Option<Supervised>,
    etcd: Option<Supervised>,
}

impl ControlPlane {
    /// Starts a control plane, after building its programs if they are missing. Blocks until it is ready.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(&mut say)
    }

    /// [`start`](Self::start), with its progress reported to `say`.
    pub fn start_with(say: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let programs = Programs::find_or_build(say)?;
        let end = Instant::now() + READY_WITHIN;
        loop {
            match Self::try_start(programs.clone(), end) {
                Err(error) if is_collision(&error) && Instant::now() < end => {}
                done => return done,
            }
        }
    }

    /// The control plane that all tests of this process share, each in a namespace of its own. It ends with the process.
    pub fn shared() -> Result<&'static Self, Error> {
        // A failure is kept too: each further test would wait for the same failure.
        static SHARED: OnceLock<Result<ControlPlane, Error>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref().map_err(Error::Shared)
    }

    fn try_start(programs: Programs, end: Instant) -> Result<Self, Error> {
        let folder = Folder::new("control-plane-")?;
        let ports = Ports::free()?;
        flags::write_secrets(folder.path())?;
        let this = Self {
            servers: Mutex::new(Servers { api_server: None, etcd: None }),
            programs,
            ports,
            kubeconfig: folder.path().join("admin.kubeconfig"),
            namespaces: AtomicUsize::new(0),
            folder,
        };
        this.token_kubeconfig(flags::ADMIN_TOKEN, "admin")?;
        this.launch_etcd()?;
        this.launch_api_server(end)?;
        Ok(this)
    }

    /// Starts the API server again after [`stop_api_server`](Self::stop_api_server), on the same port with the same data;
    /// nothing happens if it runs. Blocks until it is ready.
    pub fn start_api_server(&self) -> Result<(), Error> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            match self.launch_api_server(end) {
                // Another process may use the port for a short-lived connection.
                Err(error) if is_collision(&error) && Instant::now() < end => std::thread::sleep(STEP),
                done => return done,
            }
        }
    }

    fn launch_etcd(&self) -> Result<(), Error> {
        let folder = self.folder.path();
        let command = flags::etcd(&self.programs, folder, self.ports);
        let etcd = Supervised::spawn(command, &folder.join("etcd.log"))?;
        self.servers().etcd = Some(etcd);
        Ok(())
    }

    fn launch_api_server(&self, end: Instant) -> Result<(), Error> {
        let mut servers = self.servers();
        if let Some(server) = &mut servers.api_server
            && server.try_status()?.is_none()
        {
            return Ok(());
        }
        let folder = self.folder.path();
        let log = folder.join("kube-apiserver.log");
        // Of this attempt alone: a collision in an earlier log must not count for this one.
        match fs::remove_file(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("removing the last log")(error));
            }
            _ => {}
        }
        let command = flags::api_server(&self.programs, folder, self.ports);
        servers.api_server = Some(Supervised::spawn(command, &log)?);
        drop(servers);
        let ready = self.wait_ready(end);
        if ready.is_err() {
            self.stop_api_server();
        }
        ready
    }

    fn wait_ready(&self, end: Instant) -> Result<(), Error> {
        while !self.answers() {
            self.check()?;
            if Instant::now() >= end {
                let what = "kube-apiserver does not answer /readyz in time".to_owned();
                return Err(self.servers().not_ready(what));
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        flags::authority(self.folder.path()).is_file()
            && self.kubectl(&["get", "--raw", "/readyz"]).limit(Duration::from_secs(5)).ok().is_ok()
    }

    /// Returns an error with both logs if a server has ended by itself.
    pub fn check(&self) -> Result<(), Error> {
        let mut servers = self.servers();
        let etcd = servers.etcd.as_mut();
        if let Some(status) = etcd.map_or(Ok(None), Supervised::try_status)? {
            return Err(servers.not_ready(format!("etcd ended with {status}")));
        }
        let api_server = servers.api_server.as_mut();
        if let Some(status) = api_server.map_or(Ok(None), Supervised::try_status)? {
            return Err(servers.not_ready(format!("kube-apiserver ended with {status}")));
        }
        Ok(())
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the API server. etcd keeps running.
    pub fn stop_api_server(&self) {
        self.servers().api_server.take();
    }

    /// Kills etcd. The API server keeps running and can neither read nor write.
    pub fn stop_etcd(&self) {
        self.servers().etcd.take();
    }

    /// Starts etcd again after [`stop_etcd`](Self::stop_etcd), on the same port and data folder. Blocks until the API server
    /// is ready, if it runs.
    pub fn start_etcd(&self) -> Result<(), Error> {
        self.launch_etcd()?;
        if self.servers().api_server.is_none() {
            return Ok(());
        }
        self.wait_ready(Instant::now() + READY_WITHIN)
    }

    /// Copies the data of etcd, which must be stopped, into a folder for [`set_back`](Self::set_back).
    pub fn back_up(&self) -> Result<PathBuf, Error> {
        let backup = self.folder.path().join("backup");
        copy(&flags::data(self.folder.path()), &backup)?;
        Ok(backup)
    }

    /// Restores the data of etcd, which must be stopped. Revisions go back too, as in a restore that does not bump them.
    pub fn set_back(&self, backup: &Path) -> Result<(), Error> {
        let data = flags::data(self.folder.path());
        fs::remove_dir_all(&data).map_err(Error::io("removing etcd's data"))?;
        copy(backup, &data)
    }

    /// Sends SIGSTOP to the API server: connections are accepted and nothing is answered.
    pub fn pause_api_server(&self) -> Result<(), Error> {
        self.signal_api_server(Signal::STOP)
    }

    /// Continues a paused API server.
    pub fn resume_api_server(&self) -> Result<(), Error> {
        self.signal_api_server(Signal::CONT)
    }

    fn signal_api_server(&self, signal: Signal) -> Result<(), Error> {
        self.servers().api_server.as_mut().map_or(Ok(()), |server| server.signal(signal))
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    /// URL of etcd, `http://127.0.0.1:PORT`. etcd counts the writes of each key; the API server does not.
    #[must_use]
    pub fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.client)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A folder that lives as long as this control plane, for logs and other files of tests.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process ids of etcd and kube-apiserver, as far as they run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let servers = self.servers();
        servers.etcd.iter().chain(&servers.api_server).map(Supervised::pid).collect()
    }

    /// Path of kubectl, for commands that are printed for a user.
    #[must_use]
    pub fn kubectl_path(&self) -> PathBuf {
        self.programs.path("kubectl")
    }

    /// Reads an object as an administrator, by its path in the API, without kubectl. None if it does not exist.
    pub fn get(&self, path: &str) -> Result<Option<Value>, Error> {
        let reading = || Error::io(format!("reading {path}"));
        let authority = flags::authority(self.folder.path());
        match read::get(self.ports.api_server, &authority, flags::ADMIN_TOKEN, path).map_err(reading())? {
            (200, object) => Ok(Some(object)),
            (404, _) => Ok(None),
            (status, answer) => Err(reading()(std::io::Error::other(format!("{status}: {answer}")))),
        }
    }

    /// A call of kubectl as an administrator.
    pub fn kubectl<S: AsRef<str>>(&self, arguments: &[S]) -> Kubectl {
        self.kubectl_as(&self.kubeconfig, arguments)
    }

    /// A call of kubectl with another kubeconfig.
    pub fn kubectl_as<S: AsRef<str>>(&self, kubeconfig: &Path, arguments: &[S]) -> Kubectl {
        Kubectl::new(self.kubectl_path(), kubeconfig, self.folder.path(), arguments)
    }

    /// A call of helm as an administrator. Builds it first if it is missing.
    pub fn helm<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Kubectl, Error> {
        let program = HELM.find_or_build(&mut say)?.path("helm");
        Ok(Kubectl::new(program, &self.kubeconfig, self.folder.path(), arguments))
    }

    /// Writes `NAME.kubeconfig` with a bearer token, which the server may or may not accept, into the control plane's folder.
    pub fn token_kubeconfig(&self, token: &str, name: &str) -> Result<PathBuf, Error> {
        self.kubeconfig_in("default", token, name)
    }

    fn kubeconfig_in(&self, namespace: &str, token: &str, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        fs::write(&path, flags::kubeconfig(self.folder.path(), self.ports, token, namespace))
            .map_err(Error::io(format!("writing {}", path.display())))?;
        Ok(path)
    }

    /// Writes a kubeconfig of a ServiceAccount that exists. Its default namespace is that of the account, as in a pod.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf, Error> {
        let token = self.kubectl(&["create", "token", name, "-n", namespace, "--duration=24h"]).ok()?;
        self.kubeconfig_in(namespace, token.trim(), &format!("{namespace}-{name}"))
    }

    /// Creates a namespace with a name that no other test uses.
    pub fn create_namespace(&self, prefix: &str) -> Result<String, Error> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::SeqCst));
        self.kubectl(&["create", "namespace", &name]).ok()?;
        Ok(name)
    }
}

impl Servers {
    /// An error with both logs: the log of one server often explains the failure of the other, and the folder with the logs
    /// is removed when a start fails.
    fn not_ready(&self, what: String) -> Error {
        let tail = |name: &str, server: &Supervised| format!("== {name}\n{}", server.log_tail(20));
        let servers = [("etcd", &self.etcd), ("kube-apiserver", &self.api_server)];
        let logs = servers.iter().filter_map(|(name, server)| Some(tail(name, server.as_ref()?)));
        Error::NotReady { what, log: logs.collect::<Vec<_>>().join("\n") }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = || Error::io(format!("copying {}", from.display()));
    fs::create_dir_all(to).map_err(failed())?;
    for entry in fs::read_dir(from).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            fs::copy(&path, &to).map_err(failed())?;
        }
    }
    Ok(())
}

/// Prints to standard error without `eprintln!`, which test programs capture: a build of ten minutes must not look like a hang.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn is_collision(error: &Error) -> bool {
    matches!(error, Error::NotReady { log, .. } if log.contains("address already in use"))
}
