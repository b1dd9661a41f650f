//! No command calls an operation of the cloud that changes anything.

use std::collections::BTreeSet;

use clouddc_simulator::{Fault, Operation};
use harness::{Manifest, PROJECT};
use serde_json::json;

use crate::support::{id, idel, ids, planned, set_status, stage, status, summary, with};

#[tokio::test(flavor = "multi_thread")]
async fn every_command_only_reads_the_cloud() {
    let stage = stage("reads-only").await;
    let refusal =
        |operation| Fault::on(operation).reply_error(403, "iMetal.0004", "Insufficient permissions");
    stage.cloud.script(refusal(Operation::DeleteInstances));
    stage.cloud.script(refusal(Operation::ChangeServerPowerState));
    stage.cloud.script(refusal(Operation::Other));
    stage.cloud.add_instances(PROJECT, ids(3));
    assert!(stage.cloud.change_facts(PROJECT, &id(0), |facts| facts.server.rack = "12".into()));

    planned(&stage, "planned", 2);
    let plan = json!({
        "total": 2, "toDelete": 2, "onTheirWay": 0, "terminated": 0, "notFound": 0, "unreadable": 0, "notAsExpected": 0,
        "protected": 0, "instances": [{"id": id(0), "state": "running"}],
    });
    set_status(&stage, "planned", &with(status(1, "Planned", "Planned", ""), json!({"plan": plan})));
    stage.apply(&Manifest::new("ended", &ids(2))).unwrap();
    let rows =
        json!([{"id": id(0), "phase": "Failed", "reason": "Conflict"}, {"id": id(1), "phase": "Terminated"}]);
    let fields = json!({"instances": rows, "summary": summary(2, 0, 1, 1)});
    set_status(&stage, "ended", &with(status(1, "Failed", "Failed", ""), fields));

    let cloud = ["--secret", "clouddc", "--endpoint", stage.cloud.url(), "--allow-insecure-endpoint"];
    let region = ["--region", "ap-southeast-3", "--project", PROJECT];
    let calls: [(Vec<&str>, i32); 11] = [
        ([&["generate", "--rack", "12"][..], &region, &cloud].concat(), 0),
        ([&["plan", "planned", "--racks"][..], &cloud].concat(), 0),
        (vec!["explain", "planned"], 0),
        (vec!["hold", "planned", "--reason", "r"], 0),
        (vec!["release", "planned"], 0),
        (vec!["watch", "planned"], 0),
        (vec!["start", "planned", "--yes"], 0),
        (vec!["watch", "ended"], 1),
        (vec!["report", "ended"], 0),
        (vec!["retry", "ended"], 0),
        (vec!["completion", "bash"], 0),
    ];
    let mut tried = BTreeSet::new();
    for (arguments, code) in calls {
        tried.extend(arguments.first().map(|name| (*name).to_owned()));
        let said = idel(&stage, &arguments);
        assert_eq!(said.code, code, "{arguments:?} {}", said.err);
    }
    let all: BTreeSet<String> = kubectl_idel::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    assert_eq!(tried, all, "a new command is tried here too");

    let log = stage.cloud.log();
    let operations: BTreeSet<String> =
        log.iter().map(|entry| format!("{} {:?}", entry.method, entry.operation)).collect();
    let reads = ["GET ListInstances", "GET ListServers"].map(str::to_owned);
    assert_eq!(operations, BTreeSet::from(reads));
}
