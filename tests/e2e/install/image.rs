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

/// The command that runs a program with a folder as its root: as the user of the Deployment if the tests run as root, else in
/// a user namespace. None if both are refused.
fn entrance() -> Option<Vec<&'static str>> {
    let ways =
        [vec!["chroot", "--userspec=65532:65532"], vec!["unshare", "--user", "--map-root-user", "chroot"]];
    ways.into_iter().find(|way| {
        let tried = Command::new(way[0]).args(&way[1..]).args(["/", "/bin/true"]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// Why the image's root can't be built or entered on this machine; none where it can.
fn obstacle() -> Option<&'static str> {
    if Command::new("musl-gcc").arg("--version").output().is_err() {
        return Some("musl-gcc is missing; install it with: apt-get install musl-tools");
    }
    entrance().is_none().then_some("run the tests as root, or allow user namespaces")
}

/// Runs `make image-root` with an unoptimized build, and returns the root.
fn laid_out() -> PathBuf {
    let root = project().join("target/image-root-of-tests");
    let mut make = Command::new("make");
    make.current_dir(project()).args(["--silent", "image-root", "PROFILE=dev"]);
    make.arg(format!("IMAGE_ROOT={}", root.display()));
    // tests/run.sh sets it for the test programs: cargo would build everything anew for it.
    make.env_remove("RUSTC_BOOTSTRAP");
    let output = make.output().unwrap();
    assert!(output.status.success(), "make image-root: {}", String::from_utf8_lossy(&output.stderr));
    root
}

/// A copy of the root with a kubeconfig. A Pod gets the credentials of its ServiceAccount instead.
struct Root {
    folder: tempfile::TempDir,
    way: Vec<&'static str>,
}

impl Root {
    fn new(shipped: &Path, way: &[&'static str], stage: &Stage) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copied =
            Command::new("cp").arg("-a").arg(shipped).arg(folder.path().join("root")).status().unwrap();
        assert!(copied.success());
        let root = Self { folder, way: way.to_vec() };
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

    fn command(&self) -> Command {
        let mut command = Command::new(self.way[0]);
        command.args(&self.way[1..]).arg(self.path("")).arg(PROGRAM).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_static_binary_alone_in_its_root_trusts_the_authorities_that_are_shipped() {
    if let Some(obstacle) = obstacle() {
        println!("skipped: the test of the image: {obstacle}");
        return;
    }
    let way = entrance().unwrap();
    let shipped = laid_out();
    let stage = stage("image").await;
    let authority = authority("one more");
    let front = Front::tls(&stage, server(&authority, "127.0.0.1", 2120)).await;
    let mut flags = stage.quick_flags();
    let first = flags.iter().position(|flag| flag == "--endpoint").unwrap();
    flags[first + 1] = format!("ap-southeast-3=https://{}", front.address);
    let start = |root: &Root| {
        let folder = stage.control_plane.folder();
        Controller::start_command(root.command(), &[], Path::new("/kubeconfig"), folder, &flags).unwrap()
    };
    let ids = instances(&stage, 3);

    // As shipped: the file of authorities is read, and the server's authority is not among them.
    let root = Root::new(&shipped, &way, &stage);
    let controller = start(&root);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let message = condition(&stage.wait_reason("retire", "CloudUnreachable"), "Ready").2;
    assert!(message.contains("certificate") && message.contains("UnknownIssuer"), "{message}");
    assert!(stage.calls().is_empty());
    controller.kill();

    // With the server's authority in that file, the controller trusts the server.
    let bundle = fs::read_to_string(root.path(ROOTS)).unwrap() + &authority.pem;
    root.add(ROOTS, bundle.as_bytes());
    let controller = start(&root);
    assert_succeeded(&stage.wait_finished("retire"), 3);
    each_once(&stage.calls(), &ids);
    controller.kill();

    // Without the file the controller trusts no server and says so when it starts.
    fs::remove_file(root.path(ROOTS)).unwrap();
    let output = root.command().arg("run").env("KUBECONFIG", "/kubeconfig").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("the HTTP client can't be made"), "{said}");
}
