//! A Kubernetes cluster of one node for tests: kubelet, containerd, runc, CNI, kube-proxy, scheduler and controller manager
//! beside etcd and kube-apiserver, in PID, mount, network, cgroup, UTS and IPC namespaces of their own.
//!
//! `init.sh` is PID 1 in there. With it all ends: processes, containers, mounts and network. The machine's network, sysctls, `/run`
//! and `/var` stay as they are, and nothing leads out of the node, so that nothing can be pulled or called by mistake.

mod files;
mod image;
mod pki;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use control_plane::{
    Error, Folder, Kubectl, Supervised,
    programs::{CONTROL_PLANE, NODE},
};
pub use image::{Image, pause};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The name of the node.
const NAME: &str = "node";
/// How the names of its folder and of its groups begin.
const PREFIX: &str = "node-";
/// Limit for a start or a restart.
const READY_WITHIN: Duration = Duration::from_mins(4);
const STEP: Duration = Duration::from_millis(200);

/// The addresses of a node.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The node's own, where the API server and the tests' servers listen.
    pub node: IpAddr,
    prefix: u8,
    /// Address of the API server's Service.
    service: IpAddr,
    services: &'static str,
    pods: &'static str,
    everywhere: &'static str,
}

impl Network {
    /// IPv4 alone.
    #[must_use]
    pub fn v4() -> Self {
        Self {
            node: [10, 99, 0, 1].into(),
            prefix: 24,
            service: [10, 96, 0, 1].into(),
            services: "10.96.0.0/24",
            pods: "10.244.0.0/24",
            everywhere: "0.0.0.0/0",
        }
    }

    /// IPv6 alone.
    #[must_use]
    pub fn v6() -> Self {
        Self {
            node: [0xfd99, 0, 0, 0, 0, 0, 0, 1].into(),
            prefix: 64,
            service: [0xfd96, 0, 0, 0, 0, 0, 0, 1].into(),
            services: "fd96::/112",
            pods: "fd44::/64",
            everywhere: "::/0",
        }
    }

    fn api_server(&self) -> String {
        format!("https://{}", SocketAddr::new(self.node, 6443))
    }
}

/// A running node. It ends when this is dropped and when this process ends, however it ends.
pub struct Node {
    network: Network,
    programs: (PathBuf, PathBuf),
    // Dropped in this order: the processes first.
    init: Option<Supervised>,
    groups: Groups,
    folder: Folder,
}

/// Debian's packages that hold what is not built from source, with a program of each.
const PACKAGES: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("runc", files::RUNC),
    ("containernetworking-plugins", "/usr/lib/cni/ptp"),
    ("nftables", "nft"),
    ("buildah", "buildah"),
    ("busybox-static", "/bin/busybox"),
];

/// Why no node can run on this machine, and what to do about it; none where one can.
#[must_use]
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("run the tests of the node as root: they make namespaces and mounts".to_owned());
    }
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, program)| !found(program)).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Some(format!("install what the node needs with: apt-get install {}", missing.join(" ")));
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if hierarchies(&mounts).is_empty() {
        return Some("the node needs cgroup v1 hierarchies, and this machine has none".to_owned());
    }
    None
}

fn found(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|folder| folder.join(program).is_file())
}

/// Mount points of the hierarchies of cgroup v1.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter(|words| words.get(2) == Some(&"cgroup"))
        .filter_map(|words| words.get(1).map(PathBuf::from))
        .collect()
}

