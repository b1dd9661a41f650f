//! Looks of several objects share reads: how many reads they cost, and which object learns what from them.

use std::collections::HashSet;

use clouddc_simulator::{Entry, Operation, Projects};
use harness::{Manifest, PROJECT, Stage, until};
use serde_json::{Value, json};

use crate::support::{assert_succeeded, instances, stage};

/// Applies all objects, not too many with one call of kubectl: it has a deadline.
fn create(stage: &Stage, objects: &[Value]) {
    for some in objects.chunks(200) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": some}).to_string();
        let output = stage.kubectl_in(&["create", "-f", "-"], &list).unwrap();
        assert!(output.status.success(), "{}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_look_at_1000_objects_of_one_id_is_made_in_bulk() {
    const OBJECTS: usize = 1000;
    let stage = stage("look1000").await;
    let ids = instances(&stage, OBJECTS);
    // Objects that need one look only: all reads are those of the first look.
    let object = |(n, id): (usize, &String)| {
        Manifest::new(&format!("plan-{n}"), std::slice::from_ref(id)).with("dryRun", true).value
    };
    create(&stage, &ids.iter().enumerate().map(object).collect::<Vec<_>>());
    let _controller = stage.controller(&[]).unwrap();
    let phases = "jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}";
    until("all are planned", || {
        let phases = stage.kubectl(&["get", "idel", "-o", phases]).ok()?;
        (phases.lines().filter(|phase| *phase == "Planned").count() == OBJECTS).then_some(())
    });
    let log = stage.cloud.log();
    assert!(log.iter().all(|e| e.operation == Operation::ListInstances && e.ids.len() <= 100));
    assert!(log.iter().all(|e| e.path.contains("limit=1000")), "the limit is always stated");
    let read: Vec<_> = log.iter().flat_map(|e| e.ids.clone()).collect();
    assert_eq!(read.len(), OBJECTS, "each id is read once");
    assert_eq!(read.into_iter().collect::<HashSet<_>>(), ids.into_iter().collect());
    println!("figure: reads of the first look at {OBJECTS} objects of one id: {}", log.len());
    // A read with fewer than 100 ids has waited a second for more: each read beyond ten takes a second.
    let seconds = (log[log.len() - 1].received_ms - log[0].received_ms).div_ceil(1000);
    assert!(log.len() <= 10 + 1 + usize::try_from(seconds).unwrap(), "{} in {seconds} s", log.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_objects_of_different_secrets_share_no_credentials_and_no_answers() {
    let stage = stage("apart").await;
    stage.cloud.add_token("second", "second-token", Projects::All);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "second"}, "stringData": {"token": "second-token"},
    });
    create(&stage, &[secret]);
    let (own, shared) = (instances(&stage, 30), instances(&stage, 30));
    let first = Manifest::new("first", &[&own[..15], &shared[..]].concat());
    let second = Manifest::new("second", &[&own[15..], &shared[..]].concat());
    let second = second.with("credentialsSecretRef", json!({"name": "second"}));
    let _controller = stage.controller(&[]).unwrap();
    create(&stage, &[first.value, second.value]);
    for name in ["first", "second"] {
        assert_succeeded(&stage.wait_finished(name), 45);
    }
    let log = stage.cloud.log();
    let by = |label: &str, id: &String| {
        let reads = |e: &&Entry| e.operation == Operation::ListInstances && e.ids.contains(id);
        log.iter().filter(reads).any(|e| e.token.as_deref() == Some(label))
    };
    for (n, id) in own.iter().enumerate() {
        assert_eq!((by("user", id), by("second", id)), (n < 15, n >= 15), "read for its own object alone");
    }
    for id in &shared {
        assert!(by("user", id) && by("second", id), "{id} is read for each object by its own Secret");
        assert_eq!(stage.cloud.state(PROJECT, id).unwrap(), "terminated");
    }
    crate::support::each_once(&stage.calls(), &[own, shared].concat());
}
