//! Eight hundred machines in three racks, from the cloud's list to the report, with the controller at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clouddc_simulator::EndTime;
use harness::{PROJECT, Stage, until};
use serde_json::{Value, json};

use crate::{
    support::{Said, idel, same, stage},
    terminal::Terminal,
};

const MACHINES: usize = 800;
const RACKS: [&str; 3] = ["12", "13", "14"];

fn machines(stage: &Stage) -> Vec<String> {
    let ids = stage.cloud.ids(PROJECT, MACHINES);
    for (n, id) in ids.iter().enumerate() {
        let rack = RACKS[n % RACKS.len()];
        assert!(stage.cloud.change_facts(PROJECT, id, |facts| {
            facts.server.rack = rack.into();
            facts.server.unit = (n / RACKS.len()).to_string();
            facts.name = format!("rack-{rack}-node-{n}");
            facts.vpc_id = "vpc-1".into();
            facts.tags = BTreeMap::from([("env".to_owned(), "old".to_owned())]);
        }));
    }
    // Machines that stay.
    for id in stage.cloud.ids(PROJECT, 50) {
        assert!(stage.cloud.change_facts(PROJECT, &id, |facts| facts.server.rack = "15".into()));
    }
    ids
}

fn generate(stage: &Stage, rack: &str) -> Said {
    let cloud = ["--secret", "clouddc", "--endpoint", stage.cloud.url(), "--allow-insecure-endpoint"];
    let place = ["generate", "--region", "ap-southeast-3", "--project", PROJECT, "--rack", rack];
    idel(stage, &[&place[..], &cloud].concat())
}

/// A guard that demands all that a guard can demand of a manifest, in the stage's namespace.
fn demanding(stage: &Stage) {
    let guard = json!({
        "apiVersion": "clouddc.dev/v1alpha1", "kind": "DeletionGuard", "metadata": {"name": stage.namespace},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
            "requireExpect": true, "requireDryRun": true, "requireRolloutAbove": 100, "maxInstanceIDs": 500,
        },
    });
    let created = stage.kubectl_in(&["create", "-f", "-"], &guard.to_string()).unwrap();
    assert!(created.status.success(), "{}", created.stderr);
    // The API server learns of it with a delay: until then it takes what the guard refuses.
    let mut bare = harness::Manifest::new("bare", &[crate::support::id(1)]);
    bare = bare.with("dryRun", true);
    until("the guard is in force", || {
        let tried = stage.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &bare.text()).unwrap();
        (!tried.status.success()).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_hundred_machines_in_three_racks_are_retired() {
    let stage = stage("retire").await;
    let ids = machines(&stage);
    demanding(&stage);
    let _controller = stage.controller(&[]).unwrap();
    let picture = std::env::var_os("WATCH_PICTURE");
    let median = Duration::from_secs(if picture.is_some() { 12 } else { 2 });
    let end = EndTime::LogNormal { median, sigma: 0.6 };
    stage.cloud.set_end(end);

    let mut manifests = String::new();
    for rack in RACKS {
        let said = generate(&stage, rack);
        assert_eq!(said.code, 0, "{}", said.err);
        manifests += &format!("---\n{}", said.out);
    }
    let apply = || stage.kubectl_in(&["apply", "-f", "-"], &manifests).unwrap();
    let applied = apply();
    assert!(applied.status.success(), "{}", applied.stderr);
    let names = RACKS.map(|rack| format!("retire-rack-{rack}"));
    for name in &names {
        let said = idel(&stage, &["plan", name]);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains("-node-"), "with names: {}", said.out);
        idel(&stage, &["start", name, "--yes"]).good();
    }
    let mut terminal = Terminal::start(&stage, (8, 110), &["watch", &names[0], &names[1], &names[2]], &[]);
    terminal.wait_for(" left");
    // The picture of the documents is of this run.
    if let Some(file) = picture {
        until("each has a rate", || {
            let lines = terminal.lines();
            let moving = lines.iter().filter(|line| line.contains(" left")).count() == names.len();
            (moving
                && stage
                    .cloud
                    .instances(PROJECT)
                    .iter()
                    .filter(|(_, status)| status.state == "terminated")
                    .count()
                    > MACHINES / 2)
                .then_some(())
        });
        std::fs::write(file, terminal.picture()).unwrap();
    }
    assert_eq!(terminal.wait_end(), 0, "{:#?}", terminal.lines());

    let reports: Value =
        serde_json::from_str(&idel(&stage, &["report", "--all", "-o", "json"]).good()).unwrap();
    let mut reported = BTreeSet::new();
    let calls = stage.calls();
    for row in reports.as_array().unwrap().iter().flat_map(|report| report["instances"].as_array().unwrap()) {
        assert_eq!(row["phase"], "Terminated", "{row}");
        let id = row["id"].as_str().unwrap();
        let call = calls.iter().find(|call| call.applied_ids.iter().any(|applied| applied == id)).unwrap();
        assert_eq!(row["requestID"], json!(call.request_id), "the call that the cloud knows");
        reported.insert(id.to_owned());
    }
    assert_eq!(reported, ids.into_iter().collect(), "these machines and no others");

    // Applied again: the API server refuses to plan what was started, and nothing is sent.
    let again = apply();
    assert!(again.stderr.contains("dryRun: true can only be set at creation"), "{}", again.stderr);
    assert_eq!(stage.calls().len(), calls.len());
    let said = generate(&stage, "12");
    assert_eq!(said.code, 1, "nothing is left: {}", said.out);
    assert!(same(&stage, &said.err).contains("gone already (terminated)"), "{}", said.err);
}
