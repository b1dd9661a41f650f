//! The process: flags, health, the drain at its end, and objects that must not harm others.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use clouddc_simulator::{Fault, Operation, Stage as Moment};
use control_plane::Signal;
use harness::{Manifest, Stage, condition, until};
use serde_json::json;

use crate::support::{
    assert_succeeded, binary, count, each_once, instances, loosen_schema, options, sizes, stage,
};

const SOON: Duration = Duration::from_mins(1);

pub fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_whether_it_is_healthy_and_ready() {
    let stage = stage("health").await;
    let controller = stage.controller(&[]).unwrap();
    assert!(http_get(controller.health(), "/healthz").starts_with("HTTP/1.1 200"));
    until("ready", || http_get(controller.health(), "/readyz").starts_with("HTTP/1.1 200").then_some(()));
    let lesser = stage.control_plane.folder().join("nobody.kubeconfig");
    let admin = std::fs::read_to_string(stage.control_plane.kubeconfig()).unwrap();
    std::fs::write(&lesser, admin.replace("control-plane-admin", "nobody")).unwrap();
    let refused = stage.controller_as(&lesser).unwrap();
    until("the refusal is in the log", || refused.log().contains("the watch failed").then_some(()));
    assert!(http_get(refused.health(), "/healthz").starts_with("HTTP/1.1 200"));
    // A probe waits a while for the first list.
    let started = Instant::now();
    assert!(http_get(refused.health(), "/readyz").starts_with("HTTP/1.1 503"));
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(5), "{waited:?}");
    // The process must end although its first list is never answered.
    assert_eq!(refused.terminate(Duration::from_secs(20)).unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn x21_connections_that_ask_nothing_keep_no_probe_and_no_scrape_waiting() {
    let stage = stage("idle").await;
    let controller = stage.controller(&[]).unwrap();
    let mut idle = Vec::new();
    for _ in 0..5 {
        for address in [controller.health(), controller.metrics()] {
            idle.extend((0..100).map(|_| TcpStream::connect(address).unwrap()));
        }
        for (address, path) in [(controller.health(), "/healthz"), (controller.metrics(), "/metrics")] {
            let started = Instant::now();
            assert!(http_get(address, path).starts_with("HTTP/1.1 200"), "{path}");
            assert!(started.elapsed() < Duration::from_secs(1), "{path}: {:?}", started.elapsed());
        }
    }
    // The port of the probes tells nothing else, and the port that others may reach answers no probe.
    assert!(http_get(controller.health(), "/metrics").starts_with("HTTP/1.1 404"));
    assert!(http_get(controller.metrics(), "/healthz").starts_with("HTTP/1.1 404"));
}

/// A process whose log goes to a pipe that is full and that nobody reads.
struct Unread {
    process: std::process::Child,
    _pipe: std::io::PipeReader,
}

impl Unread {
    fn start(flags: &[String], kubeconfig: &std::path::Path) -> Self {
        let (reader, mut writer) = std::io::pipe().unwrap();
        // The capacity of a pipe (man 7 pipe): from now on every write waits.
        writer.write_all(&vec![b'x'; 65536]).unwrap();
        let mut command = Command::new(binary());
        command.arg("run").args(flags).env("KUBECONFIG", kubeconfig).stderr(writer);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(proxy).env_remove(proxy.to_lowercase());
        }
        Self { process: command.spawn().unwrap(), _pipe: reader }
    }

    fn ended(&mut self) -> Option<i32> {
        let status = until("it ends", || self.process.try_wait().unwrap());
        status.code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn x20_a_log_that_nobody_reads_holds_up_no_work_no_probe_and_no_end() {
    let stage = stage("unread").await;
    let (health, metrics) = (free_port(), free_port());
    let mut flags = stage.quick_flags();
    flags.extend(
        ["--health-listen", &health, "--listen", &metrics, "--log-level", "debug"].map(str::to_owned),
    );
    let mut controller = Unread::start(&flags, stage.kubeconfig());
    let ids = instances(&stage, 1200);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1200);
    each_once(&stage.calls(), &ids);
    assert!(http_get(&health, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(http_get(&metrics, "/metrics").contains("instance_deletion_log_lines_lost_total "));
    let pid = controller.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(controller.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_nobody_reads_ends_the_process_all_the_same() {
    let flags = ["--health-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"].map(str::to_owned);
    let mut controller = Unread::start(&flags, std::path::Path::new("/nowhere/kubeconfig"));
    assert_eq!(controller.ended(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_at_the_start_shows_the_password_of_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let proxied = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": "https://127.0.0.1:1", "proxy-url": "ftp://somebody:proxy-password@proxy.example",
        }}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    std::fs::write(&kubeconfig, proxied.to_string()).unwrap();
    let table = [
        (
            "HTTPS_PROXY",
            "socks5://somebody:proxy-password@proxy.example:1080",
            "HTTPS_PROXY has the scheme socks5",
        ),
        ("https_proxy", "http://somebody:proxy-password@proxy example", "https_proxy is not a proxy's URL"),
        ("NO_PROXY", "", "unsupported protocol"),
    ];
    for (variable, value, expected) in table {
        let mut command = Command::new(binary());
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(proxy).env_remove(proxy.to_lowercase());
        }
        command.args(["run", "--health-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
        let output = command.env("KUBECONFIG", &kubeconfig).env(variable, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{variable}: {said}");
        assert!(said.contains(expected) && !said.contains("proxy-password"), "{variable}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_on_sigterm_the_running_call_is_recorded_and_nothing_new_is_sent() {
    let stage = stage("drain").await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let mut controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "30s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    controller.signal(Signal::TERM).unwrap();
    until("it drains", || controller.log().contains("draining").then_some(()));
    gate.release();
    assert_eq!(controller.wait_exit(SOON).unwrap(), Some(0));
    let object = stage.get("retire");
    assert_eq!(object["status"]["batches"][0]["returned"], 50);
    assert_eq!(sizes(&stage.calls()), [50]);
    assert_eq!(count(&object, "Accepted") + count(&object, "Terminated"), 50);
    let _next = stage.controller(&[]).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_sigkill_during_the_drain_is_like_any_crash() {
    let stage = stage("drainkill").await;
    let ids = instances(&stage, 60);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let mut controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "10s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    controller.signal(Signal::TERM).unwrap();
    until("it drains", || controller.log().contains("draining").then_some(()));
    controller.kill();
    gate.release();
    let _next = stage.controller(&[]).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 60);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_are_checked_with_messages_that_say_what_to_do() {
    let table: [(&[&str], &str); 6] = [
        (&["--leader-elect", "maybe"], "true, false"),
        (&["--endpoint", "ap-southeast-3=http://127.0.0.1:1"], "--allow-insecure-endpoint"),
        (&["--poll-min", "5"], "5s"),
        (&["--poll-min", "5m", "--poll-max", "1m"], "poll-min"),
        (&["--endpoint", "nonsense"], "REGION=URL"),
        (&["--parallel-calls", "0"], "parallel-calls"),
    ];
    for (flags, expected) in table {
        let output =
            Command::new(binary()).arg("run").args(flags).env("KUBECONFIG", "/nonexistent").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{flags:?}: {said}");
    }
    let output = Command::new(binary()).arg("crd").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let committed = [
        include_str!("../../crds/clouddc.dev_instancedeletions.yaml"),
        include_str!("../../crds/clouddc.dev_deletionguards.yaml"),
    ];
    assert_eq!(printed, committed.join("---\n"), "run `make generate` after a change of src/api");
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_objects_that_cannot_be_read_harm_no_other() {
    let stage = Stage::alone("broken", binary(), options()).await.unwrap();
    // An older schema admitted more: such objects still exist.
    loosen_schema(&stage, &["spec", "status"]);
    let ids = instances(&stage, 2);
    let upper = Manifest::new("upper", &[ids[0].clone(), ids[1].to_uppercase()]);
    let number = Manifest::new("number", &ids).with("instanceIDs", json!([7]));
    let record = Manifest::new("record", &ids);
    // The API server uses the schema with a delay after the patch.
    until("the loose schema admits it", || stage.apply(&upper).ok());
    stage.apply(&number).unwrap();
    stage.apply(&record).unwrap();
    let exploding = json!({"status": {"phase": "Exploding"}}).to_string();
    let patch = ["patch", "idel", "record", "--subresource=status", "--type=merge", "-p", &exploding];
    stage.kubectl(&patch).unwrap();

    let controller = stage.controller(&[]).unwrap();
    for name in ["upper", "number"] {
        let object = stage.wait_finished(name);
        assert_eq!(object["status"]["phase"], "InvalidSpec");
        assert_eq!(condition(&object, "Stalled").0, "True");
    }
    assert!(condition(&stage.get("upper"), "Ready").2.contains("instanceIDs[1]"));
    until("it is said", || controller.log().contains("the object can't be decoded").then_some(()));
    let others = instances(&stage, 60);
    stage.apply(&Manifest::new("whole", &others)).unwrap();
    assert_succeeded(&stage.wait_finished("whole"), 60);
    each_once(&stage.calls(), &others);
    // It is said on the object too, and all else of the record is left as it is.
    let told = stage.get("record");
    let (status, reason, message) = condition(&told, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Undecodable"), "{message}");
    assert!(message.contains("Exploding"), "{message}");
    assert_eq!(told["status"]["phase"], "Exploding");
    let metrics = http_get(controller.metrics(), "/metrics");
    assert!(metrics.contains("instance_deletion_objects_hindered{reason=\"Undecodable\"} 1"), "{metrics}");
    let events = stage.kubectl(&["get", "events", "-o", "json"]).unwrap();
    assert_eq!(events.matches("\"reason\": \"Undecodable\"").count(), 1, "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn l04_an_account_that_hangs_delays_no_other() {
    let stage = stage("hanging").await;
    // The cloud never answers for nine objects, more than are loaded at once. One more object has another Secret.
    stage.cloud.add_token("hanging", "hanging-token", clouddc_simulator::Projects::All);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hanging"}, "stringData": {"token": "hanging-token"}});
    assert!(stage.kubectl_in(&["create", "-f", "-"], &secret.to_string()).unwrap().status.success());
    let gate = stage.cloud.script(Fault::any().with_token("hanging").hold(Moment::BeforeEffect));
    let _controller = stage.controller(&["--request-timeout", "60s"]).unwrap();
    for number in 0..9 {
        let manifest = Manifest::new(&format!("hanging-{number}"), &instances(&stage, 100));
        stage.apply(&manifest.with("credentialsSecretRef", json!({"name": "hanging"}))).unwrap();
    }
    gate.wait_held(8, SOON).await.unwrap();
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("other", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("other"), 60);
    assert!(gate.held() >= 8, "they still hang");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_the_longest_name_has_events() {
    let stage = stage("longname").await;
    let _controller = stage.controller(&[]).unwrap();
    let name = format!("{}-retire", "a".repeat(246));
    stage.apply(&Manifest::new(&name, &instances(&stage, 1))).unwrap();
    assert_succeeded(&stage.wait_finished(&name), 1);
    let field = format!("regarding.name={name}");
    until("its end is told", || {
        let told = stage.kubectl(&["get", "events.events.k8s.io", "--field-selector", &field, "-o", "json"]);
        told.is_ok_and(|told| told.contains("\"Succeeded\"")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_cannot_be_reached_is_said_and_comes_back() {
    let stage = stage("unreachable").await;
    let ids = instances(&stage, 3);
    let fault = stage.cloud.script(Fault::any().drop_connection(Moment::BeforeEffect));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_reason("retire", "CloudUnreachable");
    assert_eq!(condition(&object, "Reconciling").0, "True");
    fault.remove();
    assert_succeeded(&stage.wait_finished("retire"), 3);
    each_once(&stage.calls().into_iter().filter(|c| c.applied).collect::<Vec<_>>(), &ids);
}
