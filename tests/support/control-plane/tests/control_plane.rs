//! The control plane is a real one, and its servers can be stopped and started.

mod common;

use std::time::Duration;

use common::{runs, until};
use control_plane::{ControlPlane, Error};

#[test]
fn it_is_ready_and_calls_itself_by_its_version() {
    let control_plane = ControlPlane::shared().unwrap();
    assert_eq!(control_plane.kubectl(&["get", "--raw", "/readyz"]).ok().unwrap(), "ok");
    let output = control_plane.kubectl(&["version"]).run().unwrap();
    assert!(output.stdout.contains("Server Version: v1."), "{output:?}");
    // kubectl would warn of a skew.
    assert_eq!(output.stderr, "");
}

#[test]
fn kubectl_reads_its_standard_input_and_tells_errors() {
    let control_plane = ControlPlane::shared().unwrap();
    let ns = control_plane.create_namespace("stdin").unwrap();
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "given"}, "data": {"key": "value"},
    });
    control_plane.kubectl(&["-n", &ns, "apply", "-f", "-"]).stdin(object.to_string()).ok().unwrap();
    let read = ["-n", &ns, "get", "configmap", "given", "-o", "jsonpath={.data.key}"];
    assert_eq!(control_plane.kubectl(&read).ok().unwrap(), "value");
    let error = control_plane.kubectl(&["-n", &ns, "get", "configmap", "other"]).ok().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("get configmap other") && text.contains("NotFound"), "{text}");
}

#[test]
fn kubectl_has_a_deadline() {
    let control_plane = ControlPlane::shared().unwrap();
    let watch = control_plane.kubectl(&["get", "namespaces", "--watch"]);
    let error = watch.limit(Duration::from_millis(300)).run().unwrap_err();
    assert!(matches!(&error, Error::Deadline(what) if what.contains("--watch")), "{error}");
}

#[test]
fn namespaces_with_one_prefix_differ() {
    let control_plane = ControlPlane::shared().unwrap();
    let [one, other] = [(); 2].map(|()| control_plane.create_namespace("same").unwrap());
    assert_ne!(one, other);
}

#[test]
fn a_service_account_may_what_its_roles_say() {
    let control_plane = ControlPlane::shared().unwrap();
    let ns = control_plane.create_namespace("roles").unwrap();
    let kubectl = |arguments: &[&str]| {
        control_plane.kubectl(&[&["-n", &ns], arguments].concat()).ok().unwrap();
    };
    kubectl(&["create", "serviceaccount", "reader"]);
    let reader = control_plane.service_account_kubeconfig(&ns, "reader").unwrap();
    let list = || control_plane.kubectl_as(&reader, &["get", "configmaps", "-n", &ns]).run().unwrap();
    assert!(list().stderr.contains("forbidden"), "{:?}", list());
    kubectl(&["create", "role", "reader", "--verb=list", "--resource=configmaps"]);
    kubectl(&["create", "rolebinding", "reader", "--role=reader", &format!("--serviceaccount={ns}:reader")]);
    until("the role is in force", || list().status.success());
}

#[test]
fn an_object_is_read_without_kubectl() {
    let control_plane = ControlPlane::shared().unwrap();
    let ns = control_plane.create_namespace("read").unwrap();
    let object = control_plane.get(&format!("/api/v1/namespaces/{ns}")).unwrap().unwrap();
    assert_eq!(object["metadata"]["name"], *ns);
    assert_eq!(control_plane.get("/api/v1/namespaces/nowhere").unwrap(), None);
    assert!(control_plane.get("/api/v1/namespaces?limit=many").is_err());
}

#[test]
fn a_made_up_token_is_refused() {
    let control_plane = ControlPlane::shared().unwrap();
    let stranger = control_plane.token_kubeconfig("made-up", "stranger").unwrap();
    let output = control_plane.kubectl_as(&stranger, &["get", "namespaces"]).run().unwrap();
    assert!(output.stderr.contains("You must be logged in"), "{output:?}");
}

