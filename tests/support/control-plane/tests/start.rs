//! A start that fails is repeated if that can help, and reported if it can't.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Stdio},
};

use control_plane::programs::Programs;

/// `control-plane run` with this script instead of etcd; `$REAL` is the real one.
fn run_with_etcd(script: &str) -> (tempfile::TempDir, Command) {
    let real = Programs::find_or_build(&mut |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let etcd = folder.path().join("etcd");
    fs::write(&etcd, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&etcd, fs::Permissions::from_mode(0o755)).unwrap();
    for program in ["kube-apiserver", "kubectl"] {
        symlink(fs::canonicalize(real.path(program)).unwrap(), folder.path().join(program)).unwrap();
    }
    let mut run = Command::new(env!("CARGO_BIN_EXE_control-plane"));
    run.arg("run")
        .env("KUBEBUILDER_ASSETS", folder.path())
        .env("REAL", fs::canonicalize(real.path("etcd")).unwrap())
        .env("SEEN", folder.path().join("seen"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (folder, run)
}

#[test]
fn a_taken_port_is_exchanged_for_another() {
    let (folder, mut run) = run_with_etcd(
        "echo \"$*\" >> \"$SEEN\"
        if mkdir \"$SEEN.once\" 2> /dev/null; then echo 'bind: address already in use'; exit 1; fi
        exec \"$REAL\" \"$@\"",
    );
    let mut process = run.spawn().unwrap();
    let stdout = std::io::BufReader::new(process.stdout.take().unwrap());
    let ready = std::io::BufRead::lines(stdout).map_while(Result::ok).any(|line| line.starts_with("Ctrl-C"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(ready);
    let seen = fs::read_to_string(folder.path().join("seen")).unwrap();
    let attempts: Vec<&str> = seen.lines().collect();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    let port = |attempt: &str| attempt.rsplit(':').next().map(str::to_owned);
    assert_ne!(port(attempts[0]), port(attempts[1]));
}

#[test]
fn a_server_that_can_not_start_is_told_with_its_log() {
    let (_folder, mut run) = run_with_etcd("echo 'the disk is on fire'; exit 9");
    let output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("etcd ended with exit status: 9") && said.contains("the disk is on fire"),
        "{said}"
    );
}
