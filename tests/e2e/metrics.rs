//! `/metrics`: the figures are equal to those of the cloud's log and of the objects' histories.

use std::time::Duration;

use clouddc_simulator::{EndTime, Fault, Operation, Options};
use harness::{Controller, Manifest, Stage, TOKEN, until};
use serde_json::Value;

use crate::{
    prometheus::{OPEN_METRICS, scrape},
    support::{assert_succeeded, instances, options, stage, stage_with},
};

/// The figure with this name (without the prefix) and labels.
fn figure(scrape: &str, name: &str) -> f64 {
    let name = format!("instance_deletion_{name} ");
    let value = scrape.lines().find_map(|line| line.strip_prefix(&name));
    assert!(value.is_some(), "{name} in {scrape}");
    value.unwrap().parse().unwrap()
}

/// Whether the figures have these values.
fn are(controller: &Controller, figures: &[(String, u32)]) -> bool {
    let (_, scrape) = scrape(controller, OPEN_METRICS);
    figures.iter().all(|(name, n)| (figure(&scrape, name) - f64::from(*n)).abs() < f64::EPSILON)
}

/// Waits until the figures have these values.
fn become_so(controller: &Controller, figures: &[(String, u32)]) {
    let so = || until("the figures are right", || are(controller, figures).then_some(()));
    if let Err(panic) = std::panic::catch_unwind(so) {
        let (_, scrape) = scrape(controller, OPEN_METRICS);
        for (name, n) in figures {
            eprintln!("{name} is {}, and should be {n}", figure(&scrape, name));
        }
        std::panic::resume_unwind(panic);
    }
}

fn by(name: &str, label: &str, value: &str, n: u32) -> (String, u32) {
    (format!("{name}{{{label}=\"{value}\"}}"), n)
}

/// The figures that the controller should have, from the cloud's log.
fn calls_of_the_log(stage: &Stage) -> Vec<(String, u32)> {
    let mut figures = Vec::new();
    for operation in [Operation::DeleteInstances, Operation::ListInstances, Operation::ShowInstanceStatus] {
        let log = stage.cloud.calls(operation);
        let delete = operation == Operation::DeleteInstances;
        let unavailable = if delete { "unknown" } else { "unreachable" };
        // 404 is a normal answer to a read of one instance.
        let ok: &[u16] = if operation == Operation::ShowInstanceStatus { &[200, 404] } else { &[200, 202] };
        let answers: [(&str, &[u16]); 3] = [("ok", ok), ("throttled", &[429]), (unavailable, &[503])];
        let mut told = 0;
        for (outcome, statuses) in answers {
            let n = log.iter().filter(|e| e.status.is_some_and(|s| statuses.contains(&s))).count();
            let labels = format!("operation=\"{operation:?}\",outcome=\"{outcome}\"");
            figures.push((format!("cloud_calls_total{{{labels}}}"), u32::try_from(n).unwrap()));
            told += n;
        }
        assert_eq!(told, log.len(), "{operation:?}: every answer is among these");
        let all = u32::try_from(log.len()).unwrap();
        figures.push(by("cloud_call_duration_seconds_count", "operation", &format!("{operation:?}"), all));
    }
    figures
}

