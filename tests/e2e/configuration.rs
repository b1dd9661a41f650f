//! Flags and variables as the process takes them, and how it says what it refuses.

use std::process::{Command, Output};

use instance_deletion_controller::runtime::{args, environment::variable};
use serde_json::Value;

use crate::support::binary;

/// Any port: the default ones may be in use.
const ANY_PORT: [(&str, &str); 2] =
    [("INSTANCE_DELETION_LISTEN", "127.0.0.1:0"), ("INSTANCE_DELETION_HEALTH_LISTEN", "127.0.0.1:0")];

/// The binary with nothing in its environment but these variables, and no cluster.
pub fn called(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().env("KUBECONFIG", "/nonexistent/kubeconfig");
    command.envs(environment.iter().copied()).output().unwrap()
}

/// Parses the lines on stderr. Each must be a log line in JSON.
fn logged(output: &Output) -> Vec<Value> {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    let line = |line: &str| -> Value {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|_| unreachable!("{told}"));
        assert!(value["timestamp"].is_string() && value["level"].is_string(), "{line}");
        assert!(value["message"].is_string(), "{line}");
        value
    };
    told.lines().map(line).collect()
}

/// What a process without a cluster says of its configuration before it ends.
fn settings(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = called(arguments, &[&ANY_PORT[..], environment].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = logged(&output);
    let last = lines.last().unwrap();
    assert!(last["error"].as_str().unwrap().contains("no cluster"), "the last line says why: {last}");
    let configured = lines.iter().find(|line| line["settings"].is_string()).unwrap();
    configured["settings"].as_str().unwrap().to_owned()
}

#[test]
fn only_variables_with_the_prefix_are_used_and_a_flag_goes_before_its_variable() {
    let ports = "INSTANCE_DELETION_LISTEN=127.0.0.1:0 INSTANCE_DELETION_HEALTH_LISTEN=127.0.0.1:0";
    let usual = [("NAMESPACE", "elsewhere"), ("POLL_MIN", "nonsense"), ("SELECTOR", "a=b"), ("LISTEN", "x")];
    assert_eq!(settings(&[], &usual), ports, "names that Pods often have");
    let given = [
        ("INSTANCE_DELETION_NAMESPACE", "a,b"),
        ("INSTANCE_DELETION_POLL_MIN", "1m30s"),
        ("INSTANCE_DELETION_LEADER_ELECT", "false"),
        ("INSTANCE_DELETION_ALLOW_INSECURE_ENDPOINT", "true"),
    ];
    assert_eq!(
        settings(&["run", "--poll-min", "1.5s"], &given),
        format!(
            "INSTANCE_DELETION_ALLOW_INSECURE_ENDPOINT=true INSTANCE_DELETION_NAMESPACE=a,b {ports} \
             INSTANCE_DELETION_LEADER_ELECT=false --poll-min=1.5s"
        )
    );
    // As in a namespace with such a Service, unless the Pod has no service links.
    let links = [
        ("INSTANCE_DELETION_CONTROLLER_SERVICE_HOST", "10.0.0.1"),
        ("INSTANCE_DELETION_CONTROLLER_SERVICE_PORT", "8080"),
        ("INSTANCE_DELETION_CONTROLLER_PORT", "tcp://10.0.0.1:8080"),
        ("INSTANCE_DELETION_CONTROLLER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ];
    assert_eq!(settings(&["run"], &links), ports);
}

#[test]
fn an_empty_variable_is_an_absent_one_for_every_flag() {
    let command = args::command();
    let flags: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long().map(variable)).collect();
    assert!(flags.len() > 20, "{flags:?}");
    let mut empty: Vec<_> = flags.iter().map(|name| (name.as_str(), "")).collect();
    empty.retain(|(name, _)| ANY_PORT.iter().all(|(port, _)| port != name));
    let expected = "INSTANCE_DELETION_LISTEN=127.0.0.1:0 INSTANCE_DELETION_HEALTH_LISTEN=127.0.0.1:0";
    for arguments in [&[][..], &["run"]] {
        assert_eq!(settings(arguments, &empty), expected, "{arguments:?}");
    }
}

/// Arguments, the environment, and a part of the error.
type Refused<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[test]
fn what_is_refused_is_one_log_line_with_the_reason() {
    let table: [Refused<'_>; 7] = [
        (
            &["run"],
            &[("INSTANCE_DELETION_NAMESPACES", "fleet")],
            "INSTANCE_DELETION_NAMESPACES belongs to no flag",
        ),
        (&["run"], &[("INSTANCE_DELETION_POLL_MIN", "5")], "such as 300ms, 5s, 1m30s or 1.5h"),
        (&["--poll-min", "1h-5m"], &[], "such as 300ms, 5s, 1m30s or 1.5h"),
        (&["run", "--poll-min", "5m", "--poll-max", "1m"], &[], "--poll-min is above --poll-max"),
        (&["run", "--nonsense"], &[], "--nonsense"),
        (&["rnu"], &[], "rnu"),
        (
            &["run", "--endpoint", "https://u:hunter2@x"],
            &[("INSTANCE_DELETION_LOG_FORMAT", "json")],
            "REGION=URL",
        ),
    ];
    for (arguments, environment, expected) in table {
        let output = called(arguments, environment);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(output.stdout, b"");
        let lines = logged(&output);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["level"], "ERROR");
        let error = lines[0]["error"].as_str().unwrap();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        // What the kubelet shows of a container's log.
        assert!(output.stderr.len() < 2048, "{error}");
    }
}

#[test]
fn people_read_text() {
    let text = called(&["run", "--log-format", "text", "--endpoint", "https://u:hunter2@x"], &[]);
    let told = String::from_utf8(text.stderr).unwrap();
    assert!(told.starts_with("error: ") && told.contains("REGION=URL"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    for (arguments, expected) in [
        (&["--help"][..], "INSTANCE_DELETION_POLL_MIN"),
        (&["run", "--help"], "[env: INSTANCE_DELETION_POLL_MIN"),
        (&["check", "--help"], "--offline"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = called(arguments, &[]);
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(expected), "{arguments:?}");
    }
    let refused = called(&["crd", "--nonsense"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.starts_with(b"error: "), "{refused:?}");
}