impl Node {
    /// Starts a node with these images, and waits until it takes Pods. Builds the programs first if they are missing.
    pub fn start(network: Network, images: &[&Image]) -> Result<Self, Error> {
        let mut say = |line: &str| eprintln!("{line}");
        let programs = (CONTROL_PLANE.find_or_build(&mut say)?, NODE.find_or_build(&mut say)?);
        let folder = Folder::new(PREFIX)?;
        for name in ["pki", "log", "cni", "kubelet", "var", "var-work"] {
            fs::create_dir(folder.path().join(name))
                .map_err(Error::io(format!("making the folder {name}")))?;
        }
        pki::write(&folder.path().join("pki"), &network)?;
        for (name, text) in files::all(folder.path(), &network) {
            fs::write(folder.path().join(name), text).map_err(Error::io(format!("writing {name}")))?;
        }
        let programs = (programs.0.folder().to_owned(), programs.1.folder().to_owned());
        let groups = Groups::new(folder.path());
        let mut node = Self { network, programs, init: None, groups, folder };
        node.launch()?;
        for image in images {
            node.import(image)?;
        }
        node.wait_ready()?;
        Ok(node)
    }

    fn launch(&mut self) -> Result<(), Error> {
        self.groups.make()?;
        let here = self.folder.path();
        let init = here.join("init.sh");
        fs::write(&init, include_str!("init.sh")).map_err(Error::io("writing init.sh"))?;
        // The cgroup namespace begins at the groups that a process is in when it makes it.
        let enter = "for group in $GROUPS_OF_NODE; do echo $$ >\"$group/cgroup.procs\"; done
            exec unshare --net --mount --pid --fork --kill-child --cgroup --uts --ipc bash \"$FOLDER/init.sh\"";
        let groups: Vec<_> = self.groups.0.iter().map(|group| group.display().to_string()).collect();
        let mut command = Command::new("bash");
        command
            .args(["-c", enter])
            .env("GROUPS_OF_NODE", groups.join(" "))
            .env("FOLDER", here)
            .env("PKI", here.join("pki"))
            .env("CONTROL_PLANE", &self.programs.0)
            .env("PROGRAMS", &self.programs.1)
            .env("NAME", NAME)
            .env("ADDRESS", self.network.node.to_string())
            .env("PREFIX", self.network.prefix.to_string())
            .env("SERVICES", self.network.services);
        self.init = Some(Supervised::spawn(command, &here.join("log/init.log"))?);
        self.until("the API server answers", |node| {
            node.kubectl(&["get", "--raw", "/readyz"]).limit(Duration::from_secs(5)).ok().is_ok()
        })
    }

    fn wait_ready(&mut self) -> Result<(), Error> {
        self.until("the node is ready", |node| {
            node.kubectl(&["wait", "--for=condition=Ready", "node/node", "--timeout=5s"]).ok().is_ok()
        })?;
        // A Pod needs it, and a controller makes it.
        self.until("the ServiceAccount exists", |node| {
            node.kubectl(&["get", "serviceaccount", "default"]).ok().is_ok()
        })
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<(), Error> {
        let end = Instant::now() + READY_WITHIN;
        while !holds(self) {
            let ended = self.init.as_mut().map_or(Ok(None), Supervised::try_status)?;
            if ended.is_some() || Instant::now() >= end {
                return Err(Error::NotReady { what: format!("not in time: {what}"), log: self.logs() });
            }
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// The ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.folder.path().join("log")).into_iter().flatten().flatten() {
            let log = fs::read(entry.path()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n");
            text += &format!("== {}\n{tail}\n", entry.file_name().display());
        }
        text
    }

    /// Its addresses.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network
    }

    /// A folder that lives as long as the node, for files of tests.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that runs in all of the node's namespaces.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init_pid().to_string()]);
        command
            .args(["--net", "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--wdns=/", "--"])
            .arg(program);
        command
    }

    /// The process that is PID 1 in the node, as the machine numbers it; 0 while there is none.
    fn init_pid(&self) -> u32 {
        let Some(unshare) = self.init.as_ref().map(Supervised::pid) else { return 0 };
        let children =
            fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
        children.trim().parse().unwrap_or_default()
    }

    /// A call of kubectl as an administrator.
    pub fn kubectl<S: AsRef<str>>(&self, arguments: &[S]) -> Kubectl {
        self.kubectl_as(&self.administrator(), arguments)
    }

