//! Supervised processes end with their children.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{path::Path, process::Command, time::Duration};

use common::{runs, until};
use control_plane::{Error, Signal, Supervised};

const LIMIT: Duration = Duration::from_mins(1);

fn sh(script: &str, folder: &Path) -> Supervised {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Supervised::spawn(command, &folder.join("log")).unwrap()
}

fn first_line(process: &mut Supervised) -> String {
    process.wait_line(LIMIT, |line| Some(line.to_owned())).unwrap()
}

#[test]
fn dropping_one_ends_its_children_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = sh("sleep 600 & echo $!; wait", folder.path());
    let (parent, child) = (process.pid().to_string(), first_line(&mut process));
    assert!(runs(&parent) && runs(&child));
    drop(process);
    assert!(!runs(&parent));
    until("the child ends", || !runs(&child));
}

#[test]
fn children_of_one_that_ended_by_itself_end_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = sh("sleep 600 & echo $!", folder.path());
    let child = first_line(&mut process);
    assert!(process.wait_exit(LIMIT).unwrap().success());
    assert!(runs(&child));
    drop(process);
    until("the child ends", || !runs(&child));
}

#[test]
fn a_panic_ends_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let process = sh("sleep 600", &path);
        tell.send(process.pid().to_string()).unwrap();
        panic!("expected by the test");
    });
    let pid = told.recv().unwrap();
    assert!(thread.join().is_err());
    assert!(!runs(&pid));
}

/// A child must not end with the thread that started it.
#[test]
fn the_end_of_the_thread_that_started_one_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let mut process = std::thread::spawn(move || sh("echo ready; sleep 600", &path)).join().unwrap();
    assert_eq!(first_line(&mut process), "ready");
    assert!(process.wait_exit(Duration::from_millis(200)).is_err());
}

#[test]
fn a_signal_reaches_it_and_its_exit_code_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done", folder.path());
    assert_eq!(first_line(&mut process), "ready");
    assert!(process.try_status().unwrap().is_none());
    process.signal(Signal::TERM).unwrap();
    assert_eq!(process.wait_exit(LIMIT).unwrap().code(), Some(7));
    process.signal(Signal::TERM).unwrap();
}

#[test]
fn what_it_printed_before_it_ended_is_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = sh("echo on stdout; echo on stderr >&2; exit 3", folder.path());
    let error = process.wait_line(LIMIT, |line| line.strip_prefix("never").map(drop)).unwrap_err();
    assert!(matches!(error, Error::NoLine { .. }), "{error}");
    let text = error.to_string();
    for part in ["exit status: 3", "on stdout", "on stderr"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn waiting_for_one_that_does_not_end_has_a_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = sh("sleep 600", folder.path());
    let error = process.wait_exit(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error}");
    process.kill();
    assert!(process.try_status().unwrap().is_some());
}
