//! `explain`: why an object waits.

use harness::Manifest;
use serde_json::{Value, json};

use crate::support::{THEN, id, idel, ids, same, set_status, stage, status, summary, with};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_no_controller_has_seen_says_what_to_check() {
    let stage = stage("explain-new").await;
    stage.apply(&Manifest::new("retire", &ids(2))).unwrap();
    let said = "\
NS/retire: Pending, 2 instances listed
  why        the controller has not looked at the object yet
  to do      check that the controller runs, and that its --namespace and --selector cover the object
  goes on    when the controller looks at it
";
    assert_eq!(same(&stage, &idel(&stage, &["explain", "retire"]).good()), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soak_says_which_instances_are_off_until_when_and_which_were_powered_on_again() {
    let stage = stage("explain-soak").await;
    let power_off = json!({"when": "Always", "soakSeconds": 259_200});
    stage.apply(&Manifest::new("retire", &ids(11)).with("powerOff", power_off)).unwrap();
    let off = |n: usize, since: &str| json!({"id": id(n), "phase": "PoweredOff", "batch": 1, "powerOffs": 1, "poweredOffAt": since});
    let failed = |n: usize, reason: &str| json!({"id": id(n), "phase": "Failed", "batch": 1, "powerOffs": 1, "reason": reason, "endedAt": THEN});
    let rows = json!([
        off(0, "2020-01-02T03:04:06Z"), off(1, THEN), off(2, THEN), off(3, THEN), off(4, THEN), off(5, THEN),
        off(6, "2020-01-02T03:04:07Z"), {"id": id(7), "phase": "PoweringOff", "batch": 2},
        failed(8, "PoweredOnAgain"), failed(9, "PoweredOnAgain"), failed(10, "PowerOffFailed"),
    ]);
    let batches = json!([
        {"number": 1, "kind": "PowerOff", "size": 10, "returned": 10, "claim": "c", "submittedAt": THEN, "requestID": "req-1"},
        {"number": 2, "kind": "PowerOff", "size": 1, "claim": "c", "submittedAt": THEN},
    ]);
    let failures =
        json!([{"reason": "PoweredOnAgain", "count": 2}, {"reason": "PowerOffFailed", "count": 1}]);
    let counts = json!({
        "total": 11, "pending": 0, "poweringOff": 1, "poweredOff": 7, "submitted": 0, "accepted": 0, "terminated": 0,
        "notFound": 0, "failed": 3,
    });
    let fields = json!({
        "summary": counts, "instances": rows, "batches": batches, "failures": failures,
        "nextActionTime": "2020-01-05T03:04:05Z",
    });
    set_status(&stage, "retire", &with(status(1, "Soaking", "Soaking", "7 powered off"), fields));
    let said = "\
NS/retire: Soaking, 0/11 gone, 0 on their way, 1 being powered off, 7 off, 0 not sent, 3 failed
  why        Soaking: 7 powered off
  to do      nothing to do: status.nextActionTime says when the next one is due; power an instance on to keep it
  goes on    by itself at 2020-01-05T03:04:05Z
  off        0198170e-4ca7-7ee4-89a7-000000000001 since 2020-01-02T03:04:05Z, to be deleted from 2020-01-05T03:04:05Z on if it still is off
             0198170e-4ca7-7ee4-89a7-000000000002 since 2020-01-02T03:04:05Z, to be deleted from 2020-01-05T03:04:05Z on if it still is off
             0198170e-4ca7-7ee4-89a7-000000000003 since 2020-01-02T03:04:05Z, to be deleted from 2020-01-05T03:04:05Z on if it still is off
             0198170e-4ca7-7ee4-89a7-000000000004 since 2020-01-02T03:04:05Z, to be deleted from 2020-01-05T03:04:05Z on if it still is off
             0198170e-4ca7-7ee4-89a7-000000000005 since 2020-01-02T03:04:05Z, to be deleted from 2020-01-05T03:04:05Z on if it still is off
             and 2 more, the last of them from 2020-01-05T03:04:07Z on
  calls      call 2 at 2020-01-02T03:04:05Z: power off 1 id, outcome not recorded, 1 not seen off yet; request id unknown
             call 1 at 2020-01-02T03:04:05Z: power off 10 ids, 10 accepted, 0 not seen off yet; request id req-1
  failures   2 instances PoweredOnAgain: somebody powered them on again, so this object does not delete them; to delete them all the same, list them in a new object: 0198170e-4ca7-7ee4-89a7-000000000008 (seen 2020-01-02T03:04:05Z), 0198170e-4ca7-7ee4-89a7-000000000009 (seen 2020-01-02T03:04:05Z)
             1 instance PowerOffFailed: they still ran after every attempt; power them off at the cloud's console, then `kubectl idel retry`: 0198170e-4ca7-7ee4-89a7-00000000000a (seen 2020-01-02T03:04:05Z)
";
    assert_eq!(idel(&stage, &["explain", "retire"]).good().replace(&stage.namespace, "NS"), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_holds_an_object_is_named_with_its_writer() {
    let stage = stage("explain-held").await;
    stage.apply(&Manifest::new("retire", &ids(3)).with("suspend", true)).unwrap();
    let rows = json!([
        {"id": id(0), "phase": "Terminated", "batch": 1, "endedAt": THEN},
        {"id": id(1), "phase": "Accepted", "batch": 1},
    ]);
    let batches = json!([
        {"number": 1, "size": 2, "returned": 2, "claim": "c", "submittedAt": THEN, "requestID": "req-1"},
    ]);
    let failures = json!([{"reason": "Conflict", "code": "iMetal.0201", "message": "no", "count": 1}]);
    let fields = json!({
        "summary": summary(4, 1, 1, 1), "instances": rows, "batches": batches, "failures": failures, "nextActionTime": THEN,
    });
    let message = "guard production holds it: change freeze";
    set_status(&stage, "retire", &with(status(1, "Suspended", "Held", message), fields));
    assert_eq!(idel(&stage, &["hold", "retire", "--reason", "power \"works\""]).code, 0);
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "retire.1", "namespace": stage.namespace},
        "involvedObject": {
            "apiVersion": "clouddc.dev/v1alpha1", "kind": "InstanceDeletion", "name": "retire",
            "namespace": stage.namespace, "uid": stage.get("retire")["metadata"]["uid"],
        },
        "reason": "Held", "message": message, "type": "Normal", "lastTimestamp": THEN, "firstTimestamp": THEN,
    });
    let created = stage.kubectl_in(&["create", "-f", "-"], &event.to_string()).unwrap();
    assert!(created.status.success(), "{}", created.stderr);

    let said = "\
NS/retire: Suspended, 1/4 gone, 1 on their way, 1 not sent, 1 failed
  why        Held: guard production holds it: change freeze
  to do      nothing to do: it goes on when the guard's hold is removed
  goes on    by itself at 2020-01-02T03:04:05Z
  held by    the annotation clouddc.dev/hold: \"power \\\"works\\\"\", written by idel-hold at TIME
             spec.suspend: true, written by kubectl-client-side-apply at TIME
             a DeletionGuard: guard production holds it: change freeze
  calls      call 1 at 2020-01-02T03:04:05Z: 2 ids, 2 accepted, 1 on their way; request id req-1
  failures   1 instance Conflict: iMetal.0201 no
  events     2020-01-02T03:04:05Z Normal Held: guard production holds it: change freeze
";
    assert_eq!(same(&stage, &idel(&stage, &["explain", "retire"]).good()), said);

    let json: Value =
        serde_json::from_str(&idel(&stage, &["explain", "retire", "-o", "json"]).good()).unwrap();
    assert_eq!((&json["phase"], &json["reason"]), (&json!("Suspended"), &json!("Held")));
    assert_eq!(json["heldBy"].as_array().unwrap().len(), 3);
}
