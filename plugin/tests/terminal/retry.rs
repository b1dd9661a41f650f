//! `retry`: the failed instances again, under a new name.

use harness::Manifest;
use serde_json::json;

use crate::support::{id, idel, ids, same, set_status, stage, status, with};

#[tokio::test(flavor = "multi_thread")]
async fn the_failed_instances_become_a_manifest_with_the_same_spec() {
    let stage = stage("retry").await;
    let mut manifest = Manifest::new("retire", &ids(5))
        .with("expect", json!({"name": "rack-12-*", "tags": {"rack": "12"}}))
        .with("rollout", json!({"maxFailed": 1}))
        .with("notAfter", "2020-01-01T00:00:00Z")
        .with("notFoundPolicy", "Fail")
        .with("activeDeadlineSeconds", 60);
    manifest.value["metadata"]["labels"] = json!({"team": "a", "kustomize.toolkit.fluxcd.io/name": "fleet"});
    stage.apply(&manifest).unwrap();
    let (code, err) = idel(&stage, &["retry", "retire"]).failure();
    let expected = "error: NS/retire has not ended; `kubectl idel watch retire` waits for its end\n";
    assert_eq!((code, same(&stage, &err).as_str()), (1, expected));

    let failed = |n: usize, reason: &str| json!({"id": id(n), "phase": "Failed", "reason": reason});
    let rows = json!([
        {"id": id(0), "phase": "Terminated"}, failed(1, "Conflict"), failed(2, "NotSent"), failed(3, "Protected"),
        failed(4, "NotAsExpected"),
    ]);
    set_status(&stage, "retire", &with(status(1, "Failed", "Failed", ""), json!({"instances": rows})));
    let said = idel(&stage, &["retry", "retire"]);
    let expected = "\
# 2 instances of NS/retire that failed.
apiVersion: clouddc.dev/v1alpha1
kind: InstanceDeletion
metadata:
  name: retire-retry-1
  namespace: NS
  labels:
    team: \"a\"
spec:
  region: ap-southeast-3
  projectID: 0123456789abcdef0123456789abcdef
  credentialsSecretRef:
    name: clouddc
  dryRun: true
  expect:
    name: \"rack-12-*\"
    tags:
      rack: \"12\"
  rollout:
    maxFailed: 1
  notFoundPolicy: Fail
  activeDeadlineSeconds: 60
  instanceIDs:
  - 0198170e-4ca7-7ee4-89a7-000000000001 # Conflict
  - 0198170e-4ca7-7ee4-89a7-000000000002 # NotSent
";
    assert_eq!((said.code, same(&stage, &said.out).as_str()), (0, expected), "{}", said.err);
    let left_out = "\
left out: 1 instance, which failed with Protected and would not be sent again
left out: 1 instance, which failed with NotAsExpected and would not be sent again
left out: notAfter, which has passed; write a later one if there is to be one
";
    assert_eq!(said.err, left_out);
    let created = stage.kubectl_in(&["create", "-f", "-"], &said.out).unwrap();
    assert!(created.status.success(), "{}", created.stderr);
    assert!(idel(&stage, &["retry", "retire"]).out.contains("name: retire-retry-2\n"), "the first free name");
    assert!(idel(&stage, &["retry", "retire", "--new-name", "again"]).out.contains("name: again\n"));

    set_status(&stage, "retire", &json!({"instances": [{"id": id(0), "phase": "Terminated"}]}));
    let (code, err) = idel(&stage, &["retry", "retire"]).failure();
    let expected = "error: no instance of NS/retire failed that could be tried again\n";
    assert_eq!((code, same(&stage, &err).as_str()), (1, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_powered_on_again_is_listed_only_on_request() {
    let stage = stage("retry-veto").await;
    let power_off = json!({"when": "Always", "soakSeconds": 3_600});
    stage.apply(&Manifest::new("retire", &ids(3)).with("powerOff", power_off)).unwrap();
    let failed = |n: usize, reason: &str| json!({"id": id(n), "phase": "Failed", "reason": reason});
    let rows = json!([failed(0, "PoweredOnAgain"), failed(1, "PowerOffFailed"), failed(2, "PoweredOnAgain")]);
    set_status(&stage, "retire", &with(status(1, "Failed", "Failed", ""), json!({"instances": rows})));
    let again = "spec.powerOff is kept: in the new object the soak of each instance begins anew\n";
    let said = idel(&stage, &["retry", "retire"]);
    let listed = "\
  powerOff:
    when: Always
    soakSeconds: 3600
  instanceIDs:
  - 0198170e-4ca7-7ee4-89a7-000000000001 # PowerOffFailed
";
    assert!(said.code == 0 && said.out.ends_with(listed), "{}{}", said.out, said.err);
    let left_out = format!(
        "left out: 2 instances, which failed with PoweredOnAgain and are wanted; --include-powered-on lists such instances, and they are powered off and deleted\n{again}"
    );
    assert_eq!(said.err, left_out);
    let said = idel(&stage, &["retry", "retire", "--include-powered-on"]);
    assert_eq!((said.out.matches(" # PoweredOnAgain\n").count(), said.err.as_str()), (2, again));

    set_status(&stage, "retire", &json!({"instances": [failed(0, "PoweredOnAgain")]}));
    let (code, err) = idel(&stage, &["retry", "retire"]).failure();
    let expected = "error: no instance of NS/retire failed that could be tried again\n";
    assert!(code == 1 && same(&stage, &err).ends_with(expected), "{err}");
}
