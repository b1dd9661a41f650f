//! `plan` and `start`.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use harness::{Manifest, Stage, until};
use serde_json::{Value, json};

use crate::support::{call, id, idel, ids, planned, plugin, same, set_status, stage, status, with};

/// A plan with an instance of each kind.
fn mixed() -> Value {
    json!({
        "total": 4, "toDelete": 1, "onTheirWay": 1, "terminated": 0, "notFound": 0, "unreadable": 0,
        "notAsExpected": 1, "protected": 1, "message": "Nothing would be sent.",
        "instances": [
            {"id": id(0), "name": "db-7", "serverID": "s0", "state": "running", "verdict": "NotAsExpected",
             "detail": "its name is db-7, expected rack-12-*"},
            {"id": id(1), "name": "rack-12-a", "serverID": "s1", "state": "running", "verdict": "Protected",
             "detail": "by production"},
            {"id": id(2), "name": "rack-12-b", "serverID": "s2", "state": "stopped"},
            {"id": id(3), "state": "shutting-down", "verdict": "OnItsWay"},
        ],
    })
}

/// A plan by which two instances would be deleted.
fn good() -> Value {
    json!({
        "total": 2, "toDelete": 2, "onTheirWay": 0, "terminated": 0, "notFound": 0, "unreadable": 0,
        "notAsExpected": 0, "protected": 0, "message": "2 instances would be deleted.",
        "instances": [{"id": id(0), "name": "a", "state": "running"}, {"id": id(1), "name": "b", "state": "running"}],
    })
}

/// A line without the times of this run.
fn soak_line(text: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("If you start it now")).unwrap_or_default();
    let (before, rest) = line.split_once("from ").unwrap_or_default();
    let (time, after) = rest.split_once(' ').unwrap_or_default();
    let time: k8s_openapi::jiff::Timestamp = time.parse().unwrap();
    let days = time.duration_since(k8s_openapi::jiff::Timestamp::now()).as_secs_f64() / 86_400.0;
    format!("{before}from {days:.0} days hence {after}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_how_many_are_powered_off_first_and_when_the_soak_would_end() {
    let stage = stage("plan-soak").await;
    let power_off = json!({"when": "Always", "soakSeconds": 259_200});
    stage.apply(&Manifest::new("retire", &ids(2)).with("dryRun", true).with("powerOff", power_off)).unwrap();
    let mut plan = good();
    plan["toPowerOff"] = json!(1);
    set_plan(&stage, &plan);
    let said = idel(&stage, &["plan", "retire"]).good();
    let counts = "\n2 instances: 2 to delete, 1 of them to power off first\nIf you start it now, ";
    assert!(said.contains(counts), "{said}");
    let line = "If you start it now, the controller deletes running and stopped instances from 3 days hence on; somebody who powers one on before keeps it";
    assert_eq!(soak_line(&said), line);
    let json: Value = serde_json::from_str(&idel(&stage, &["plan", "retire", "-o", "json"]).good()).unwrap();
    assert_eq!(json["plan"], plan);
    assert!(json["soakUntil"].as_str().unwrap().ends_with('Z'), "{json}");
    let started = idel(&stage, &["start", "retire", "--yes"]);
    assert_eq!((started.code, soak_line(&started.err).as_str()), (0, line));
}

