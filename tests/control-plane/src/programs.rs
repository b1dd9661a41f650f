//! The three programs: those of `KUBEBUILDER_ASSETS`, or built from the Go module in `programs/` and kept.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::Error;

/// What is built, from which package, and under which name `go build` leaves it.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("etcd", "go.etcd.io/etcd/server/v3", "server"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
];
/// Without these the server calls itself v0.0.0-master, and kubectl warns about skew.
const LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37";
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A folder with `etcd`, `kube-apiserver` and `kubectl`.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the programs, or builds them; `say` hears how it goes.
    pub fn find_or_build(say: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        if let Some(folder) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|f| !f.is_empty()) {
            let folder = PathBuf::from(folder);
            for (program, ..) in PROGRAMS {
                if !folder.join(program).is_file() {
                    return Err(Error::Assets { folder, program });
                }
            }
            return Ok(Self { folder });
        }
        let folder = cached()?;
        let complete = || PROGRAMS.iter().all(|(program, ..)| folder.join(program).is_file());
        if complete() {
            return Ok(Self { folder });
        }
        let parent = folder.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(Error::io(format!("making {}", parent.display())))?;
        // Two test runs at once build once.
        let lock = File::create(parent.join("lock")).map_err(Error::io("opening the build lock"))?;
        lock.lock().map_err(Error::io("waiting for another build"))?;
        if !complete() {
            build(&folder, say)?;
        }
        Ok(Self { folder })
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of one.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// Where programs of this go.mod and go.sum are kept: outside `target/`, so that `make clean` leaves them alone.
fn cached() -> Result<PathBuf, Error> {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum"] {
        let path = module().join(file);
        hash.update(fs::read(&path).map_err(Error::io(format!("reading {}", path.display())))?);
    }
    hash.update(LDFLAGS);
    let digest = hash.finalize();
    let key = digest.iter().take(8).fold(0_u64, |key, byte| (key << 8) | u64::from(*byte));
    let root = std::env::var_os("CONTROL_PLANE_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/control-plane"),
        PathBuf::from,
    );
    Ok(root.join(format!("{key:016x}")))
}

fn build(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    say("building etcd, kube-apiserver and kubectl from source: about ten minutes on two cores, once");
    let unfinished = folder.with_extension("unfinished");
    fs::create_dir_all(&unfinished).map_err(Error::io("making the build folder"))?;
    for (program, package, output) in PROGRAMS {
        say(&format!("building {program}"));
        go_build(program, package, &unfinished, say)?;
        if output != program {
            fs::rename(unfinished.join(output), unfinished.join(program))
                .map_err(Error::io("naming a program"))?;
        }
    }
    fs::rename(&unfinished, folder).map_err(Error::io("keeping the programs"))
}

fn go_build(
    program: &'static str,
    package: &str,
    into: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let started = Instant::now();
    let mut go = Command::new("go")
        .current_dir(module())
        .args(["build", "-v", "-mod=readonly", "-ldflags", LDFLAGS, "-o"])
        .arg(into)
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            if e.kind() == std::io::ErrorKind::NotFound { Error::NoGo } else { Error::io("starting go")(e) }
        })?;
    let (lines, heard) = mpsc::channel();
    let stderr: Box<dyn Read + Send> = match go.stderr.take() {
        Some(stderr) => Box::new(stderr),
        None => Box::new(std::io::empty()),
    };
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let (mut output, mut said) = (Vec::new(), Instant::now());
    loop {
        match heard.recv_timeout(HEARTBEAT) {
            Ok(line) => output.push(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        if said.elapsed() >= HEARTBEAT {
            said = Instant::now();
            let now = output.last().map_or("", String::as_str);
            say(&format!(
                "  {program}: {} packages, {} s, at {now}",
                output.len(),
                started.elapsed().as_secs()
            ));
        }
    }
    let _ = reader.join();
    let status = go.wait().map_err(Error::io("waiting for go"))?;
    if status.success() {
        return Ok(());
    }
    let tail = output.get(output.len().saturating_sub(20)..).unwrap_or_default().join("\n");
    Err(Error::Build { program, output: tail })
}
