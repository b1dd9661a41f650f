//! Access keys and passwords: the simulator verifies signatures by the vendor's rule, and issues tokens as IAM does.

use std::time::Duration;

use clouddc_simulator::{AccessKey, Fault, Operation, Projects, Stage as Moment, User};
use harness::{Manifest, Stage, condition};
use serde_json::{Value, json};

use crate::support::{assert_succeeded, each_once, instances, sizes, stage};

const KEY: &str = "AKIDOFTHEFLEET000001";
const SECRET: &str = "sk-of-the-fleet-never-shown-0001";
const SECURITY: &str = "security-token-never-shown+/==";
const PASSWORD: &str = "pass word never shown";

fn key_data() -> Value {
    json!({"accessKeyID": KEY, "secretAccessKey": SECRET})
}

fn login_data() -> Value {
    json!({"username": "deleter", "password": PASSWORD, "domainName": "acme corp"})
}

fn add_user(stage: &Stage) {
    stage.cloud.add_user(User::new("deleter", PASSWORD, "acme corp", Projects::All));
}

/// Labels of the callers of CloudDC, each once.
fn callers(stage: &Stage) -> Vec<String> {
    let mut labels: Vec<_> = stage.cloud.log().into_iter().filter_map(|entry| entry.token).collect();
    labels.sort();
    labels.dedup();
    labels
}

