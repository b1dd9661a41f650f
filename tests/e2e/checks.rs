//! What may be sent, and when: `spec.expect`, guards, `spec.rollout`, and plans with names.

use std::time::Duration;

use clouddc_simulator::{EndTime, Operation, Options};
use harness::{Manifest, PROJECT, Stage, condition, until};
use serde_json::{Value, json};

use crate::support::{
    assert_succeeded, binary, each_once, instances, options, phase_of, sizes, stage, stage_with,
};

/// A guard for the namespace of a stage. It goes with the test.
pub struct Guard<'a> {
    stage: &'a Stage,
    pub name: String,
}

impl<'a> Guard<'a> {
    /// One that says this.
    pub fn new(stage: &'a Stage, name: &str, says: &Value) -> Self {
        let guard = Self { stage, name: format!("{name}-{}", stage.namespace) };
        guard.set(says);
        guard
    }

    /// Has it say this instead.
    pub fn set(&self, says: &Value) {
        let labels = json!({"kubernetes.io/metadata.name": self.stage.namespace});
        let mut spec = json!({"namespaceSelector": {"matchLabels": labels}});
        spec.as_object_mut().unwrap().extend(says.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "clouddc.dev/v1alpha1", "kind": "DeletionGuard",
            "metadata": {"name": self.name}, "spec": spec,
        });
        let output = self.stage.kubectl_in(&["replace", "--force", "-f", "-"], &object.to_string()).unwrap();
        assert!(output.status.success(), "{}", output.stderr);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = self.stage.control_plane.kubectl(&["delete", "deletionguard", &self.name]).run();
    }
}

fn christen(stage: &Stage, id: &str, name: &str) {
    assert!(stage.cloud.change_facts(PROJECT, id, |facts| name.clone_into(&mut facts.name)));
}

fn christen_all(stage: &Stage, ids: &[String]) {
    for (n, id) in ids.iter().enumerate() {
        christen(stage, id, &format!("rack-12-{n}"));
    }
}

fn row<'a>(object: &'a Value, id: &str) -> &'a Value {
    let rows = object["status"]["instances"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == id).unwrap()
}

fn expecting(ids: &[String]) -> Manifest {
    Manifest::new("retire", ids).with("expect", json!({"name": "rack-12-*"}))
}

