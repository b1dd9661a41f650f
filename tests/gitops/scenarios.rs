//! What Flux makes of a deletion.

use std::time::Duration;

use clouddc_simulator::{EndTime, Options};
use harness::{PROJECT, Stage, condition};
use serde_json::json;

use crate::{
    flux::Flux,
    repository::{MANIFEST, NAME, Repository},
};

const AFTER: &str = "after-rack-12";

/// Instances end soon after their deletion.
pub fn options() -> Options {
    Options { end: EndTime::Fixed(Duration::from_millis(500)), ..Options::default() }
}

fn sizes(stage: &Stage) -> Vec<usize> {
    stage.calls().iter().map(|call| call.ids.len()).collect()
}

fn follows(stage: &Stage) -> bool {
    !stage
        .kubectl(&["get", "configmaps", "-o", "name", "--field-selector", "metadata.name=after-rack-12"])
        .unwrap()
        .is_empty()
}

/// The commit that starts all of it.
fn start_all(repository: &mut Repository<'_>) {
    repository.edit(MANIFEST, "dryRun: true", "dryRun: false");
    repository.edit(MANIFEST, "    limit: 5\n", "");
}

/// A plan, a canary of five, the rest, and then what depends on it.
pub fn plan_canary_rest(flux: &Flux) {
    let stage = flux.stage("flux-waits", options());
    let ids = stage.cloud.ids(PROJECT, 20);
    let _controller = stage.controller(&[]).unwrap();
    let mut repository = Repository::of(flux, &stage, &ids);
    repository.commit();
    stage.wait_reason(NAME, "Planned");
    repository.wait_reason(NAME, "HealthCheckFailed");
    repository.wait_reason(AFTER, "DependencyNotReady");
    assert!(stage.calls().is_empty(), "a plan sends nothing");

    repository.edit(MANIFEST, "dryRun: true", "dryRun: false");
    repository.commit();
    stage.wait_reason(NAME, "LimitReached");
    repository.three_intervals();
    assert_eq!(sizes(&stage), [5]);
    assert_ne!(condition(&repository.kustomization(NAME), "Ready").0, "True");
    assert!(!follows(&stage), "15 instances are there");

    repository.edit(MANIFEST, "    limit: 5\n", "");
    repository.commit();
    stage.wait_finished(NAME);
    repository.wait_reason(NAME, "ReconciliationSucceeded");
    repository.wait_reason(AFTER, "ReconciliationSucceeded");
    assert!(follows(&stage));
    assert_eq!(sizes(&stage), [5, 15]);
}

/// A hold that a person adds stays, as does `suspend`, and a finished object is written no more.
pub fn hold_and_drift(flux: &Flux) {
    let stage = flux.stage("flux-hold", options());
    let ids = stage.cloud.ids(PROJECT, 6);
    let _controller = stage.controller(&[]).unwrap();
    let mut repository = Repository::of(flux, &stage, &ids);
    repository.commit();
    stage.wait_reason(NAME, "Planned");
    stage.kubectl(&["annotate", "idel", NAME, "clouddc.dev/hold=look at 4711 first"]).unwrap();
    stage.patch(NAME, &json!({"suspend": true})).unwrap();
    start_all(&mut repository);
    repository.commit();
    repository.three_intervals();
    let object = stage.get(NAME);
    assert_eq!(object["metadata"]["annotations"]["clouddc.dev/hold"], "look at 4711 first");
    assert_eq!((&object["spec"]["suspend"], &object["spec"]["dryRun"]), (&json!(true), &json!(false)));
    assert!(stage.calls().is_empty());

    stage.kubectl(&["annotate", "idel", NAME, "clouddc.dev/hold-"]).unwrap();
    stage.patch(NAME, &json!({"suspend": null})).unwrap();
    stage.wait_finished(NAME);
    repository.wait_reason(NAME, "ReconciliationSucceeded");
    let version = |stage: &Stage| stage.get(NAME)["metadata"]["resourceVersion"].clone();
    let before = version(&stage);
    repository.three_intervals();
    assert_eq!(version(&stage), before, "what git says is what the cluster has");
    assert_eq!(sizes(&stage), [6]);
}

/// A manifest that leaves git takes its object along, and the rest of the instances stay.
pub fn pruned(flux: &Flux) {
    let stage = flux.stage("flux-prune", options());
    let ids = stage.cloud.ids(PROJECT, 20);
    let _controller = stage.controller(&[]).unwrap();
    let mut repository = Repository::of(flux, &stage, &ids);
    repository.edit(MANIFEST, "dryRun: true", "dryRun: false");
    repository.commit();
    stage.wait_reason(NAME, "LimitReached");
    repository.remove_manifest();
    repository.commit();
    repository.wait_reason(NAME, "ReconciliationSucceeded");
    assert!(stage.get(NAME).is_null(), "its object is gone");
    repository.three_intervals();
    assert_eq!(sizes(&stage), [5]);
    assert_eq!(stage.cloud.state(PROJECT, &ids[19]).as_deref(), Some("running"));
}

/// A deletion that has failed fails its Kustomization at once, and nothing follows.
pub fn failed(flux: &Flux) {
    let stage = flux.stage("flux-failed", Options { running_deletable: false, ..options() });
    let ids = stage.cloud.ids(PROJECT, 3);
    let _controller = stage.controller(&[]).unwrap();
    let mut repository = Repository::of(flux, &stage, &ids);
    start_all(&mut repository);
    repository.edit(MANIFEST, "  dryRun: false", "  backoffLimitPerInstance: 0\n  dryRun: false");
    repository.commit();
    assert_eq!(condition(&stage.wait_finished(NAME), "Ready").1, "Failed");
    let message = repository.wait_reason(NAME, "HealthCheckFailed");
    let failed = format!("InstanceDeletion/{}/{NAME} status: 'Failed'", stage.namespace);
    let until_failed =
        |kustomization: &serde_json::Value| condition(kustomization, "Ready").2.contains(&failed);
    if !message.contains(&failed) {
        // The wait before the end has timed out.
        repository.wait(NAME, "it names what has failed", until_failed);
    }
    repository.wait_reason(AFTER, "DependencyNotReady");
    assert!(!follows(&stage));
}

/// A commit that lists other ids is refused, and neither replaces nor removes the object.
pub fn refused_change(flux: &Flux) {
    let stage = flux.stage("flux-refused", options());
    let ids = stage.cloud.ids(PROJECT, 4);
    let _controller = stage.controller(&[]).unwrap();
    let mut repository = Repository::of(flux, &stage, &ids[..3]);
    repository.commit();
    stage.wait_reason(NAME, "Planned");
    let uid = stage.get(NAME)["metadata"]["uid"].clone();
    repository.list(&ids);
    start_all(&mut repository);
    repository.commit();
    let refused = repository.wait(NAME, "the change is refused", |kustomization| {
        condition(kustomization, "Ready").2.contains("instanceIDs is immutable")
    });
    assert_eq!(condition(&refused, "Ready").0, "False");
    repository.three_intervals();
    let object = stage.get(NAME);
    assert_eq!((&object["metadata"]["uid"], &object["spec"]["dryRun"]), (&uid, &json!(true)));
    assert!(stage.calls().is_empty());
}
