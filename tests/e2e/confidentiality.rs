//! A cloud that echoes credentials in all its replies: no byte of them reaches the log, an event or an object.

use clouddc_simulator::{AccessKey, Fault, Operation, Projects, User};
use harness::{Manifest, PROJECT, Stage, condition, until};
use serde_json::json;

use crate::support::{instances, stage};

const KEY: &str = "AKIDOFTHEFLEET000002";
const SECRET: &str = "sk-of-the-fleet-never-shown-0002";
const SECURITY: &str = "security-token-never-shown+/==";
const PASSWORD: &str = "pass word never shown";
/// Not printable, so it is refused as a credential.
const BROKEN: &str = "never shown\u{7f}either";

/// Text with credentials: those that a server receives, and the secret key, which no server receives.
fn echo() -> String {
    format!("you sent {KEY} {SECURITY} signed with {SECRET}")
}

/// Faults of one delete call, each with the reason of the event that reports it.
fn delete_faults(foreign: &str) -> Vec<(&'static str, Fault)> {
    let delete = || Fault::on(Operation::DeleteInstances).times(1);
    let refused =
        |status, code: &str| delete().reply_error(status, code, &echo()).header("X-Request-Id", SECRET);
    vec![
        ("BatchAccepted", delete().delay_before(std::time::Duration::ZERO)),
        ("BatchPartlyAccepted", delete().return_first(1)),
        ("ForeignInstances", delete().add_id(foreign)),
        ("BatchRefused", refused(400, "iMetal.0001")),
        ("BatchOutcomeUnknown", refused(500, SECRET)),
        ("Throttled", refused(429, "APIGW.0308")),
        ("CredentialsRejected", refused(401, "APIGW.0301")),
        ("Forbidden", refused(403, SECURITY)),
        ("EndpointMisconfigured", refused(404, "APIGW.0101")),
        ("RequestRefused", refused(400, "APIGW.0106")),
    ]
}

fn events(stage: &Stage) -> String {
    stage.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).unwrap()
}

fn has_event(stage: &Stage, name: &str, reason: &str) -> bool {
    let all: serde_json::Value = serde_json::from_str(&events(stage)).unwrap();
    let mut all = all["items"].as_array().unwrap().iter();
    all.any(|event| event["regarding"]["name"] == name && event["reason"] == reason)
}

fn wait_event(stage: &Stage, name: &str, reason: &str) {
    until(&format!("{name}: {reason}"), || has_event(stage, name, reason).then_some(()));
}

/// An outage, a state that is a secret, and the error of a deletion that failed.
fn echoed_by_reads(stage: &Stage) {
    let failing =
        stage.cloud.script(Fault::on(Operation::ListInstances).times(1).reply_error(503, SECRET, &echo()));
    stage.apply(&Manifest::new("outage", &instances(stage, 1))).unwrap();
    wait_event(stage, "outage", "CloudUnreachable");
    failing.remove();
    let [odd, failed] = [instances(stage, 1).remove(0), instances(stage, 1).remove(0)];
    let row = |id: &str, state: &str| {
        json!({"instances": [{"id": id, "state": state, "error": {
        "error_code": SECRET, "error_msg": echo(), "error_type": "delete_instance_error"}}]})
    };
    stage.cloud.script(Fault::on(Operation::ListInstances).with_id(&odd).reply_json(200, &row(&odd, SECRET)));
    stage.apply(&Manifest::new("odd", std::slice::from_ref(&odd))).unwrap();
    wait_event(stage, "odd", "StateUnknown");
    assert!(stage.cloud.fail_deletions(PROJECT, &failed, 9));
    let status = json!({"state": "error", "error": {"error_code": SECRET, "error_msg": echo(), "error_type": "delete_instance_error"}});
    stage.cloud.script(Fault::on(Operation::ShowInstanceStatus).with_id(&failed).reply_json(200, &status));
    stage
        .apply(&Manifest::new("failed", std::slice::from_ref(&failed)).with("backoffLimitPerInstance", 0))
        .unwrap();
    wait_event(stage, "failed", "Failed");
}

/// Secrets that hold no credentials, and an IAM that echoes.
fn echoed_by_iam(stage: &Stage) {
    stage.secret_data(&json!({"token": BROKEN})).unwrap();
    stage.apply(&Manifest::new("broken", &instances(stage, 1))).unwrap();
    wait_event(stage, "broken", "SecretInvalid");
    stage.cloud.script(Fault::on(Operation::CreateToken).reply_error(
        401,
        PASSWORD,
        &format!("{} {PASSWORD}", echo()),
    ));
    stage
        .secret_data(&json!({"username": "deleter", "password": PASSWORD, "domainName": "acme corp"}))
        .unwrap();
    wait_event(stage, "broken", "CredentialsRejected");
    stage.kubectl(&["delete", "secret", "clouddc"]).unwrap();
    wait_event(stage, "broken", "SecretNotFound");
    stage.patch("broken", &json!({"suspend": true})).unwrap();
    wait_event(stage, "broken", "Suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_cloud_that_echoes_secrets_has_them_in_no_event_of_any_kind() {
    let stage = stage("echo").await;
    stage
        .cloud
        .add_access_key(AccessKey::new("caller", KEY, SECRET, Projects::All).with_security_token(SECURITY));
    stage.cloud.add_user(User::new("deleter", PASSWORD, "acme corp", Projects::All));
    let key = json!({"accessKeyID": KEY, "secretAccessKey": SECRET, "securityToken": SECURITY});
    stage.secret_data(&key).unwrap();
    let history = stage.history().unwrap();
    let controller = stage.controller(&["--log-level", "trace"]).unwrap();
    for (number, (reason, fault)) in delete_faults(SECRET).into_iter().enumerate() {
        let name = format!("echo-{number}");
        let fault = stage.cloud.script(fault);
        stage.apply(&Manifest::new(&name, &instances(&stage, 2))).unwrap();
        wait_event(&stage, &name, reason);
        fault.remove();
        // A changed Secret ends the wait after a refusal of credentials or address.
        stage.secret_data(&key).unwrap();
        stage.wait_finished(&name);
    }

    echoed_by_reads(&stage);
    echoed_by_iam(&stage);

    let message = condition(&stage.get("failed"), "Ready").2;
    assert!(!message.is_empty(), "people are told something");
    let names = (0..10).map(|number| format!("echo-{number}"));
    let names = names.chain(["outage", "odd", "failed", "broken"].map(str::to_owned));
    let versions = names.flat_map(|name| history.of(&name)).map(|version| version.to_string());
    let versions = versions.collect::<String>();
    let objects = stage.kubectl(&["get", "idel", "-o", "json"]).unwrap();
    let all = [
        ("the log", controller.log()),
        ("an event", events(&stage)),
        ("an object", objects),
        ("a version", versions),
    ];
    for (place, text) in all {
        assert!(text.contains("echo-3"), "{place} is there");
        for secret in [SECRET, SECURITY, PASSWORD, KEY, "never shown"] {
            let told = text.lines().find(|line| line.contains(secret));
            assert_eq!(told, None, "{place} holds {secret}");
        }
    }
}
