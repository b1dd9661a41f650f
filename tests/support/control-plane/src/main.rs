//! Builds the control plane's programs, or runs a control plane until Ctrl-C.

use std::{process::ExitCode, time::Duration};

use control_plane::{
    ControlPlane, Error,
    programs::{CONTROL_PLANE, MODULES, Module, Programs},
};

const USAGE: &str = "usage: control-plane build [MODULE] | path [MODULE] | run

  build   builds the programs of a module if they are missing, and prints their folder
  path    prints their folder, and builds nothing
  run     starts a control plane, prints how to use it, and stops it at Ctrl-C

A module is programs (etcd, kube-apiserver and kubectl), oldest (the same of the oldest supported Kubernetes), node (kubelet
and what else a node needs), helm, flux (its kustomize-controller), argo-cd or velero. Without one it is programs.

KUBEBUILDER_ASSETS      a folder with etcd, kube-apiserver and kubectl: they are used, and not built
CONTROL_PLANE_CACHE     where to keep what is built, instead of .cache/control-plane of the workspace";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let named = arguments.next();
    let module = named.as_ref().map_or(Some(&CONTROL_PLANE), |name| module(name));
    let done = match (command.as_deref(), module) {
        (Some("build"), Some(module)) => module.find_or_build(&mut |line| eprintln!("{line}")).map(print),
        (Some("path"), Some(module)) => module.find().map(print),
        (Some("run"), _) if named.is_none() => run(),
        (Some("help" | "--help" | "-h"), _) if named.is_none() => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn module(name: &str) -> Option<&'static Module> {
    MODULES.into_iter().find(|module| module.name == name)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map`")]
fn print(programs: Programs) {
    println!("{}", programs.folder().display());
}

fn run() -> Result<(), Error> {
    let control_plane = ControlPlane::start()?;
    let pids: Vec<String> = control_plane.pids().iter().map(ToString::to_string).collect();
    println!("url {}", control_plane.url());
    println!("kubeconfig {}", control_plane.kubeconfig().display());
    println!("pids {}", pids.join(" "));
    println!("In another terminal, for example:");
    println!("  export KUBECONFIG='{}'", control_plane.kubeconfig().display());
    println!("  '{}' get namespaces", control_plane.kubectl_path().display());
    println!("Ctrl-C stops it and removes its data.");
    // Until a signal ends this process; the servers end with it.
    loop {
        control_plane.check()?;
        std::thread::sleep(Duration::from_secs(1));
    }
}
