//! Finds the programs that tests need, or builds them: each set is a Go module in this crate. Those of the control plane may
//! come from the folder `KUBEBUILDER_ASSETS` instead.

use std::{
    fs,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{Error, go};

/// Programs that are built from a Go module in a folder of this crate.
#[derive(Debug)]
pub struct Module {
    /// Its name on the command line.
    pub name: &'static str,
    /// The folder with go.mod and go.sum.
    folder: &'static str,
    /// Printed before the build.
    takes: &'static str,
    /// Each program with the package that it is built from.
    programs: &'static [(&'static str, &'static str)],
}

/// etcd, kube-apiserver and kubectl.
pub const CONTROL_PLANE: Module = Module {
    name: "programs",
    folder: "programs",
    takes: "building etcd, kube-apiserver and kubectl from source: about ten minutes on two cores, once. If you have them \
            already, interrupt this and set KUBEBUILDER_ASSETS to their folder, as for envtest.",
    programs: &[
        ("etcd", "go.etcd.io/etcd/server/v3"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ],
};

/// The control plane of the oldest Kubernetes that the project supports.
pub const OLDEST: Module = Module {
    name: "oldest",
    folder: "oldest",
    takes: "building etcd, kube-apiserver and kubectl of the oldest supported Kubernetes from source: about ten minutes on two \
            cores, once",
    programs: CONTROL_PLANE.programs,
};

/// The programs of a node, of the same release as the control plane.
pub const NODE: Module = Module {
    name: "node",
    folder: "programs",
    takes: "building kubelet, kube-controller-manager, kube-scheduler and kube-proxy from source: about seven minutes on two \
            cores, once",
    programs: &[
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ],
};

/// Helm, for the chart.
pub const HELM: Module = Module {
    name: "helm",
    folder: "helm",
    takes: "building helm from source: some minutes on two cores, once",
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
};

/// Flux's kustomize-controller, for the examples of GitOps.
pub const FLUX: Module = Module {
    name: "flux",
    folder: "flux",
    takes: "building Flux's kustomize-controller from source: about ten minutes on two cores, once",
    programs: &[("kustomize-controller", "github.com/fluxcd/kustomize-controller")],
};

/// Argo CD, whose program has all its roles.
pub const ARGO_CD: Module = Module {
    name: "argo-cd",
    folder: "argo-cd",
    takes: "building Argo CD from source: about ten minutes on two cores, once",
    programs: &[("argocd", "github.com/argoproj/argo-cd/v3/cmd")],
};

/// Velero, and a plugin of the tests that keeps its backups in a folder.
pub const VELERO: Module = Module {
    name: "velero",
    folder: "velero",
    takes: "building Velero from source: about ten minutes on two cores, once",
    programs: &[("velero", "github.com/vmware-tanzu/velero/cmd/velero"), ("file-store", ".")],
};

/// Every module.
pub const MODULES: [&Module; 7] = [&CONTROL_PLANE, &OLDEST, &NODE, &HELM, &FLUX, &ARGO_CD, &VELERO];

/// A folder with the programs of a module.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the control plane's programs and builds nothing.
    pub fn find() -> Result<Self, Error> {
        CONTROL_PLANE.find()
    }

    /// Finds the control plane's programs, or builds them and reports the progress to `say`.
    pub fn find_or_build(say: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        CONTROL_PLANE.find_or_build(say)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a program.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

impl Module {
    /// Finds the programs and builds nothing.
    pub fn find(&self) -> Result<Programs, Error> {
        if let Some(assets) = self.assets()? {
            return Ok(assets);
        }
        let (folder, _) = self.cached()?;
        if !self.is_complete(&folder) {
            return Err(Error::NotBuilt { folder, module: self.name });
        }
        Ok(Programs { folder })
    }

    /// Finds the programs, or builds them and reports the progress to `say`.
    pub fn find_or_build(&self, say: &mut dyn FnMut(&str)) -> Result<Programs, Error> {
        if let Some(assets) = self.assets()? {
            return Ok(assets);
        }
        let (folder, ldflags) = self.cached()?;
        if !self.is_complete(&folder) {
            let _lock = lock(&folder, say)?;
            // Another process may have built them while this one waited.
            if !self.is_complete(&folder) {
                self.build(&folder, &ldflags, say)?;
            }
        }
        Ok(Programs { folder })
    }

    /// The programs in the folder `KUBEBUILDER_ASSETS`, as envtest lays them out. It holds the control plane's only.
    fn assets(&self) -> Result<Option<Programs>, Error> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|f| !f.is_empty());
        let Some(folder) = assets.filter(|_| self.name == CONTROL_PLANE.name) else {
            return Ok(None);
        };
        let folder = PathBuf::from(folder);
        match self.programs.iter().find(|(program, _)| !folder.join(program).is_file()) {
            Some((program, _)) => Err(Error::Assets { folder, program }),
            None => Ok(Some(Programs { folder })),
        }
    }

    /// The folder with the sources of one of the modules that it depends on, which Go has fetched.
    pub fn source(&self, dependency: &str) -> Result<PathBuf, Error> {
        go::source(&self.folder(), dependency)
    }

    fn is_complete(&self, folder: &Path) -> bool {
        self.programs.iter().all(|(program, _)| folder.join(program).is_file())
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder)
    }

    /// The folder for programs of this go.mod, go.sum and main.go, and the linker flags. The flags are part of the folder's key. The
    /// folder is outside `target/`: `cargo clean` must not remove it.
    fn cached(&self) -> Result<(PathBuf, String), Error> {
        let read = |file: &str| {
            let path = self.folder().join(file);
            fs::read_to_string(&path).map_err(Error::io(format!("reading {}", path.display())))
        };
        let go_mod = read("go.mod")?;
        let ldflags = go::ldflags(&go_mod);
        let mut hash = Sha256::new();
        // Most modules have no code of their own.
        let own = read("main.go").unwrap_or_default();
        for part in [&go_mod, &read("go.sum")?, &ldflags, &own] {
            hash.update(part);
        }
        let key = hash.finalize().iter().take(8).fold(0_u64, |key, byte| (key << 8) | u64::from(*byte));
        let root = match std::env::var_os("CONTROL_PLANE_CACHE").filter(|f| !f.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => workspace().join(".cache").join("control-plane"),
        };
        // Absolute, because go runs in the module's folder.
        let root = std::path::absolute(root).map_err(Error::io("finding the cache"))?;
        Ok((root.join(format!("{key:016x}")), ldflags))
    }

    fn build(&self, folder: &Path, ldflags: &str, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
        say(self.takes);
        fs::create_dir_all(folder).map_err(Error::io("making the build folder"))?;
        for (program, package) in self.programs {
            say(&format!("building {program}"));
            // A program that is there is whole, whatever happened to this build.
            let unfinished = folder.join(format!("{program}.unfinished"));
            go::build(&self.folder(), program, package, ldflags, &unfinished, say)?;
            fs::rename(&unfinished, folder.join(program)).map_err(Error::io("keeping the programs"))?;
        }
        Ok(())
    }
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(3).unwrap_or(here)
}

/// Takes the build lock: of two test runs, one builds and the other waits. The lock ends with the file or with the process.
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
