//! Builds the control plane's programs, or runs it for a person.

use std::{io::Read, process::ExitCode};

use control_plane::{ControlPlane, programs::Programs};

const USAGE: &str = "usage: control-plane build | run

  build   builds etcd, kube-apiserver and kubectl if they are missing, and prints the folder
  run     starts a control plane, prints its kubeconfig and process ids, and stops it when stdin closes or Ctrl-C comes";

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("build") => Programs::find_or_build(&mut |line| eprintln!("{line}"))
            .map(|programs| println!("{}", programs.folder().display())),
        Some("run") => run(),
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

fn run() -> Result<(), control_plane::Error> {
    let control_plane = ControlPlane::start()?;
    let pids: Vec<String> = control_plane.pids().iter().map(ToString::to_string).collect();
    println!("kubeconfig {}", control_plane.kubeconfig().display());
    println!("pids {}", pids.join(" "));
    // Ctrl-C ends this process, and the watchdog the rest.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}