    /// A call of kubectl with another kubeconfig.
    pub fn kubectl_as<S: AsRef<str>>(&self, kubeconfig: &Path, arguments: &[S]) -> Kubectl {
        self.client(&self.programs.0.join("kubectl"), kubeconfig, arguments)
    }

    fn administrator(&self) -> PathBuf {
        self.folder.path().join("pki/admin.kubeconfig")
    }

    /// A call of helm as an administrator. Builds it first if it is missing.
    pub fn helm<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Kubectl, Error> {
        let helm = control_plane::programs::HELM.find_or_build(&mut |line| eprintln!("{line}"))?;
        Ok(self.client(&helm.path("helm"), &self.administrator(), arguments))
    }

    /// It sees the machine's files and the node's network.
    fn client<S: AsRef<str>>(&self, program: &Path, kubeconfig: &Path, arguments: &[S]) -> Kubectl {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.init_pid())).arg("--").arg(program);
        Kubectl::of(command, kubeconfig, self.folder.path(), arguments)
    }

    /// Runs something with the node's network: sockets that it opens, and those of threads that it starts, are the node's.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let path = format!("/proc/{}/ns/net", self.init_pid());
        let network = fs::File::open(&path).map_err(Error::io(format!("opening {path}")))?;
        thread::scope(|scope| {
            let ran = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|error| Error::io("entering the node's network")(error.into()))?;
                Ok(run())
            });
            ran.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Loads an image.
    pub fn import(&self, image: &Image) -> Result<(), Error> {
        // containerd answers some time after it has started.
        let end = Instant::now() + READY_WITHIN;
        loop {
            let mut import = self.command("ctr");
            import.args(["--address", "/run/containerd.sock", "--namespace", "k8s.io", "images", "import"]);
            let output = import.arg(image.archive()).output().map_err(Error::io("starting ctr"))?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() >= end {
                let log = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(Error::NotReady { what: format!("no import of {}", image.name()), log });
            }
            thread::sleep(STEP);
        }
    }

    /// Cuts the node's power, and starts it again with what it has on disk.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.init = None;
        self.groups.remove();
        self.launch()?;
        self.wait_ready()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.init = None;
        self.groups.remove();
    }
}

/// The node's group in each hierarchy of cgroups, with the name of its folder.
struct Groups(Vec<PathBuf>);

impl Groups {
    fn new(folder: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let hierarchies = hierarchies(&mounts);
        for hierarchy in &hierarchies {
            remove_left_over(hierarchy, folder);
        }
        let name = folder.file_name().unwrap_or_default();
        Self(hierarchies.iter().map(|hierarchy| hierarchy.join(name)).collect())
    }

    fn make(&self) -> Result<(), Error> {
        for group in &self.0 {
            fs::create_dir_all(group).map_err(Error::io(format!("making the group {}", group.display())))?;
            // No process may enter a group of `cpuset` that names no processors. Not every hierarchy has these files.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Some(parent) = group.parent()
                    && let Ok(given) = fs::read(parent.join(file))
                {
                    let _ = fs::write(group.join(file), given);
                }
            }
        }
        Ok(())
    }

    /// The kernel refuses it for a moment after the last process has ended. What is left then is empty and harms nothing.
    fn remove(&self) {
        for group in &self.0 {
            for _ in 0..20 {
                if !group.exists() || remove_tree(group) {
                    break;
                }
                thread::sleep(STEP);
            }
        }
    }
}

/// Removes the empty groups of nodes whose process was killed before it could remove them: their folder is gone.
fn remove_left_over(hierarchy: &Path, folder: &Path) {
    for group in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = group.file_name();
        let of_node = name.to_string_lossy().starts_with(PREFIX);
        if of_node && folder.parent().is_some_and(|folders| !folders.join(&name).exists()) {
            remove_tree(&group.path());
        }
    }
}

/// Removes a group and those in it. Its files are the kernel's: only folders are removed.
fn remove_tree(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok()
}
