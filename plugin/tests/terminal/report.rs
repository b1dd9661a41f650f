//! `report`: what an auditor asks for.

use harness::{Manifest, Stage};
use serde_json::{Value, json};

use crate::support::{THEN, id, idel, ids, same, set_status, stage, status, summary, with};

/// An object of four ids: deleted, refused, unknown, and never sent.
async fn ended(name: &str) -> Stage {
    let stage = stage(name).await;
    stage.apply(&Manifest::new("retire", &ids(4))).unwrap();
    let rows = json!([
        {"id": id(0), "phase": "Terminated", "batch": 1, "endedAt": THEN},
        {"id": id(1), "phase": "Failed", "batch": 2, "reason": "Conflict", "endedAt": THEN},
        {"id": id(2), "phase": "NotFound", "endedAt": THEN},
    ]);
    let batches = json!([
        {"number": 1, "size": 2, "returned": 1, "claim": "c", "submittedAt": THEN, "requestID": "req-1"},
        {"number": 2, "size": 1, "noEffect": true, "claim": "c", "submittedAt": THEN},
    ]);
    let fields = json!({
        "startTime": THEN, "completionTime": THEN, "summary": summary(4, 0, 2, 1), "instances": rows, "batches": batches,
    });
    set_status(&stage, "retire", &with(status(1, "Failed", "Failed", "1 of 4 failed"), fields));
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_a_row_for_each_instance_in_every_form() {
    let stage = ended("report").await;
    let table = "\
NS/retire: Failed, started 2020-01-02T03:04:05Z, ended 2020-01-02T03:04:05Z; region ap-southeast-3, project 0123456789abcdef0123456789abcdef, object UID
INSTANCE                               PHASE        BATCH   REQUEST ID   SENT                   ENDED                  REASON
0198170e-4ca7-7ee4-89a7-000000000000   Terminated   1       req-1        2020-01-02T03:04:05Z   2020-01-02T03:04:05Z
0198170e-4ca7-7ee4-89a7-000000000001   Failed       2                    2020-01-02T03:04:05Z   2020-01-02T03:04:05Z   Conflict
0198170e-4ca7-7ee4-89a7-000000000002   NotFound                                                 2020-01-02T03:04:05Z
0198170e-4ca7-7ee4-89a7-000000000003   Pending
";
    assert_eq!(same(&stage, &idel(&stage, &["report", "retire"]).good()), table);

    let csv = "\
namespace,name,region,projectID,instance,phase,batch,requestID,sent,ended,reason,call,poweredOffAt,powerOffs
NS,retire,ap-southeast-3,0123456789abcdef0123456789abcdef,0198170e-4ca7-7ee4-89a7-000000000000,Terminated,1,req-1,2020-01-02T03:04:05Z,2020-01-02T03:04:05Z,,Delete,,
NS,retire,ap-southeast-3,0123456789abcdef0123456789abcdef,0198170e-4ca7-7ee4-89a7-000000000001,Failed,2,,2020-01-02T03:04:05Z,2020-01-02T03:04:05Z,Conflict,Delete,,
NS,retire,ap-southeast-3,0123456789abcdef0123456789abcdef,0198170e-4ca7-7ee4-89a7-000000000002,NotFound,,,,2020-01-02T03:04:05Z,,,,
NS,retire,ap-southeast-3,0123456789abcdef0123456789abcdef,0198170e-4ca7-7ee4-89a7-000000000003,Pending,,,,,,,,
";
    assert_eq!(same(&stage, &idel(&stage, &["report", "--all", "-o", "csv"]).good()), csv);

    let markdown = "\
## NS/retire

NS/retire: Failed, started 2020-01-02T03:04:05Z, ended 2020-01-02T03:04:05Z; region ap-southeast-3, project 0123456789abcdef0123456789abcdef, object UID.

| INSTANCE | PHASE | BATCH | REQUEST ID | SENT | ENDED | REASON |
|---|---|---|---|---|---|---|
| 0198170e-4ca7-7ee4-89a7-000000000000 | Terminated | 1 | req-1 | 2020-01-02T03:04:05Z | 2020-01-02T03:04:05Z |  |
| 0198170e-4ca7-7ee4-89a7-000000000001 | Failed | 2 |  | 2020-01-02T03:04:05Z | 2020-01-02T03:04:05Z | Conflict |
| 0198170e-4ca7-7ee4-89a7-000000000002 | NotFound |  |  |  | 2020-01-02T03:04:05Z |  |
| 0198170e-4ca7-7ee4-89a7-000000000003 | Pending |  |  |  |  |  |
";
    assert_eq!(same(&stage, &idel(&stage, &["report", "retire", "-o", "markdown"]).good()), markdown);

    let json: Value =
        serde_json::from_str(&idel(&stage, &["report", "retire", "-o", "json"]).good()).unwrap();
    let object = stage.get("retire");
    let expected = json!([{
        "namespace": stage.namespace, "name": "retire", "uid": object["metadata"]["uid"],
        "region": "ap-southeast-3", "projectID": harness::PROJECT,
        "phase": "Failed", "startTime": THEN, "completionTime": THEN,
        "instances": [
            row(json!({"id": id(0), "phase": "Terminated", "batch": 1, "requestID": "req-1", "sent": THEN, "call": "Delete"})),
            row(json!({"id": id(1), "phase": "Failed", "batch": 2, "sent": THEN, "reason": "Conflict", "call": "Delete"})),
            row(json!({"id": id(2), "phase": "NotFound"})),
            with(row(json!({"id": id(3), "phase": "Pending"})), json!({"ended": null})),
        ],
    }]);
    assert_eq!(json, expected);
}

/// A row of a report in JSON that has ended, with these fields; the others are null.
fn row(fields: Value) -> Value {
    let nothing = json!({
        "batch": null, "requestID": null, "sent": null, "ended": THEN, "reason": null, "call": null, "poweredOffAt": null,
        "powerOffs": null,
    });
    with(nothing, fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_powered_off_and_is_not_gone_has_its_columns() {
    let stage = stage("report-off").await;
    stage.apply(&Manifest::new("retire", &ids(3)).with("powerOff", json!({"when": "Always"}))).unwrap();
    let rows = json!([
        {"id": id(0), "phase": "PoweredOff", "batch": 1, "powerOffs": 1, "poweredOffAt": THEN},
        {"id": id(1), "phase": "Failed", "batch": 1, "powerOffs": 6, "reason": "PowerOffFailed", "endedAt": THEN},
        {"id": id(2), "phase": "Pending"},
    ]);
    let batches = json!([
        {"number": 1, "kind": "PowerOff", "size": 2, "returned": 2, "claim": "c", "submittedAt": THEN, "requestID": "req-1"},
    ]);
    let fields = json!({"instances": rows, "batches": batches});
    set_status(&stage, "retire", &with(status(1, "Deleting", "Deleting", ""), fields));
    let table = "\
INSTANCE                               PHASE        BATCH   REQUEST ID   SENT                   ENDED                  REASON           CALL       OFF SINCE              POWER-OFFS
0198170e-4ca7-7ee4-89a7-000000000000   PoweredOff   1       req-1        2020-01-02T03:04:05Z                                           PowerOff   2020-01-02T03:04:05Z   1
0198170e-4ca7-7ee4-89a7-000000000001   Failed       1       req-1        2020-01-02T03:04:05Z   2020-01-02T03:04:05Z   PowerOffFailed   PowerOff                          6
0198170e-4ca7-7ee4-89a7-000000000002   Pending
";
    let said = idel(&stage, &["report", "retire"]).good();
    assert_eq!(said.split_once('\n').unwrap().1, table);
    let csv = idel(&stage, &["report", "retire", "-o", "csv"]).good();
    assert!(csv.contains(",PowerOff,2020-01-02T03:04:05Z,1\n"), "{csv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_many_objects_reads_them_page_by_page() {
    let stage = stage("report-many").await;
    for n in 0..23 {
        stage.apply(&Manifest::new(&format!("retire-{n:02}"), &[id(n)])).unwrap();
    }
    let csv = idel(&stage, &["report", "--all", "-o", "csv"]).good();
    assert_eq!(csv.lines().count(), 24);
    assert!((0..23).all(|n| csv.contains(&id(n))));
    stage.kubectl(&["label", "idel", "retire-07", "retire-08", "rack=12"]).unwrap();
    assert_eq!(idel(&stage, &["report", "-l", "rack=12", "-o", "csv"]).good().lines().count(), 3);
}