#[test]
fn the_api_server_can_be_stopped_started_and_paused() {
    let control_plane = ControlPlane::start().unwrap();
    let ns = control_plane.create_namespace("kept").unwrap();
    let get = ["get", "namespace", ns.as_str()];
    let url = control_plane.url();

    control_plane.stop_api_server();
    assert_eq!(control_plane.pids().len(), 1);
    let gone = control_plane.kubectl(&get).run().unwrap();
    assert!(gone.stderr.contains("refused"), "{gone:?}");

    control_plane.start_api_server().unwrap();
    assert_eq!(control_plane.url(), url);
    control_plane.kubectl(&get).ok().unwrap();
    let pids = control_plane.pids();
    control_plane.start_api_server().unwrap();
    assert_eq!(control_plane.pids(), pids, "one that runs is left alone");

    control_plane.pause_api_server().unwrap();
    let silent = control_plane.kubectl(&get).limit(Duration::from_secs(2)).run();
    assert!(matches!(silent, Err(Error::Deadline(_))), "{silent:?}");
    control_plane.resume_api_server().unwrap();
    control_plane.kubectl(&get).ok().unwrap();
}

#[test]
fn etcd_can_be_stopped_started_and_set_back() {
    let control_plane = ControlPlane::start().unwrap();
    let kept = control_plane.create_namespace("kept").unwrap();
    control_plane.stop_api_server();
    control_plane.stop_etcd();
    assert_eq!(control_plane.pids().len(), 0);
    let backup = control_plane.back_up().unwrap();
    control_plane.start_etcd().unwrap();
    control_plane.start_api_server().unwrap();
    let lost = control_plane.create_namespace("lost").unwrap();

    control_plane.stop_etcd();
    let write = ["create", "namespace", "refused", "--request-timeout=2s"];
    assert!(control_plane.kubectl(&write).ok().is_err(), "nothing can be stored");
    control_plane.start_etcd().unwrap();
    control_plane.kubectl(&["get", "namespace", &kept, &lost]).ok().unwrap();

    control_plane.stop_api_server();
    control_plane.stop_etcd();
    control_plane.set_back(&backup).unwrap();
    control_plane.start_etcd().unwrap();
    control_plane.start_api_server().unwrap();
    control_plane.kubectl(&["get", "namespace", &kept]).ok().unwrap();
    let gone = control_plane.kubectl(&["get", "namespace", &lost]).ok().unwrap_err().to_string();
    assert!(gone.contains("NotFound"), "{gone}");
}

#[test]
fn a_restart_waits_for_its_port_while_another_has_it() {
    let control_plane = ControlPlane::start().unwrap();
    let address = control_plane.url().replace("https://", "");
    control_plane.stop_api_server();
    let other = std::net::TcpListener::bind(address).unwrap();
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| control_plane.start_api_server());
        let log = control_plane.folder().join("kube-apiserver.log");
        until("the port is found taken", || {
            std::fs::read_to_string(&log).is_ok_and(|log| log.contains("address already in use"))
        });
        drop(other);
        restart.join().unwrap().unwrap();
    });
    control_plane.kubectl(&["get", "namespaces"]).ok().unwrap();
}

#[test]
fn a_server_that_ended_by_itself_is_told_with_its_log() {
    let control_plane = ControlPlane::start().unwrap();
    control_plane.check().unwrap();
    let etcd = i32::try_from(control_plane.pids()[0]).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(etcd, rustix::process::Signal::KILL).unwrap();
    until("its end is noticed", || control_plane.check().is_err());
    let error = control_plane.check().unwrap_err().to_string();
    assert!(error.contains("etcd ended with signal: 9") && error.contains("== kube-apiserver\n"), "{error}");
}

#[test]
fn dropping_it_stops_it_and_removes_its_folder() {
    let control_plane = ControlPlane::start().unwrap();
    let pids = control_plane.pids();
    let folder = control_plane.folder().to_owned();
    assert!(folder.exists() && pids.len() == 2);
    drop(control_plane);
    assert!(!folder.exists());
    assert!(!pids.iter().any(|pid| runs(&pid.to_string())));
}
