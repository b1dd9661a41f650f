//! Builds the control plane's programs, or runs it for a person.

use std::{process::ExitCode, time::Duration};

use control_plane::{ControlPlane, Error, programs::Programs};

const USAGE: &str = "usage: control-plane build | path | run

  build   builds etcd, kube-apiserver and kubectl if they are missing, and prints their folder
  path    prints their folder, and builds nothing
  run     starts a control plane, prints how to use it, and stops it at Ctrl-C

KUBEBUILDER_ASSETS      a folder with the three programs: it is used, and nothing is built
CONTROL_PLANE_CACHE     where to keep what is built, instead of .cache/control-plane of the workspace";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let done = match (command.as_deref(), arguments.next()) {
        (Some("build"), None) => Programs::find_or_build(&mut |line| eprintln!("{line}")).map(print),
        (Some("path"), None) => Programs::find().map(print),
        (Some("run"), None) => run(),
        (Some("help" | "--help" | "-h"), None) => {
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
    // A signal ends this process, and that ends the servers.
    loop {
        control_plane.check()?;
        std::thread::sleep(Duration::from_secs(1));
    }
}