fn refused(stage: &Stage) -> usize {
    stage.cloud.log().iter().filter(|entry| entry.status == Some(401)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn i07_every_kind_of_credentials_reads_and_deletes_and_no_byte_of_it_is_told() {
    let kinds = [
        ("key", key_data(), AccessKey::new("caller", KEY, SECRET, Projects::All)),
        (
            "temporary",
            json!({"accessKeyID": KEY, "secretAccessKey": SECRET, "securityToken": format!("{SECURITY}\n")}),
            AccessKey::new("caller", KEY, SECRET, Projects::All).with_security_token(SECURITY),
        ),
        ("login", login_data(), AccessKey::new("unused", "AKUNUSED", "unused", Projects::All)),
    ];
    for (kind, data, key) in kinds {
        let stage = stage(kind).await;
        stage.cloud.add_access_key(key);
        add_user(&stage);
        stage.secret_data(&data).unwrap();
        let controller = stage.controller(&["--log-level", "trace"]).unwrap();
        let ids = instances(&stage, 120);
        stage.apply(&Manifest::new("retire", &ids)).unwrap();
        let object = stage.wait_finished("retire");
        assert_succeeded(&object, 120);
        each_once(&stage.calls(), &ids);
        assert_eq!(refused(&stage), 0, "{kind}");
        let caller = if kind == "login" { "deleter" } else { "caller" };
        assert_eq!(callers(&stage), [caller], "{kind}");
        let tokens = stage.cloud.calls(Operation::CreateToken).len();
        assert_eq!(tokens, usize::from(kind == "login"), "one token serves all calls");
        let events = stage.kubectl(&["get", "events", "-o", "json"]).unwrap();
        let told = format!("{}{object}{events}", controller.log());
        assert!(told.contains("obtained a token") == (kind == "login"), "the log is there");
        for secret in [SECRET, SECURITY, PASSWORD, KEY, "acme corp"] {
            assert!(!told.contains(secret), "{kind}: {secret} is in the log, the object or its events");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i08_a_secret_that_changes_kind_between_two_calls_is_used_by_the_second() {
    let stage = stage("changeskind").await;
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::BeforeEffect));
    stage.cloud.add_access_key(AccessKey::new("key", KEY, SECRET, Projects::All));
    let controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "1m"]).unwrap();
    let ids = instances(&stage, 120);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, Duration::from_mins(1)).await.unwrap();
    stage.secret_data(&key_data()).unwrap();
    gate.release();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [50, 50, 20]);
    each_once(&calls, &ids);
    let labels: Vec<_> = calls.iter().filter_map(|call| call.token.as_deref()).collect();
    assert_eq!(labels[1..], ["key", "key"]);
    assert_ne!(labels[0], "key");
    assert_eq!(refused(&stage), 0);
    drop(controller);
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_a_token_that_ends_in_the_middle_is_renewed_before_and_one_that_is_revoked_at_once() {
    let stage = stage("tokenends").await;
    add_user(&stage);
    // A fifth of its life is left for its successor to be fetched, on a busy machine too.
    stage.cloud.set_token_life(Duration::from_secs(15));
    stage.secret_data(&login_data()).unwrap();
    let _controller = stage.controller(&["--delete-rate", "1"]).unwrap();
    let ids = instances(&stage, 1000);
    stage.apply(&Manifest::new("ends", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("ends"), 1000);
    assert_eq!(refused(&stage), 0, "each token is renewed at four fifths of its life");
    assert!(stage.cloud.calls(Operation::CreateToken).len() > 1);
    each_once(&stage.calls(), &ids);

    stage.cloud.set_token_life(Duration::from_hours(24));
    // The last short-lived token expires too.
    stage.cloud.advance(Duration::from_secs(15));
    let before = stage.cloud.calls(Operation::CreateToken).len();
    let _ = stage.kubectl(&["delete", "secret", "clouddc"]).unwrap();
    stage.secret_data(&login_data()).unwrap();
    let more = instances(&stage, 1);
    stage.apply(&Manifest::new("long", &more)).unwrap();
    assert_succeeded(&stage.wait_finished("long"), 1);
    assert_eq!(stage.cloud.calls(Operation::CreateToken).len(), before + 1, "another version of the Secret");
    assert_eq!(stage.cloud.revoke_user_tokens("deleter"), 1);
    let last = instances(&stage, 1);
    stage.apply(&Manifest::new("revoked", &last)).unwrap();
    assert_succeeded(&stage.wait_finished("revoked"), 1);
    assert_eq!(refused(&stage), 1, "one read found out, and was made once more");
    assert_eq!(stage.cloud.calls(Operation::CreateToken).len(), before + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_an_iam_that_is_down_slow_or_refuses_is_said_and_waited_for() {
    let stage = stage("iam").await;
    add_user(&stage);
    stage.secret_data(&login_data()).unwrap();
    let down =
        stage.cloud.script(Fault::on(Operation::CreateToken).reply_error(503, "APIGW.0613", "IAM is down"));
    let _controller = stage.controller(&[]).unwrap();
    let ids = instances(&stage, 3);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let message = condition(&stage.wait_reason("retire", "CloudUnreachable"), "Ready").2;
    assert!(message.contains("IAM: IAM is down"), "{message}");
    down.remove();
    let slow = stage.cloud.script(Fault::on(Operation::CreateToken).hold(Moment::BeforeEffect));
    stage.cloud.revoke_user_tokens("deleter");
    let message = condition(
        &stage.wait("retire", "an IAM that does not answer", |object| {
            condition(object, "Ready").2.contains("IAM: no answer within")
        }),
        "Ready",
    )
    .2;
    assert!(!message.contains(PASSWORD), "{message}");
    slow.release();
    slow.remove();
    assert_succeeded(&stage.wait_finished("retire"), 3);

    stage
        .secret_data(&json!({"username": "deleter", "password": "wrong one", "domainName": "acme corp"}))
        .unwrap();
    let before = stage.cloud.calls(Operation::CreateToken).len();
    let objects: Vec<String> = (0..8).map(|n| format!("wrong-{n}")).collect();
    for name in &objects {
        stage.apply(&Manifest::new(name, &instances(&stage, 1))).unwrap();
    }
    for name in &objects {
        let message = condition(&stage.wait_reason(name, "CredentialsRejected"), "Ready").2;
        assert!(
            message.contains("The username or password is wrong") && !message.contains("wrong one"),
            "{message}"
        );
    }
    assert_eq!(
        stage.cloud.calls(Operation::CreateToken).len(),
        before + 1,
        "IAM locks users after a few failures"
    );
    stage.secret_data(&login_data()).unwrap();
    for name in &objects {
        assert_succeeded(&stage.wait_finished(name), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_a_refused_key_is_tried_by_one_object_and_not_by_each() {
    let stage = stage("wrongkey").await;
    stage.cloud.add_access_key(AccessKey::new("key", KEY, SECRET, Projects::All));
    stage.secret_data(&json!({"accessKeyID": KEY, "secretAccessKey": "not-the-secret"})).unwrap();
    let _controller = stage.controller(&["--retry-max", "5m"]).unwrap();
    let objects: Vec<String> = (0..8).map(|n| format!("retire-{n}")).collect();
    for name in &objects {
        stage.apply(&Manifest::new(name, &instances(&stage, 1))).unwrap();
        stage.wait_reason(name, "CredentialsRejected");
    }
    assert_eq!(refused(&stage), 1, "the vendor locks keys after a few failures");
    stage.secret_data(&key_data()).unwrap();
    for name in &objects {
        assert_succeeded(&stage.wait_finished(name), 1);
    }
    assert_eq!(refused(&stage), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_a_stale_password_or_key_is_tried_once_whatever_the_project_and_the_secret() {
    let (wrong_login, wrong_key) = (
        json!({"username": "deleter", "password": "stale one", "domainName": "acme corp"}),
        json!({"accessKeyID": KEY, "secretAccessKey": "not-the-secret"}),
    );
    for (kind, wrong, right) in [("login", wrong_login, login_data()), ("key", wrong_key, key_data())] {
        let stage = stage(&format!("stale{kind}")).await;
        add_user(&stage);
        stage.cloud.add_access_key(AccessKey::new("key", KEY, SECRET, Projects::All));
        let secret = |n: usize, data: &Value| {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("secret-{n}")},
                "stringData": data,
            });
            let _ = stage.kubectl(&["delete", "secret", &format!("secret-{n}"), "--ignore-not-found"]);
            stage.kubectl_in(&["create", "-f", "-"], &secret.to_string()).unwrap();
        };
        let objects: Vec<String> = (0..6).map(|n| format!("retire-{n}")).collect();
        for (n, name) in objects.iter().enumerate() {
            secret(n, &wrong);
            let project = format!("{n:032x}");
            let manifest = Manifest::new(name, &stage.cloud.ids(&project, 1)).with("projectID", project);
            stage
                .apply(&manifest.with("credentialsSecretRef", json!({"name": format!("secret-{n}")})))
                .unwrap();
        }
        let controller = stage.controller(&[]).unwrap();
        for name in &objects {
            stage.wait_reason(name, "CredentialsRejected");
        }
        assert_eq!(refused(&stage), 1, "{kind}: the vendor locks a user after five refusals");
        (0..objects.len()).for_each(|n| secret(n, &right));
        for name in &objects {
            assert_succeeded(&stage.wait_finished(name), 1);
        }
        assert_eq!(refused(&stage), 1, "{kind}");
        drop(controller);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_a_clock_that_is_an_hour_off_is_corrected_by_one_refusal() {
    let stage = stage("skew").await;
    stage.cloud.add_access_key(AccessKey::new("key", KEY, SECRET, Projects::All));
    stage.cloud.set_clock_offset(3_600);
    stage.secret_data(&key_data()).unwrap();
    let controller = stage.controller(&[]).unwrap();
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 60);
    assert_eq!(refused(&stage), 1);
    each_once(&stage.calls(), &ids);
    assert!(controller.log().contains("local clock differs from the cloud's"), "{}", controller.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_where_listing_is_forbidden_each_instance_is_read_by_itself() {
    let stage = stage("nolist").await;
    stage.cloud.add_access_key(AccessKey::new("key", KEY, SECRET, Projects::All));
    let forbidden = Fault::on(Operation::ListInstances).with_token("key");
    stage.cloud.script(forbidden.reply_error(403, "iMetal.0004", "Insufficient permissions"));
    stage.secret_data(&key_data()).unwrap();
    let _controller = stage.controller(&[]).unwrap();
    let ids = instances(&stage, 30);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 30);
    each_once(&stage.calls(), &ids);
}
