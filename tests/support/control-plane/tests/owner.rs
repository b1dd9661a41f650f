//! However the owner of a control plane ends, no server and no folder is left.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use common::{runs, until};
use rustix::process::{Pid, Signal, kill_process};

/// `control-plane run`, and what it said.
struct Owner {
    process: Child,
    pids: Vec<String>,
    folder: PathBuf,
}

impl Owner {
    fn start(temporary: &Path) -> Self {
        // A shell starts background jobs with SIGINT ignored, and these tests may run in one: Ctrl-C would then reach nothing.
        // `env` restores the default.
        let mut process = Command::new("env")
            .arg("--default-signal=INT")
            .arg(env!("CARGO_BIN_EXE_control-plane"))
            .arg("run")
            .env("TMPDIR", temporary)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let last = line.starts_with("Ctrl-C");
            said.push(line);
            if last {
                break;
            }
        }
        let after = |prefix: &str| said.iter().find_map(|line| line.strip_prefix(prefix)).unwrap();
        let pids: Vec<String> = after("pids ").split(' ').map(str::to_owned).collect();
        let folder = Path::new(after("kubeconfig ")).parent().unwrap().to_owned();
        assert!(folder.starts_with(temporary) && folder.exists());
        assert!(pids.len() == 2 && pids.iter().all(|pid| runs(pid)), "{pids:?}");
        Self { process, pids, folder }
    }

    fn ends_by(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap();
        until("etcd and kube-apiserver end", || !self.pids.iter().any(|pid| runs(pid)));
        until("their folder is removed", || !self.folder.exists());
    }
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    Owner::start(temporary.path()).ends_by(Signal::INT);
}

/// kill -9 leaves the owner no time to clean up, and a stopped server notices nothing.
#[test]
fn kill_9_leaves_nothing_behind_and_takes_nothing_else() {
    let temporary = tempfile::tempdir().unwrap();
    let (spaced, bystander) = (temporary.path().join("with space"), temporary.path().join("with"));
    fs::create_dir_all(&spaced).unwrap();
    fs::create_dir_all(&bystander).unwrap();
    fs::write(bystander.join("file"), "precious").unwrap();
    let owner = Owner::start(&spaced);
    let api_server = owner.pids[1].parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(api_server, Signal::STOP).unwrap();
    owner.ends_by(Signal::KILL);
    assert_eq!(fs::read_to_string(bystander.join("file")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&spaced).unwrap().count(), 0);
}
