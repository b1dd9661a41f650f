//! The account's schedule: instances that shut down are read for all objects together.

use std::collections::HashSet;

use clouddc_simulator::{EndTime, Entry, Operation, Options};
use harness::{Manifest, PROJECT, Stage, until};

use crate::support::{assert_succeeded, each_once, instances, stage_with};

async fn slow_stage(name: &str) -> Stage {
    stage_with(name, Options { end: EndTime::Never, ..Options::default() }).await
}

/// Reads that the cloud has answered after the last delete call.
fn reads_after(stage: &Stage) -> Vec<Entry> {
    let deleted = stage.calls().iter().filter_map(|call| call.finished_ms).max().unwrap_or_default();
    let reads = stage.cloud.calls(Operation::ListInstances);
    reads.into_iter().filter(|read| read.received_ms > deleted).collect()
}

fn accepted(stage: &Stage, names: &[String]) -> bool {
    let whole = |name: &String| stage.get(name)["status"]["summary"]["accepted"] == 10;
    names.iter().all(whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_instances_of_ten_objects_are_looked_at_in_one_call() {
    let stage = slow_stage("shares").await;
    let _controller = stage.controller(&[]).unwrap();
    let ids = instances(&stage, 100);
    let names: Vec<String> = (0..10).map(|n| format!("retire-{n}")).collect();
    for (name, ids) in names.iter().zip(ids.chunks(10)) {
        stage.apply(&Manifest::new(name, ids)).unwrap();
    }
    until("all are accepted", || accepted(&stage, &names).then_some(()));
    let all: HashSet<&String> = ids.iter().collect();
    let whole = |read: &Entry| read.ids.iter().collect::<HashSet<_>>() == all;
    until("three looks at all of them", || {
        (reads_after(&stage).iter().filter(|r| whole(r)).count() >= 3).then_some(())
    });
    for id in &ids {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    for name in &names {
        assert_succeeded(&stage.wait_finished(name), 10);
    }
    each_once(&stage.calls(), &ids);
}
