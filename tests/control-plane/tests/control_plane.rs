//! The control plane starts, is real, and is surely stopped.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use control_plane::ControlPlane;

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runs(pid: &str) -> bool {
    // A zombie has ended; it only waits for its parent.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn kubectl_talks_to_it_and_roles_are_enforced() {
    let control_plane = ControlPlane::shared().unwrap();
    let ns = control_plane.create_namespace("roles").unwrap();
    control_plane.kubectl(&["create", "serviceaccount", "reader", "-n", &ns]).ok().unwrap();
    let reader = control_plane.service_account_kubeconfig(&ns, "reader").unwrap();
    let list = || control_plane.kubectl_as(&reader, &["get", "configmaps", "-n", &ns]).run().unwrap();
    assert!(list().stderr.contains("forbidden"), "{}", list().stderr);
    control_plane
        .kubectl(&["create", "role", "reader", "--verb=list", "--resource=configmaps", "-n", &ns])
        .ok()
        .unwrap();
    let subject = format!("--serviceaccount={ns}:reader");
    control_plane
        .kubectl(&["create", "rolebinding", "reader", "--role=reader", &subject, "-n", &ns])
        .ok()
        .unwrap();
    until("the role is in force", || list().status.success());
    let version = control_plane.kubectl(&["version"]).ok().unwrap();
    assert!(version.contains("Server Version: v1."), "{version}");
}

#[test]
fn a_restarted_api_server_has_its_data() {
    let control_plane = ControlPlane::start().unwrap();
    let ns = control_plane.create_namespace("kept").unwrap();
    control_plane.stop_api_server();
    let gone = control_plane.kubectl(&["get", "namespace", &ns]).run().unwrap();
    assert!(!gone.status.success());
    control_plane.start_api_server().unwrap();
    control_plane.kubectl(&["get", "namespace", &ns]).ok().unwrap();
}

#[test]
fn killing_its_owner_leaves_nothing_behind() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut kubeconfig, mut pids) = (String::new(), Vec::new());
    for line in lines {
        if let Some(path) = line.strip_prefix("kubeconfig ") {
            path.clone_into(&mut kubeconfig);
        }
        if let Some(list) = line.strip_prefix("pids ") {
            pids = list.split(' ').map(str::to_owned).collect();
            break;
        }
    }
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| runs(pid)));
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("etcd and kube-apiserver end", || !pids.iter().any(|pid| runs(pid)));
    let folder = Path::new(&kubeconfig).parent().unwrap();
    until("their folder is removed", || !folder.exists());
}
