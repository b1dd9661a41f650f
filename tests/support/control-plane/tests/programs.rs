//! Finding and building the programs, with a fake `go` that records its arguments.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use common::{runs, until};

const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];
/// The fake `go`: records its arguments and writes the file of `-o`.
const GO: &str = r#"#!/bin/sh
echo "$$ $*" >> "$CALLS"
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
echo "the package $1" >&2
case "$GO_DOES" in
    fail) exit 1 ;;
    hang) exec sleep 600 ;;
    *) sleep 0.2; echo program > "$out" ;;
esac
"#;

/// A folder with a `go`, a cache and a list of the calls of `go`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("bin/go");
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(&go, GO).unwrap();
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, command: &str, go_does: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_control-plane"));
        process
            .arg(command)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("CONTROL_PLANE_CACHE", self.path("cache"))
            .env("CALLS", self.path("calls"))
            .env("GO_DOES", go_does)
            .env_remove("KUBEBUILDER_ASSETS")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        process
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn printed(output: &Output) -> PathBuf {
    assert!(output.status.success(), "{output:?}");
    PathBuf::from(String::from_utf8(output.stdout.clone()).unwrap().trim_end())
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn have_all(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| folder.join(program).is_file())
}

#[test]
fn two_builds_at_once_build_once() {
    let place = Place::new();
    let both = [(); 2].map(|()| place.command("build", "work").spawn().unwrap());
    let folders = both.map(|process| printed(&process.wait_with_output().unwrap()));
    assert_eq!(folders[0], folders[1]);
    assert!(folders[0].starts_with(place.path("cache")) && have_all(&folders[0]));
    let calls = place.calls();
    assert_eq!(calls.len(), PROGRAMS.len(), "{calls:?}");
    for call in calls {
        assert!(call.contains("-mod=readonly") && call.contains("version.gitVersion=v1."), "{call}");
    }
    // From now on both ways find them.
    for command in ["build", "path"] {
        assert_eq!(printed(&place.command(command, "fail").output().unwrap()), folders[0]);
    }
}

#[test]
fn a_build_says_how_long_it_takes() {
    let place = Place::new();
    let output = place.command("build", "work").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for part in ["ten minutes", "building etcd", "building kube-apiserver", "building kubectl"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_failed_build_is_told_and_leaves_no_half() {
    let place = Place::new();
    let said = complaint(&place.command("build", "fail").output().unwrap());
    assert!(said.contains("building etcd failed") && said.contains("the package go.etcd.io/etcd"), "{said}");
    let said = complaint(&place.command("path", "work").output().unwrap());
    assert!(said.contains("control-plane -- build"), "{said}");
}

#[test]
fn a_program_that_was_removed_is_built_again() {
    let place = Place::new();
    let folder = printed(&place.command("build", "work").output().unwrap());
    fs::remove_file(folder.join("kubectl")).unwrap();
    assert_eq!(printed(&place.command("build", "work").output().unwrap()), folder);
    assert!(have_all(&folder));
}

#[test]
fn a_module_of_another_name_is_built_beside_and_no_assets_stand_for_it() {
    let place = Place::new();
    let folder = printed(&place.command("build", "work").output().unwrap());
    let helm = |does: &str| {
        let mut command = place.command("build", does);
        command.arg("helm").env("KUBEBUILDER_ASSETS", place.path("none"));
        command.output().unwrap()
    };
    let beside = printed(&helm("work"));
    assert!(beside != folder && beside.starts_with(place.path("cache")) && beside.join("helm").is_file());
    assert_eq!(place.calls().len(), PROGRAMS.len() + 1);
    assert_eq!(printed(&helm("fail")), beside);
    let said = complaint(&place.command("build", "work").arg("nothing").output().unwrap());
    assert!(said.contains("usage:"), "{said}");
}

/// A build that went on would run for minutes without the lock that the next build waits for.
#[test]
fn killing_a_build_ends_go() {
    let place = Place::new();
    let mut build = place.command("build", "hang").spawn().unwrap();
    until("go runs", || !place.calls().is_empty());
    let go = place.calls()[0].split(' ').next().unwrap().to_owned();
    assert!(runs(&go));
    build.kill().unwrap();
    build.wait().unwrap();
    until("go ends", || !runs(&go));
    printed(&place.command("build", "work").output().unwrap());
}

#[test]
fn without_go_it_says_what_to_install() {
    let place = Place::new();
    let said = complaint(&place.command("build", "work").env("PATH", place.path("empty")).output().unwrap());
    assert!(said.contains("install Go") && said.contains("KUBEBUILDER_ASSETS"), "{said}");
}

#[test]
fn programs_of_kubebuilder_assets_are_used_as_they_are() {
    let place = Place::new();
    let assets = place.path("assets");
    fs::create_dir(&assets).unwrap();
    for program in &PROGRAMS[..2] {
        fs::write(assets.join(program), "").unwrap();
    }
    let with = || place.command("build", "work").env("KUBEBUILDER_ASSETS", &assets).output().unwrap();
    assert!(complaint(&with()).contains("has no kubectl"));
    fs::write(assets.join("kubectl"), "").unwrap();
    assert_eq!(printed(&with()), assets);
    assert_eq!(place.calls(), Vec::<String>::new());
}
