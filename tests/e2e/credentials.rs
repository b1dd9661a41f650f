//! Credentials that are wrong, missing, corrected, changed, or not for the cloud.

use clouddc_simulator::Projects;
use harness::{Manifest, TOKEN, condition};
use serde_json::json;

use crate::support::{assert_succeeded, each_once, instances, stage};

/// Waits until `Ready` no longer gives this reason, and returns how long that took, in seconds.
fn leaves(stage: &harness::Stage, name: &str, reason: &str) -> u64 {
    let since = std::time::Instant::now();
    stage.wait(name, &format!("Ready no longer says {reason}"), |object| {
        condition(object, "Ready").1 != reason
    });
    since.elapsed().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_a_wrong_token_is_said_and_a_corrected_secret_is_taken_up() {
    let stage = stage("wrongtoken").await;
    let ids = instances(&stage, 3);
    stage.secret("not-the-token").unwrap();
    let controller = stage.controller(&["--retry-max", "5m"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_reason("retire", "CredentialsRejected");
    let (status, _, message) = condition(&object, "Ready");
    assert_eq!(status, "False");
    assert!(message.contains("rejects the credentials in Secret clouddc"), "{message}");
    assert!(message.contains("put valid credentials into the Secret"), "{message}");
    stage.secret(TOKEN).unwrap();
    let corrected = std::time::Instant::now();
    assert_succeeded(&stage.wait_finished("retire"), 3);
    println!("finished {} s after the Secret was corrected", corrected.elapsed().as_secs());
    each_once(&stage.calls(), &ids);
    assert!(!controller.log().contains("not-the-token") && !controller.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn i07_each_fault_of_a_secret_has_its_reason_and_is_mended_without_a_restart() {
    let stage = stage("secrets").await;
    stage.kubectl(&["delete", "secret", "clouddc"]).unwrap();
    let _controller = stage.controller(&["--retry-max", "5m"]).unwrap();
    let ids = instances(&stage, 1);
    stage.apply(&Manifest::new("missing", &ids)).unwrap();
    let message = condition(&stage.wait_reason("missing", "SecretNotFound"), "Ready").2;
    assert!(message.contains("Secret clouddc does not exist; create it in this namespace"), "{message}");
    let table = [
        (json!({"password": "x"}), "it has password and no username"),
        (json!({"token": ""}), "empty"),
        (json!({"token": "two words"}), "outside printable ASCII"),
        (json!({"token": "line\nbreak"}), "outside printable ASCII"),
        (json!({"token": "t\u{f6}ken"}), "outside printable ASCII"),
        (json!({"token": format!("{TOKEN}\n\n")}), "outside printable ASCII"),
    ];
    for (number, (data, expected)) in table.into_iter().enumerate() {
        stage.secret_data(&data).unwrap();
        let name = format!("invalid-{number}");
        stage.apply(&Manifest::new(&name, &instances(&stage, 1))).unwrap();
        let message = condition(&stage.wait_reason(&name, "SecretInvalid"), "Ready").2;
        assert!(message.contains(expected), "{data}: {message}");
        assert!(!message.contains("words") && !message.contains("line\nbreak"), "{message}");
    }
    assert!(stage.calls().is_empty());
    stage.secret_data(&json!({"token": format!("{TOKEN}\n")})).unwrap();
    stage.wait_finished("missing");
    for number in 0..6 {
        assert_succeeded(&stage.wait_finished(&format!("invalid-{number}")), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_a_token_without_permission_is_said() {
    let stage = stage("forbidden").await;
    let ids = instances(&stage, 3);
    stage.cloud.add_token("stranger", "strangers-token", Projects::Only(vec!["f".repeat(32)]));
    stage.secret("strangers-token").unwrap();
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let message = condition(&stage.wait_reason("retire", "Forbidden"), "Ready").2;
    assert!(message.contains("clouddc:instance:deleteBatch"), "{message}");
    assert!(stage.calls().iter().all(|call| call.status == Some(403)));
    stage.secret(TOKEN).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn i08_a_rotated_secret_is_used_by_the_next_call() {
    let stage = stage("rotated").await;
    let ids = instances(&stage, 1);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("before", &ids)).unwrap();
    stage.wait_finished("before");
    stage.cloud.add_token("rotated", "rotated-token", Projects::All);
    stage.secret("rotated-token").unwrap();
    stage.cloud.revoke_token(TOKEN);
    let ids = instances(&stage, 1);
    stage.apply(&Manifest::new("after", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("after"), 1);
    assert!(stage.cloud.log().iter().all(|entry| entry.status != Some(401)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i08_with_default_flags_a_corrected_credential_is_used_within_the_time_that_the_object_says() {
    let stage = stage("corrected").await;
    stage.cloud.add_token("stranger", "strangers-token", Projects::Only(vec!["f".repeat(32)]));
    let _controller = stage.controller_by_default(&[]).unwrap();
    for (name, token, reason) in
        [("rejected", "not-the-token", "CredentialsRejected"), ("forbidden", "strangers-token", "Forbidden")]
    {
        stage.secret(token).unwrap();
        stage.apply(&Manifest::new(name, &instances(&stage, 1))).unwrap();
        let message = condition(&stage.wait_reason(name, reason), "Ready").2;
        assert!(reason == "Forbidden" || message.contains("it is read again within 15 s"), "{message}");
        stage.secret(TOKEN).unwrap();
        let seconds = leaves(&stage, name, reason);
        assert!(seconds < 30, "{name}: {seconds} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i07_a_secret_of_kubernetes_itself_is_never_sent() {
    let stage = stage("typed").await;
    let controller = stage.controller(&[]).unwrap();
    let account = json!({"kubernetes.io/service-account.name": "default"});
    let table = [
        ("kubernetes.io/service-account-token", account, json!({"token": "a-service-accounts-token"})),
        ("bootstrap.kubernetes.io/token", json!({}), json!({"token": "a-service-accounts-token"})),
        (
            "kubernetes.io/basic-auth",
            json!({}),
            json!({"username": "u", "password": "a-service-accounts-token", "domainName": "d"}),
        ),
    ];
    for (number, (of_type, annotations, data)) in table.into_iter().enumerate() {
        let name = format!("typed-{number}");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": of_type, "stringData": data,
            "metadata": {"name": name, "annotations": annotations},
        });
        stage.kubectl_in(&["create", "-f", "-"], &secret.to_string()).unwrap();
        stage.kubectl(&["get", "secret", &name]).unwrap();
        stage
            .apply(
                &Manifest::new(&name, &instances(&stage, 1))
                    .with("credentialsSecretRef", json!({"name": name})),
            )
            .unwrap();
        let message = condition(&stage.wait_reason(&name, "SecretInvalid"), "Ready").2;
        assert!(message.contains("Kubernetes' own types") && message.contains("type Opaque"), "{message}");
        assert!(!message.contains("a-service"), "{message}");
    }
    assert!(stage.cloud.log().is_empty(), "nothing is sent, not even to IAM");
    assert!(!controller.log().contains("a-service-accounts-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i07_a_type_of_secrets_and_the_regions_may_be_demanded() {
    let stage = stage("demanded").await;
    let flags = ["--secret-type", "clouddc.dev/credentials", "--allowed-region", "ap-southeast-3"];
    let _controller = stage.controller(&flags).unwrap();
    stage.apply(&Manifest::new("untyped", &instances(&stage, 1))).unwrap();
    let message = condition(&stage.wait_reason("untyped", "SecretInvalid"), "Ready").2;
    assert!(message.contains("create it anew with the type clouddc.dev/credentials"), "{message}");
    stage.apply(&Manifest::new("elsewhere", &instances(&stage, 1)).with("region", "cn-north-4")).unwrap();
    let message = condition(&stage.wait_reason("elsewhere", "RegionNotAllowed"), "Ready").2;
    assert!(message.contains("may not call region cn-north-4"), "{message}");
    assert!(message.contains("--allowed-region"), "{message}");
    assert!(stage.cloud.log().is_empty());
    stage.kubectl(&["delete", "secret", "clouddc"]).unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "clouddc.dev/credentials",
        "metadata": {"name": "clouddc"}, "stringData": {"token": TOKEN},
    });
    stage.kubectl_in(&["create", "-f", "-"], &secret.to_string()).unwrap();
    assert_succeeded(&stage.wait_finished("untyped"), 1);
}