fn the_faults_were_met(calls: &[(String, u32)]) {
    let of = |name: &str| calls.iter().find(|(n, _)| n.contains(name)).unwrap().1;
    assert_eq!(of(r#"DeleteInstances",outcome="throttled"#), 2);
    assert_eq!(of(r#"DeleteInstances",outcome="unknown"#), 1);
    assert_eq!(of(r#"ListInstances",outcome="throttled"#), 2);
    assert!(of(r#"ShowInstanceStatus",outcome="ok"#) >= 6, "not found needs two reads of each");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_the_clouds_log_and_of_the_objects_history() {
    let stage = stage("figures").await;
    let (ids, unknown) = (instances(&stage, 170), stage.cloud.fresh_ids(3));
    let (retired, planned) = ids.split_at(150);
    for operation in [Operation::DeleteInstances, Operation::ListInstances] {
        let fault = || Fault::on(operation);
        stage.cloud.script(fault().reply_error(429, "iMetal.0005", "as scripted").times(2));
        stage.cloud.script(fault().reply_error(503, "iMetal.0003", "as scripted").times(1));
    }
    let history = stage.history().unwrap();
    let controller = stage.controller(&["--parallel-calls", "1"]).unwrap();
    stage.apply(&Manifest::new("retire", retired)).unwrap();
    stage.apply(&Manifest::new("never-known", &unknown).with("notFoundPolicy", "Fail")).unwrap();
    stage.apply(&Manifest::new("plan", planned).with("dryRun", true)).unwrap();
    let ended = [
        stage.wait_finished("retire"),
        stage.wait_finished("never-known"),
        stage.wait_reason("plan", "Planned"),
    ];
    assert_succeeded(&ended[0], 150);
    assert_eq!(ended[1]["status"]["phase"], "Failed");
    // Each version after the user's is a write of the controller's.
    let writes: u32 = ended.iter().map(|object| versions(&history, object) - 1).sum();
    let stored = r#"api_requests_total{verb="update",resource="instancedeletions/status",result="ok"}"#;

    let calls = calls_of_the_log(&stage);
    the_faults_were_met(&calls);
    become_so(&controller, &calls);
    let objects = [
        by("objects", "phase", "Succeeded", 1),
        by("objects", "phase", "Failed", 1),
        by("objects", "phase", "Planned", 1),
        by("objects", "phase", "Deleting", 0),
        by("instances", "phase", "Terminated", 150),
        by("instances", "phase", "Failed", 3),
        by("instances", "phase", "Pending", 20),
        by("instances", "phase", "Accepted", 0),
        ("oldest_unfinished_age_seconds".to_owned(), 0),
    ];
    become_so(&controller, &objects);
    let counted = [
        (stored.to_owned(), writes),
        by("objects_finished_total", "phase", "Succeeded", 1),
        by("objects_finished_total", "phase", "Failed", 1),
        by("objects_finished_total", "phase", "Expired", 0),
        by("reconciles_total", "result", "panicked", 0),
        ("panics_total".to_owned(), 0),
        ("ready".to_owned(), 1),
        ("cloud_identities".to_owned(), 1),
    ];
    become_so(&controller, &counted);
    let (_, text) = scrape(&controller, OPEN_METRICS);
    assert!(figure(&text, "cloud_delete_wait_seconds_count") >= 3.0, "three waves at least");
    assert!(figure(&text, r#"waves_total{result="sent"}"#) >= 3.0);
    assert!(figure(&text, r#"cloud_identities_slowed{kind="delete"}"#) <= 1.0);
    nothing_of_anybody_is_told(&controller, &stage, &ids);
    figures_of_the_process(&controller);

    // A later process counts the objects that exist, and no ends that another process has recorded.
    assert_eq!(controller.terminate(Duration::from_mins(1)).unwrap(), Some(0));
    let controller = stage.controller(&[]).unwrap();
    become_so(&controller, &objects);
    become_so(&controller, &[by("objects_finished_total", "phase", "Failed", 0), (stored.to_owned(), 0)]);
    stage.kubectl(&["delete", "idel", "retire", "never-known"]).unwrap();
    become_so(
        &controller,
        &[
            by("objects", "phase", "Succeeded", 0),
            by("objects", "phase", "Failed", 0),
            by("objects", "phase", "Planned", 1),
            by("instances", "phase", "Terminated", 0),
            by("instances", "phase", "Failed", 0),
            by("instances", "phase", "Pending", 20),
        ],
    );
}

/// The figures of the process are those of `/proc`.
fn figures_of_the_process(controller: &Controller) {
    let folder = format!("/proc/{}", controller.pid());
    let of = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("process_{name} ")));
        line.unwrap().parse().unwrap()
    };
    let (_, text) = scrape(controller, OPEN_METRICS);
    let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak = peak.unwrap().parse::<f64>().unwrap() * 1024.0;
    // The kernel counts the pages of each processor with a delay.
    let resident = of(&text, "resident_memory_bytes");
    assert!(resident > peak / 4.0 && resident < peak * 1.1, "{resident} of at most {peak}");
    assert!(of(&text, "virtual_memory_bytes") > resident && of(&text, "cpu_seconds_total") > 0.0);
    assert!(of(&text, "threads") >= 2.0 && of(&text, "start_time_seconds") > 1.7e9);
    // Connections come and go. The scrape's own is counted in the scrape alone.
    until("the file descriptors are those of the process", || {
        let (_, text) = scrape(controller, OPEN_METRICS);
        let fds = std::fs::read_dir(format!("{folder}/fd")).unwrap().count();
        let more = of(&text, "open_fds") - f64::from(u32::try_from(fds).unwrap());
        ((0.0..=1.0).contains(&more) && of(&text, "max_fds") > of(&text, "open_fds")).then_some(())
    });
}

/// The number of versions of an object up to this one.
fn versions(history: &harness::History, object: &Value) -> u32 {
    let metadata = &object["metadata"];
    until("the last version is seen", || {
        let versions = history.of(metadata["name"].as_str()?);
        let last = versions.last()?;
        (last["metadata"]["resourceVersion"] == metadata["resourceVersion"])
            .then(|| u32::try_from(versions.len()).unwrap())
    })
}

/// Asserts that a scrape holds no secret, name, namespace or id.
fn nothing_of_anybody_is_told(controller: &Controller, stage: &Stage, ids: &[String]) {
    for accept in [OPEN_METRICS, "text/plain"] {
        let (_, text) = scrape(controller, accept);
        let names = ["retire", "never-known", "plan\"", "clouddc\"", harness::PROJECT, "ap-southeast"];
        let told: Vec<_> = [TOKEN, &stage.namespace]
            .into_iter()
            .chain(names)
            .chain(ids.iter().map(String::as_str))
            .collect();
        assert!(told.iter().all(|told| !text.contains(*told)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_counted_while_it_does() {
    let stage = stage_with("hindered", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 60);
    let refusal = Fault::on(Operation::DeleteInstances).reply_error(429, "iMetal.0005", "Too many requests");
    stage.cloud.script(refusal.header("Retry-After", "20").times(1));
    let controller = stage.controller(&["--retry-max", "1m", "--stuck-after", "1s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    become_so(
        &controller,
        &[
            by("objects", "phase", "Throttled", 1),
            by("objects_hindered", "reason", "Throttled", 1),
            by("cloud_identities_slowed", "kind", "delete", 1),
            by("cloud_identities_slowed", "kind", "read", 0),
            by("cloud_lowest_rate", "kind", "read", 500),
            ("cloud_lowest_batch_size".to_owned(), 50),
        ],
    );
    let (_, text) = scrape(&controller, OPEN_METRICS);
    let rate = figure(&text, r#"cloud_lowest_rate{kind="delete"}"#);
    assert!((0.1..200.0).contains(&rate), "{rate} is below the ceiling of 200");
    become_so(
        &controller,
        &[
            by("objects", "phase", "Deleting", 1),
            by("objects_hindered", "reason", "Throttled", 0),
            by("instances", "phase", "Accepted", 60),
            ("objects_stuck".to_owned(), 1),
        ],
    );
    let (_, text) = scrape(&controller, OPEN_METRICS);
    let age = figure(&text, "oldest_unfinished_age_seconds");
    assert!(age >= 1.0, "{age}: it has waited");
    stage.patch("retire", &serde_json::json!({"suspend": true})).unwrap();
    become_so(
        &controller,
        &[
            by("objects", "phase", "Suspended", 1),
            ("objects_stuck".to_owned(), 0),
            ("oldest_unfinished_age_seconds".to_owned(), 0),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_loses_its_label_is_counted_by_its_new_owner() {
    let stage = stage("owner").await;
    let mut manifest = Manifest::new("retire", &instances(&stage, 3));
    manifest.value["metadata"]["labels"] = serde_json::json!({"work": "here"});
    let here = stage.controller(&["--selector", "work=here"]).unwrap();
    let there = stage.controller(&["--selector", "work=there"]).unwrap();
    stage.apply(&manifest).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 3);
    let counted = |n| [by("objects", "phase", "Succeeded", n), by("instances", "phase", "Terminated", 3 * n)];
    become_so(&here, &counted(1));
    assert!(are(&there, &counted(0)));
    stage.kubectl(&["label", "--overwrite", "idel", "retire", "work=there"]).unwrap();
    become_so(&here, &counted(0));
    become_so(&there, &counted(1));
    // Back again: nothing of it has changed but its label.
    stage.kubectl(&["label", "--overwrite", "idel", "retire", "work=here"]).unwrap();
    become_so(&here, &counted(1));
    become_so(&there, &counted(0));
}
