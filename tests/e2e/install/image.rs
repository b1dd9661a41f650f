//! The static binary with the image's files as its root, without a container engine.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{Controller, Manifest, Stage, condition, project};
use serde_json::Value;

use crate::{
    cloud_front::Front,
    support::{assert_succeeded, each_once, instances, stage},
    tls::{authority, server},
};

const ROOTS: &str = "etc/ssl/certs/ca-certificates.crt";
const PROGRAM: &str = "/instance-deletion-controller";
/// Where the tests put the emulator in the root.
const EMULATOR: &str = "/emulator";

/// The user of the Deployment, and one as OpenShift gives them out.
const USERS: [&str; 2] = ["65532:65532", "1000730000:0"];

/// What the image is built for and how it runs on this machine.
struct Platform {
    target: &'static str,
    compiler: &'static str,
    packages: &'static str,
    /// A static program that runs binaries of the architecture.
    emulator: Option<&'static str>,
}

const PLATFORMS: [Platform; 2] = [
    Platform {
        target: "x86_64-unknown-linux-musl",
        compiler: "musl-gcc",
        packages: "musl-tools",
        emulator: None,
    },
    Platform {
        target: "aarch64-unknown-linux-musl",
        compiler: "aarch64-linux-musl-gcc",
        packages: "musl-dev:arm64 gcc-aarch64-linux-gnu qemu-user-static",
        emulator: Some("/usr/bin/qemu-aarch64-static"),
    },
];

/// Which platform is tested: `make test-aarch64` names another than the first.
const CHOICE: &str = "IMAGE_TARGET";

/// The way into a folder as the root of a program.
#[derive(Clone, Copy)]
enum Entrance {
    /// With any user, if the tests run as root.
    AsUser,
    /// In a user namespace.
    Namespace,
}

impl Entrance {
    fn command(self, user: &str, root: &Path) -> Command {
        let mut command = match self {
            Self::AsUser => {
                let mut chroot = Command::new("chroot");
                chroot.arg(format!("--userspec={user}"));
                chroot
            }
            Self::Namespace => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--user", "--map-root-user", "chroot"]);
                unshare
            }
        };
        command.arg(root);
        command
    }

    /// None if this machine refuses both ways.
    fn find() -> Option<Self> {
        let works = |way: &Self| {
            let tried = way.command(USERS[0], Path::new("/")).arg("/bin/true").output();
            tried.is_ok_and(|output| output.status.success())
        };
        [Self::AsUser, Self::Namespace].into_iter().find(works)
    }
}

impl Platform {
    fn chosen() -> &'static Self {
        match std::env::var(CHOICE) {
            Ok(target) => PLATFORMS.iter().find(|platform| platform.target == target).unwrap(),
            Err(_) => &PLATFORMS[0],
        }
    }

    /// Why the image's root can't be built or entered on this machine; none where it can.
    fn obstacle(&self) -> Option<String> {
        let compiles = Command::new(self.compiler).arg("--version").output().is_ok();
        if !compiles || self.emulator.is_some_and(|emulator| !Path::new(emulator).exists()) {
            return Some(format!("a program is missing; install it with: apt-get install {}", self.packages));
        }
        Entrance::find().is_none().then(|| "run the tests as root, or allow user namespaces".to_owned())
    }

    /// Runs `make image-root` with an unoptimized build, and returns the root.
    fn laid_out(&self) -> PathBuf {
        let folder = if self.emulator.is_some() { "arm64" } else { "of-tests" };
        let root = project().join(format!("target/image-root-{folder}"));
        let mut make = Command::new("make");
        make.current_dir(project()).args(["--silent", "image-root", "PROFILE=dev"]);
        make.arg(format!("TARGET={}", self.target)).arg(format!("IMAGE_ROOT={}", root.display()));
        // Set by tests/run.sh, and by cargo for test programs. ring is built anew where they change, and all that uses it.
        let of_tests = |name: &str| {
            ["RUSTC_BOOTSTRAP", "CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
        };
        for (name, _) in std::env::vars().filter(|(name, _)| of_tests(name)) {
            make.env_remove(name);
        }
        let output = make.output().unwrap();
        assert!(output.status.success(), "make image-root: {}", String::from_utf8_lossy(&output.stderr));
        root
    }
}

