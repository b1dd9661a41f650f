//! Prometheus itself scrapes the controller and evaluates the alerting rules, and its tools accept what they read.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use control_plane::Supervised;
use harness::{Controller, Manifest, until};
use serde_json::{Value, json};

use crate::support::stage;

/// The `Accept` header of a scrape by Prometheus.
pub const OPEN_METRICS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4";

/// Reads `/metrics`: the head of the reply, and its body.
pub fn scrape(controller: &Controller, accept: &str) -> (String, String) {
    get(controller.metrics(), "/metrics", accept)
}

/// Reads a path of a server: the head of the reply in lower case, and its body.
fn get(address: &str, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{head}");
    (head.to_lowercase(), body.to_owned())
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program of the Go module `tests/conformance/monitoring`.
fn monitoring(arguments: &[&str], input: &str) -> String {
    let mut go = Command::new("go")
        .args(arguments)
        .current_dir(project().join("tests/conformance/monitoring"))
        .envs([("GOFLAGS", "-tags=remove_all_sd"), ("GOWORK", "off")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = go.stdin.take().unwrap();
    let input = input.to_owned();
    let write = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = go.wait_with_output().unwrap();
    let _ = write.join().unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{arguments:?}: {told:?}");
    // Go says on stderr what it downloads.
    let [out, err] = told;
    if arguments.contains(&"-n") { out } else { out + &err }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_takes_it_and_the_rules_and_the_dashboard_name_what_is_there() {
    let stage = stage("tools").await;
    let controller = stage.controller(&[]).unwrap();
    let (head, text) = scrape(&controller, "*/*");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    // The first call downloads and builds it where that was not done before, and says so.
    let _ = monitoring(&["tool", "promtool", "--version"], "");
    assert_eq!(monitoring(&["tool", "promtool", "check", "metrics"], &text), "");
    let (head, text) = scrape(&controller, OPEN_METRICS);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let file = stage.control_plane.folder().join("scrape.txt");
    std::fs::write(&file, text).unwrap();
    print!("figure: monitoring: {}", monitoring(&["run", ".", file.to_str().unwrap()], ""));
}

/// Prometheus with the project's rules, and a controller to scrape.
struct Prometheus {
    address: String,
    _process: Supervised,
}

impl Prometheus {
    /// Starts it. Its files are in the folder.
    fn start(folder: &Path, controller: &Controller) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [project().join("deploy/monitoring/alerts.yaml")],
            "scrape_configs": [
                {"job_name": "controller", "static_configs": [{"targets": [controller.metrics()]}]},
            ],
        });
        let file = folder.join("prometheus.yaml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let program = PathBuf::from(monitoring(&["tool", "-n", "prometheus"], "").trim());
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let mut process = Supervised::spawn(command, &folder.join("prometheus.log")).unwrap();
        let says = |line: &str, what: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["msg"] == what).then(|| line["address"].as_str().unwrap_or_default().to_owned())
        };
        let limit = Duration::from_mins(1);
        let address = process.wait_line(limit, |line| says(line, "Listening on")).unwrap();
        // It answers 503 until then.
        process.wait_line(limit, |line| says(line, "Server is ready to receive web requests.")).unwrap();
        Self { address, _process: process }
    }

    /// Reads a path of its API.
    fn read(&self, path: &str) -> Value {
        let (_, body) = get(&self.address, &format!("/api/v1/{path}"), "application/json");
        let reply: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(reply["status"], "success", "{reply}");
        reply["data"].clone()
    }

    /// The rules, with what each evaluation said.
    fn rules(&self) -> Vec<Value> {
        let rules = self.read("rules");
        let groups = rules["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// Names of the alerts that fire or wait for their time.
    fn alerts(&self, state: &str) -> Vec<(String, Value)> {
        let alerts = self.read("alerts");
        let all = alerts["alerts"].as_array().unwrap().iter();
        let these = all.filter(|alert| alert["state"] == state);
        these
            .map(|alert| (alert["labels"]["alertname"].as_str().unwrap().to_owned(), alert.clone()))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_it_and_an_alert_fires_for_an_object_that_failed() {
    let stage = stage("prometheus").await;
    let unknown = stage.cloud.fresh_ids(2);
    let controller = stage.controller(&[]).unwrap();
    let prometheus = Prometheus::start(&stage.control_plane.folder().join(&stage.namespace), &controller);
    let alerts = std::fs::read_to_string(project().join("deploy/monitoring/alerts.yaml")).unwrap();
    let written = alerts.lines().filter(|line| line.trim_start().starts_with("- alert: ")).count();
    let evaluated = || {
        let rules = prometheus.rules();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    };
    let rules = until("every rule was evaluated", evaluated);
    let wrong: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(rules.len() == written && wrong.is_empty(), "{written} rules are written, {wrong:?}");
    until("a scrape has the figures", || {
        let series = prometheus.read("query?query=instance_deletion_ready");
        let value = &series["result"][0]["value"][1];
        let targets = prometheus.read("targets");
        let target = &targets["activeTargets"][0];
        (value == "1" && target["health"] == "up" && target["lastError"] == "").then_some(())
    });
    assert!(prometheus.alerts("firing").is_empty(), "nothing is wrong yet");

    stage.apply(&Manifest::new("never-known", &unknown).with("notFoundPolicy", "Fail")).unwrap();
    assert_eq!(stage.wait_finished("never-known")["status"]["phase"], "Failed");
    let firing = until("an alert fires", || {
        let firing = prometheus.alerts("firing");
        (!firing.is_empty()).then_some(firing)
    });
    let names: Vec<&str> = firing.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["InstanceDeletionFailed"]);
    let alert = &firing[0].1;
    assert_eq!(
        (&alert["labels"]["phase"], &alert["labels"]["job"]),
        (&json!("Failed"), &json!("controller"))
    );
    let said = alert["annotations"]["description"].as_str().unwrap();
    assert!(said.contains("have ended as Failed"), "{said}");
}
