//! The three programs: those of `KUBEBUILDER_ASSETS`, or built from the Go module in `programs/` and kept.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{Error, go};

/// What is built, and from which package.
const PROGRAMS: [(&str, &str); 3] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
];

/// A folder with `etcd`, `kube-apiserver` and `kubectl`.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the programs and builds nothing.
    pub fn find() -> Result<Self, Error> {
        if let Some(assets) = assets()? {
            return Ok(assets);
        }
        let (folder, _) = cached()?;
        if !is_complete(&folder) {
            return Err(Error::NotBuilt { folder });
        }
        Ok(Self { folder })
    }

    /// Finds the programs, or builds them; `say` hears how it goes.
    pub fn find_or_build(say: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        if let Some(assets) = assets()? {
            return Ok(assets);
        }
        let (folder, ldflags) = cached()?;
        if !is_complete(&folder) {
            let _lock = lock(&folder, say)?;
            // Another process may have built them while this one waited.
            if !is_complete(&folder) {
                build(&folder, &ldflags, say)?;
            }
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

/// The programs of a person who has them already, in the layout of envtest.
fn assets() -> Result<Option<Programs>, Error> {
    let Some(folder) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|f| !f.is_empty()) else {
        return Ok(None);
    };
    let folder = PathBuf::from(folder);
    match PROGRAMS.iter().find(|(program, _)| !folder.join(program).is_file()) {
        Some((program, _)) => Err(Error::Assets { folder, program }),
        None => Ok(Some(Programs { folder })),
    }
}

fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|(program, _)| folder.join(program).is_file())
}

fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// Where programs of this go.mod and go.sum are kept, which is outside `target/` so that `cargo clean` leaves them alone;
/// and the flags of the linker, which belong to the key too.
fn cached() -> Result<(PathBuf, String), Error> {
    let read = |file: &str| {
        let path = module().join(file);
        fs::read_to_string(&path).map_err(Error::io(format!("reading {}", path.display())))
    };
    let go_mod = read("go.mod")?;
    let ldflags = go::ldflags(&go_mod);
    let mut hash = Sha256::new();
    for part in [&go_mod, &read("go.sum")?, &ldflags] {
        hash.update(part);
    }
    let key = hash.finalize().iter().take(8).fold(0_u64, |key, byte| (key << 8) | u64::from(*byte));
    let root = match std::env::var_os("CONTROL_PLANE_CACHE").filter(|f| !f.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => workspace().join(".cache").join("control-plane"),
    };
    // go runs in the module's folder.
    let root = std::path::absolute(root).map_err(Error::io("finding the cache"))?;
    Ok((root.join(format!("{key:016x}")), ldflags))
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Two test runs at once build once. The lock ends with its file, or with the process.
fn lock(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<File, Error> {
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(Error::io(format!("making {}", parent.display())))?;
    let lock = File::create(parent.join("lock")).map_err(Error::io("opening the build lock"))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => say("another process builds the programs: waiting for it"),
        Err(TryLockError::Error(error)) => return Err(Error::io("locking the build")(error)),
    }
    lock.lock().map_err(Error::io("waiting for another build"))?;
    Ok(lock)
}

fn build(folder: &Path, ldflags: &str, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    say("building etcd, kube-apiserver and kubectl from source: about ten minutes on two cores, once");
    let unfinished = folder.with_extension("unfinished");
    fs::create_dir_all(&unfinished).map_err(Error::io("making the build folder"))?;
    for (program, package) in PROGRAMS {
        say(&format!("building {program}"));
        go::build(&module(), program, package, ldflags, &unfinished.join(program), say)?;
    }
    // One that lacks a program; a folder can't be renamed onto it.
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io(format!("removing {}", folder.display())))?;
    }
    fs::rename(&unfinished, folder).map_err(Error::io("keeping the programs"))
}