/// Suspends and resumes an object: what was read before allows no call any more.
fn close_and_open(stage: &Stage) {
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.wait_reason("retire", "Suspended");
    stage.patch("retire", &json!({"suspend": false})).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_one_wrong_instance_means_that_nothing_is_sent() {
    let stage = stage("expect").await;
    let ids = instances(&stage, 120);
    christen_all(&stage, &ids);
    christen(&stage, &ids[110], "db-7");
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&expecting(&ids)).unwrap();
    let object = stage.wait_finished("retire");
    let (_, reason, message) = condition(&object, "Ready");
    assert_eq!((reason.as_str(), stage.calls().len()), ("NotAsExpected", 0));
    let wrong = &ids[110];
    assert!(message.contains(&format!("{wrong} (its name is db-7, expected rack-12-*)")), "{message}");
    assert_eq!(row(&object, wrong)["reason"], "NotAsExpected");
    assert_eq!(row(&object, &ids[0])["reason"], "NotSent");
    assert_eq!(object["status"]["summary"]["failed"], 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn e3_an_instance_that_stops_matching_after_the_first_call_ends_alone() {
    let stage = stage("expect-later").await;
    let ids = instances(&stage, 60);
    christen_all(&stage, &ids);
    stage.cloud.set_end(EndTime::Never);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&expecting(&ids).with("rollout", json!({"maxInFlight": 50}))).unwrap();
    until("the first call", || (stage.calls().len() == 1).then_some(()));
    christen(&stage, &ids[55], "db-7");
    close_and_open(&stage);
    for id in &ids {
        if stage.cloud.state(PROJECT, id).as_deref() == Some("shutting-down") {
            stage.cloud.set_state(PROJECT, id, "terminated");
        }
    }
    stage.cloud.set_end(EndTime::Fixed(crate::support::END));
    let object = stage.wait_finished("retire");
    assert_eq!(sizes(&stage.calls()), [50, 9]);
    assert_eq!(row(&object, &ids[55])["reason"], "NotAsExpected");
    assert_eq!(condition(&object, "Ready").1, "Failed");
    assert_eq!(object["status"]["summary"]["terminated"], 59);
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_facts_that_no_read_told_are_waited_for() {
    let stage = stage("facts").await;
    let ids = instances(&stage, 3);
    christen_all(&stage, &ids);
    let hide = |left_out: bool| {
        stage.cloud.change_facts(PROJECT, &ids[1], |facts| {
            facts.left_out = left_out.then(|| "name".to_owned()).into_iter().collect();
        })
    };
    assert!(hide(true));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&expecting(&ids)).unwrap();
    let object = stage.wait_reason("retire", "FactsUnknown");
    let message = condition(&object, "Ready").2;
    assert!(message.contains(&format!("the name of {}", ids[1])), "{message}");
    assert!(message.contains("grant the user of these credentials clouddc:instance:list"), "{message}");
    assert!(stage.calls().is_empty());
    assert!(hide(false));
    close_and_open(&stage);
    assert_succeeded(&stage.wait_finished("retire"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn g3_g4_what_is_protected_after_the_admission_is_not_sent_and_has_failed() {
    let stage = stage("protected").await;
    let ids = instances(&stage, 7);
    christen_all(&stage, &ids);
    stage.cloud.set_end(EndTime::Never);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("rollout", json!({"maxInFlight": 1}))).unwrap();
    until("the first call", || (stage.calls().len() == 1).then_some(()));
    // While the others wait: one is protected, one gets a protected name, and one a protected tag.
    christen(&stage, &ids[3], "eu-db-3");
    let tagged = stage.cloud.change_facts(PROJECT, &ids[4], |facts| {
        facts.tags.insert("keep".to_owned(), "true".to_owned());
    });
    assert!(tagged);
    let guard = Guard::new(
        &stage,
        "db",
        &json!({"protected": {
            "instances": [{"id": ids[2], "reason": "billing"}],
            "names": ["*-db-*"],
            "tags": {"keep": "true"},
        }}),
    );
    stage.cloud.set_end(EndTime::Fixed(crate::support::END));
    stage.cloud.set_state(PROJECT, &ids[0], "terminated");
    let object = stage.wait_finished("retire");
    for id in &ids[2..5] {
        assert_eq!((phase_of(&object, id), &row(&object, id)["reason"]), ("Failed", &json!("Protected")));
    }
    let sent: Vec<String> = [&ids[..2], &ids[5..]].concat();
    each_once(&stage.calls(), &sent);
    let failure = &object["status"]["failures"][0];
    assert_eq!((&failure["reason"], &failure["count"]), (&json!("Protected"), &json!(3)));
    let said = failure["message"].as_str().unwrap();
    assert!(said.starts_with(&format!("guard {}: ", guard.name)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g3_a_guard_that_became_stricter_stops_an_object_and_lets_it_go_on() {
    let stage = stage("stricter").await;
    let ids = instances(&stage, 4);
    stage.cloud.set_end(EndTime::Never);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("rollout", json!({"maxInFlight": 2}))).unwrap();
    until("the first call", || (stage.calls().len() == 1).then_some(()));
    let guard = Guard::new(&stage, "small", &json!({"maxInstanceIDs": 3}));
    let object = stage.wait_reason("retire", "GuardRefused");
    let message = condition(&object, "Ready").2;
    let expected = format!("DeletionGuard {} does not admit the object: it lists 4 instances", guard.name);
    assert!(message.contains(&expected), "{message}");
    guard.set(&json!({"hold": {"reason": "until Monday"}}));
    let object = stage.wait_reason("retire", "Held");
    let message = condition(&object, "Ready").2;
    assert!(
        message.ends_with(&format!("while DeletionGuard {} holds: until Monday", guard.name)),
        "{message}"
    );
    assert_eq!(object["status"]["phase"], "Suspended");
    drop(guard);
    stage.cloud.set_end(EndTime::Fixed(crate::support::END));
    for id in &ids[..2] {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    assert_succeeded(&stage.wait_finished("retire"), 4);
}

/// Changes what all objects share, so it has a control plane of its own.
#[tokio::test(flavor = "multi_thread")]
async fn g5_g6_without_the_policies_the_controller_still_asks_the_guards() {
    let stage = Stage::alone("unguarded", binary(), options()).await.unwrap();
    let ids = instances(&stage, 2);
    let _controller = stage.controller(&[]).unwrap();
    let kubectl = |arguments: &[&str]| stage.control_plane.kubectl(arguments).ok().unwrap();
    let guard = Guard::new(&stage, "freeze", &json!({"hold": {"reason": "change freeze"}}));
    let object = Manifest::new("retire", &ids);
    until("the policy refuses it", || {
        let output = stage.kubectl_in(&["apply", "-f", "-"], &object.text()).unwrap();
        let refused = !output.status.success();
        assert!(!refused || output.stderr.contains("change freeze"), "{}", output.stderr);
        if !refused {
            stage.kubectl(&["delete", "idel", "retire"]).unwrap();
        }
        refused.then_some(())
    });
    kubectl(&["delete", "validatingadmissionpolicybinding", "--all"]);
    until("the policy is gone", || {
        stage.kubectl_in(&["apply", "-f", "-"], &object.text()).unwrap().status.success().then_some(())
    });
    // G5: an object that was created after the hold.
    let held = stage.wait_reason("retire", "Held");
    assert!(condition(&held, "Ready").2.contains("change freeze"));
    // G6: the right to read guards is taken away.
    let role = kubectl(&["get", "clusterroles", "-o", "json"]);
    let roles: Value = serde_json::from_str(&role).unwrap();
    let grants =
        |role: &&Value| role.to_string().contains("deletionguards") && role.to_string().contains("watch");
    let ours = |role: &&Value| role["metadata"]["name"].as_str().is_some_and(|n| n.contains("controller"));
    let role = roles["items"].as_array().unwrap().iter().filter(ours).find(grants).unwrap().clone();
    let name = role["metadata"]["name"].as_str().unwrap();
    kubectl(&[
        "patch",
        "clusterrole",
        name,
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/rules","value":[]}]"#,
    ]);
    drop(guard);
    let unreadable = stage.wait_reason("retire", "GuardUnreadable");
    let message = condition(&unreadable, "Ready").2;
    assert!(
        message.contains("deletionguards") && message.contains("grant the controller's ServiceAccount"),
        "{message}"
    );
    let rules = json!([{"op": "replace", "path": "/rules", "value": role["rules"]}]).to_string();
    kubectl(&["patch", "clusterrole", name, "--type=json", "-p", &rules]);
    assert_succeeded(&stage.wait_finished("retire"), 2);
    // G6: the definition is removed.
    let more = instances(&stage, 2);
    kubectl(&["delete", "crd", "deletionguards.clouddc.dev"]);
    stage.apply(&Manifest::new("later", &more)).unwrap();
    stage.wait_reason("later", "GuardUnreadable");
    assert_eq!(stage.calls().len(), 1);
    harness::install_definitions(stage.control_plane).unwrap();
    // G8: without a guard nothing is barred.
    assert_succeeded(&stage.wait_finished("later"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_a_canary_of_five_then_a_hundred_then_the_rest() {
    let stage = stage("canary").await;
    let ids = instances(&stage, 130);
    let _controller = stage.controller(&[]).unwrap();
    let limited = |limit: Option<u32>| {
        let manifest = Manifest::new("retire", &ids);
        limit.map_or(manifest.clone(), |limit| manifest.with("rollout", json!({"limit": limit})))
    };
    stage.apply(&limited(Some(5))).unwrap();
    let object = stage.wait_reason("retire", "LimitReached");
    assert_eq!((sizes(&stage.calls()), &object["status"]["phase"]), (vec![5], &json!("LimitReached")));
    each_once(&stage.calls(), &ids[..5]);
    let types: Vec<_> =
        object["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(types, ["Ready", "Finished"]);
    stage.apply(&limited(Some(100))).unwrap();
    stage.wait("retire", "it rests at the second limit", |object| {
        condition(object, "Ready").2.contains("the first 100 ids have their ends")
    });
    each_once(&stage.calls(), &ids[..100]);
    let lowered = stage.kubectl_in(&["apply", "-f", "-"], &limited(Some(50)).text()).unwrap();
    assert!(lowered.stderr.contains("rollout.limit can only be raised or removed"), "{}", lowered.stderr);
    stage.apply(&limited(None)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 130);
    let mut all = sizes(&stage.calls());
    all[1..].sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(all, [5, 50, 45, 30], "calls of five, ninety-five and the rest");
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_no_more_are_on_their_way_than_allowed() {
    let stage = stage("in-flight").await;
    let ids = instances(&stage, 25);
    let history = stage.history().unwrap();
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("rollout", json!({"maxInFlight": 10}))).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 25);
    each_once(&stage.calls(), &ids);
    assert!(sizes(&stage.calls()).iter().all(|size| *size <= 10), "{:?}", sizes(&stage.calls()));
    for version in history.of("retire") {
        let summary = &version["status"]["summary"];
        let on_their_way = ["submitted", "accepted"].map(|phase| summary[phase].as_u64().unwrap_or(0));
        assert!(on_their_way.iter().sum::<u64>() <= 10, "{summary}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_too_many_failures_end_the_object() {
    let stage = stage("failures").await;
    let ids = instances(&stage, 3);
    assert!(stage.cloud.fail_deletions(PROJECT, &ids[0], 10));
    let _controller = stage.controller(&[]).unwrap();
    let manifest = Manifest::new("retire", &ids)
        .with("backoffLimitPerInstance", 0)
        .with("rollout", json!({"maxInFlight": 1, "maxFailed": 0}));
    stage.apply(&manifest).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(condition(&object, "Ready").1, "TooManyFailures");
    assert_eq!(row(&object, &ids[0])["reason"], "InstanceError");
    for id in &ids[1..] {
        assert_eq!(row(&object, id)["reason"], "NotSent");
    }
    each_once(&stage.calls(), &ids[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_deletion_is_told_by_the_operation_too() {
    let stage = stage("operation").await;
    let ids = instances(&stage, 1);
    stage.cloud.set_end(EndTime::Never);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 0)).unwrap();
    until("the call", || (stage.calls().len() == 1).then_some(()));
    let failed = stage.cloud.change_facts(PROJECT, &ids[0], |facts| {
        facts.shown_as.insert("operation_state".to_owned(), json!("uninstall-failed"));
    });
    assert!(failed);
    assert_eq!(stage.cloud.state(PROJECT, &ids[0]).as_deref(), Some("shutting-down"));
    let object = stage.wait_finished("retire");
    assert_eq!(row(&object, &ids[0])["reason"], "InstanceError");
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_a_plan_names_each_instance_and_what_stands_against_it() {
    let stage = stage("plan-names").await;
    let ids = instances(&stage, 4);
    christen_all(&stage, &ids);
    christen(&stage, &ids[1], "db-7");
    let unknown = stage.cloud.fresh_ids(1).remove(0);
    let all = [ids.clone(), vec![unknown.clone()]].concat();
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&expecting(&all).with("dryRun", true)).unwrap();
    // After the admission: it would have refused an object that lists a protected instance.
    let guard = Guard::new(
        &stage,
        "plan",
        &json!({"protected": {"instances": [{"id": ids[2], "reason": "billing database"}]}}),
    );
    stage.kubectl(&["annotate", "idel", "retire", "reconcile.fluxcd.io/requestedAt=now"]).unwrap();
    let object = stage.wait("retire", "the plan knows the guard", |object| {
        object["status"]["plan"]["protected"] == 1 && object["status"]["plan"]["notFound"] == 1
    });
    let plan = &object["status"]["plan"];
    let counts = [
        "total",
        "toDelete",
        "onTheirWay",
        "terminated",
        "notFound",
        "unreadable",
        "notAsExpected",
        "protected",
    ];
    let counts: Vec<_> = counts.iter().map(|field| plan[*field].as_u64().unwrap()).collect();
    assert_eq!(counts, [5, 2, 0, 0, 1, 0, 1, 1]);
    let message = plan["message"].as_str().unwrap();
    let expected = format!(
        "Would delete nothing of 5 instances, since 1 are not as spec.expect says, such as {} (its name is db-7, expected rack-12-*)",
        ids[1]
    );
    assert!(message.starts_with(&expected) && message.contains("1 are protected"), "{message}");
    let rows = plan["instances"].as_array().unwrap();
    let verdicts: Vec<_> =
        rows.iter().map(|row| (row["id"].as_str().unwrap(), row["verdict"].as_str())).collect();
    let expected = [
        (ids[1].as_str(), Some("NotAsExpected")),
        (ids[2].as_str(), Some("Protected")),
        (unknown.as_str(), Some("NotFound")),
        (ids[0].as_str(), None),
        (ids[3].as_str(), None),
    ];
    assert_eq!(verdicts, expected);
    assert_eq!((&rows[3]["name"], &rows[3]["state"]), (&json!("rack-12-0"), &json!("running")));
    assert_eq!(rows[3]["serverID"], stage.cloud.facts(PROJECT, &ids[0]).unwrap().server.id);
    assert_eq!(rows[1]["detail"], format!("guard {}: billing database", guard.name));
    assert!(stage.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_five_thousand_ids_stays_small() {
    let stage = stage("plan-large").await;
    let ids = instances(&stage, 5_000);
    christen_all(&stage, &ids);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&expecting(&ids).with("dryRun", true)).unwrap();
    let object = stage.wait_reason("retire", "Planned");
    assert_eq!(object["status"]["plan"]["toDelete"], 5_000);
    assert_eq!(object["status"]["plan"]["instances"].as_array().unwrap().len(), 1_000);
    let stored = object.to_string().len();
    println!("figure: a plan of 5000 ids takes {stored} bytes");
    assert!(stored < 1_300_000, "{stored}");
}

/// Reads at the cloud until the last of 10 × 1,000 ids is sent, and the process's peak memory.
async fn cost_of_sending(name: &str, expect: bool) -> (usize, u64) {
    let end = EndTime::Fixed(Duration::from_hours(1));
    let stage = stage_with(name, Options { end, ..options() }).await;
    let ids = instances(&stage, 10_000);
    christen_all(&stage, &ids);
    let controller = stage.controller(&[]).unwrap();
    for (n, ids) in ids.chunks(1_000).enumerate() {
        let manifest = Manifest::new(&format!("retire-{n}"), ids);
        let manifest = if expect { manifest.with("expect", json!({"name": "rack-12-*"})) } else { manifest };
        stage.apply(&manifest).unwrap();
    }
    until("every id is sent", || (stage.calls().len() == 200).then_some(()));
    let reads = stage.cloud.calls(Operation::ListInstances).len()
        + stage.cloud.calls(Operation::ShowInstanceStatus).len();
    each_once(&stage.calls(), &ids);
    (reads, controller.peak_memory().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_facts_come_with_the_rows_and_cost_no_read() {
    let (without, plain) = cost_of_sending("rows", false).await;
    let (with, kept) = cost_of_sending("rows-expected", true).await;
    println!("figure: 10 × 1000 ids are sent with {without} reads without expect, {with} with it");
    println!("figure: peak memory {} kB without expect, {} kB with it", plain / 1024, kept / 1024);
    // Each id is read at least once before it is sent. Further reads are looks at what is on its way meanwhile.
    assert!(without >= 100 && (100..=without + without / 4).contains(&with), "{without} {with}");
}