fn set_plan(stage: &Stage, plan: &Value) {
    set_status(stage, "retire", &with(status(1, "Planned", "Planned", "planned"), json!({"plan": plan})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_a_table_and_its_exit_code_says_whether_it_is_what_one_wants() {
    let stage = stage("plan").await;
    planned(&stage, "retire", 4);
    set_plan(&stage, &mixed());
    let said = idel(&stage, &["plan", "retire"]);
    let table = "\
INSTANCE                               NAME        SERVER   STATE           VERDICT         DETAIL
0198170e-4ca7-7ee4-89a7-000000000000   db-7        s0       running         NotAsExpected   its name is db-7, expected rack-12-*
0198170e-4ca7-7ee4-89a7-000000000001   rack-12-a   s1       running         Protected       by production
0198170e-4ca7-7ee4-89a7-000000000002   rack-12-b   s2       stopped         Delete
0198170e-4ca7-7ee4-89a7-000000000003   -           -        shutting-down   OnItsWay

Nothing would be sent.
4 instances: 1 to delete, 1 on their way, 1 not as expected, 1 protected
";
    assert_eq!(said.out, table);
    let why = "error: of 4 instances, 1 not as expected, so nothing would be sent for any, 1 protected; see the rows above\n";
    assert_eq!((said.code, said.err.as_str()), (1, why));

    let json: Value = serde_json::from_str(&idel(&stage, &["plan", "retire", "-o", "json"]).out).unwrap();
    assert_eq!(json, json!({"namespace": stage.namespace, "name": "retire", "good": false, "plan": mixed()}));

    set_plan(&stage, &good());
    assert_eq!(idel(&stage, &["plan", "retire"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_does_not_come_ends_with_3_and_the_reason() {
    let stage = stage("plan-late").await;
    planned(&stage, "retire", 1);
    let (code, err) = idel(&stage, &["plan", "retire", "--timeout", "1s"]).failure();
    let expected = "error: NS/retire has no plan after 1 s: the controller has not looked at it; check that it runs and covers this namespace\n";
    assert_eq!((code, same(&stage, &err).as_str()), (3, expected));
    set_status(&stage, "retire", &status(1, "Planning", "SecretNotFound", "there is no Secret clouddc"));
    let (code, err) = idel(&stage, &["plan", "retire", "--timeout", "0s"]).failure();
    let expected = "error: NS/retire has no plan after 0 s: SecretNotFound: there is no Secret clouddc\n";
    assert_eq!((code, same(&stage, &err).as_str()), (3, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_shows_the_plan_and_starts_that_plan_alone() {
    let stage = stage("start").await;
    planned(&stage, "retire", 2);
    let (code, err) = idel(&stage, &["start", "retire", "--yes"]).failure();
    let expected = "error: NS/retire has no plan yet; `kubectl idel plan retire` waits for it\n";
    assert_eq!((code, same(&stage, &err).as_str()), (1, expected));
    set_plan(&stage, &mixed());
    let (code, err) = idel(&stage, &["start", "retire", "--yes"]).failure();
    assert!(code == 1 && err.contains("would end at once: of 4 instances, 1 not as expected"), "{err}");
    set_plan(&stage, &good());
    let (code, err) = idel(&stage, &["start", "retire"]).failure();
    assert_eq!(code, 2, "nobody to ask");
    assert!(err.ends_with("error: there is no terminal to ask on; --yes starts without asking\n"), "{err}");
    assert_eq!(stage.get("retire")["spec"]["dryRun"], true);

    let said = idel(&stage, &["start", "retire", "--yes"]);
    let shown = "NS/retire\n2 instances would be deleted.\n2 instances: 2 to delete\n";
    assert_eq!((said.code, same(&stage, &said.err).as_str()), (0, shown));
    let started =
        "NS/retire started: 2 instances to delete; `kubectl idel watch retire` shows how far it is\n";
    assert_eq!(same(&stage, &said.out), started);
    assert_eq!(stage.get("retire")["spec"]["dryRun"], false);

    let (code, err) = idel(&stage, &["start", "retire", "--yes"]).failure();
    assert_eq!(
        (code, same(&stage, &err).as_str()),
        (1, "error: NS/retire was started before; nothing was written\n")
    );
    let (code, err) = idel(&stage, &["plan", "retire"]).failure();
    assert!(code == 1 && err.contains("has no plan: it was started"), "{err}");
    stage.apply(&Manifest::new("at-once", &ids(1))).unwrap();
    let (code, err) = idel(&stage, &["start", "at-once", "--yes"]).failure();
    assert!(code == 1 && err.contains("was created without dryRun: true"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_gitops_owns_is_started_by_a_commit() {
    let stage = stage("start-gitops").await;
    let mut manifest = Manifest::new("retire", &ids(2)).with("dryRun", true);
    manifest.value["metadata"]["labels"] = json!({
        "kustomize.toolkit.fluxcd.io/name": "fleet", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
    });
    stage.apply(&manifest).unwrap();
    set_plan(&stage, &good());
    let (code, err) = idel(&stage, &["start", "retire", "--yes"]).failure();
    let expected = "error: NS/retire is written from git by Flux (flux-system/fleet), which would take the change back; commit `dryRun: false` in place of `dryRun: true` in the object's spec there\n";
    assert_eq!((code, same(&stage, &err).as_str()), (1, expected));
    assert_eq!(stage.get("retire")["spec"]["dryRun"], true);
}

/// The question of `start` in a pseudo-terminal; the answer is typed once the file `go` is there.
fn asked(stage: &Stage, answer: &str, go: &Path) -> Child {
    let start = format!("{} start retire -n {}", plugin().display(), stage.namespace);
    let mut shell = Command::new("bash");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done; echo {answer}", go.display());
    shell.args([
        "-c",
        &format!("({wait}) | script -qefc '{start}' {}", go.with_extension("screen").display()),
    ]);
    for (name, value) in call(stage, &[]).into_command().get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdout(Stdio::piped()).spawn().unwrap()
}

/// Types an answer after `meanwhile`, which begins once the question is on the screen.
fn answered(stage: &Stage, answer: &str, meanwhile: impl FnOnce()) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let child = asked(stage, answer, &go);
    until("the question", || {
        let screen = std::fs::read_to_string(go.with_extension("screen")).unwrap_or_default();
        screen.contains("Type the object's name to start: ").then_some(())
    });
    meanwhile();
    std::fs::write(&go, "").unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_confirms_with_the_name_of_the_object() {
    let stage = stage("start-asks").await;
    planned(&stage, "retire", 2);
    set_plan(&stage, &good());
    let (code, screen) = answered(&stage, "yes", || ());
    assert!(screen.contains("Type the object's name to start: "), "{screen}");
    assert!(screen.contains("error: that is not retire; nothing was written") && code == 1, "{screen}");
    assert_eq!(stage.get("retire")["spec"]["dryRun"], true);
    let (code, screen) = answered(&stage, "retire", || ());
    assert!(code == 0 && screen.contains("started: 2 instances to delete"), "{screen}");
    assert_eq!(stage.get("retire")["spec"]["dryRun"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_plan_that_was_shown_is_started() {
    let stage = stage("start-race").await;
    planned(&stage, "retire", 2);
    set_plan(&stage, &good());
    let mut worse = good();
    worse["toDelete"] = json!(1);
    worse["protected"] = json!(1);
    let (code, screen) = answered(&stage, "retire", || set_plan(&stage, &worse));
    assert!(
        screen.contains("or its plan changed meanwhile; nothing was written; look at the plan again"),
        "{screen}"
    );
    assert_eq!((code, &stage.get("retire")["spec"]["dryRun"]), (1, &json!(true)));
    // What changes beside the plan stops nothing.
    set_plan(&stage, &good());
    let (code, screen) =
        answered(&stage, "retire", || drop(stage.kubectl(&["label", "idel", "retire", "team=a"]).unwrap()));
    assert_eq!((code, &stage.get("retire")["spec"]["dryRun"]), (0, &json!(false)), "{screen}");
}