/// A copy of the root with a kubeconfig. A Pod gets the credentials of its ServiceAccount instead.
struct Root {
    folder: tempfile::TempDir,
    entrance: Entrance,
    emulated: bool,
}

impl Root {
    fn new(platform: &Platform, shipped: &Path, stage: &Stage) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copied =
            Command::new("cp").arg("-a").arg(shipped).arg(folder.path().join("root")).status().unwrap();
        assert!(copied.success());
        let emulated = platform.emulator.is_some();
        let root = Self { folder, entrance: Entrance::find().unwrap(), emulated };
        if let Some(emulator) = platform.emulator {
            fs::copy(emulator, root.path(&EMULATOR[1..])).unwrap();
        }
        let text = fs::read_to_string(stage.kubeconfig()).unwrap();
        let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        let certificate = fs::read(cluster["certificate-authority"].as_str().unwrap()).unwrap();
        cluster["certificate-authority"] = "/api-server.crt".into();
        root.add("api-server.crt", &certificate);
        root.add("kubeconfig", kubeconfig.to_string().as_bytes());
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    fn add(&self, path: &str, bytes: &[u8]) {
        fs::write(self.path(path), bytes).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn command(&self, user: &str) -> Command {
        let mut command = self.entrance.command(user, &self.path(""));
        if self.emulated {
            command.arg(EMULATOR);
        }
        command.arg(PROGRAM).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_static_binary_alone_in_its_root_trusts_the_authorities_that_are_shipped() {
    let platform = Platform::chosen();
    if let Some(obstacle) = platform.obstacle() {
        assert!(std::env::var(CHOICE).is_err(), "{obstacle}");
        println!("skipped: the test of the image: {obstacle}");
        return;
    }
    let shipped = platform.laid_out();
    let stage = stage("image").await;
    let authority = authority("one more");
    let front = Front::tls(&stage, server(&authority, "127.0.0.1", 2120)).await;
    let mut flags = stage.quick_flags();
    let first = flags.iter().position(|flag| flag == "--endpoint").unwrap();
    flags[first + 1] = format!("ap-southeast-3=https://{}", front.address);
    let start = |root: &Root, user: &str| {
        let folder = stage.control_plane.folder();
        Controller::start_command(root.command(user), &[], Path::new("/kubeconfig"), folder, &flags).unwrap()
    };
    let ids = instances(&stage, 50);

    // As shipped: the file of authorities is read, and the server's authority is not among them.
    let root = Root::new(platform, &shipped, &stage);
    for user in USERS {
        let output = root.command(user).arg("--version").output().unwrap();
        let expected = concat!("instance-deletion-controller ", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{output:?}");
    }
    let controller = start(&root, USERS[1]);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let message = condition(&stage.wait_reason("retire", "CloudUnreachable"), "Ready").2;
    assert!(message.contains("certificate") && message.contains("UnknownIssuer"), "{message}");
    assert!(stage.calls().is_empty());
    controller.kill();

    // With the server's authority in that file, the controller trusts the server.
    let bundle = fs::read_to_string(root.path(ROOTS)).unwrap() + &authority.pem;
    root.add(ROOTS, bundle.as_bytes());
    let controller = start(&root, USERS[0]);
    assert_succeeded(&stage.wait_finished("retire"), 50);
    each_once(&stage.calls(), &ids);
    controller.kill();

    // Without the file the controller trusts no server and says so when it starts.
    fs::remove_file(root.path(ROOTS)).unwrap();
    let output = root.command(USERS[0]).arg("run").env("KUBECONFIG", "/kubeconfig").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("the HTTP client can't be made"), "{said}");
}
