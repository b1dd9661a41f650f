//! Each check finds what it is for: a good record with one thing made bad.

use std::{sync::Arc, time::Duration};

use clouddc_simulator::Operation;
use fake_api_server::Change;
use instance_deletion_controller::controller::Key;
use serde_json::{Value, json};

use super::judge;
use crate::{
    plan::Plan,
    record::{Call, CloudReply, Get, Moment, Outcome, Process, Put, Record, SecretRead, Stored, Writer},
};

const ID: &str = "0198170e-4ca7-7ee4-89a7-fa631843920b";
const OTHER: &str = "0198170e-4ca7-7ee4-89a7-fa631843920c";

/// A record as it grows: each entry is one second and one place in the order after the last.
struct Story {
    record: Record,
    last: Moment,
    object: Value,
}

fn key() -> Key {
    Key { namespace: "fleet".into(), name: "first".into() }
}

fn rows(phase: &str, batch: u64) -> Value {
    json!([{"id": ID, "phase": phase, "batch": batch}])
}

fn status(phase: &str, batch: u64) -> Value {
    let ended = phase == "Terminated";
    let of = |name: &str| u64::from(name == phase);
    let mut status = json!({
        "observedGeneration": 1,
        "phase": if ended { "Succeeded" } else { "Deleting" },
        "summary": {
            "total": 1, "pending": of("Pending"), "submitted": of("Submitted"), "accepted": of("Accepted"),
            "terminated": of("Terminated"), "notFound": of("NotFound"), "failed": of("Failed"),
        },
        "batches": [{"number": batch, "claim": format!("claim-{batch}")}],
        "instances": rows(phase, batch),
        "conditions": [
            {"type": "Ready", "status": if ended { "True" } else { "False" }, "reason": "Deleting", "message": "1 of 1"},
            {"type": "Finished", "status": if ended { "True" } else { "False" }, "reason": "Succeeded", "message": "m"},
        ],
    });
    if ended {
        status["completionTime"] = json!("2026-01-01T00:00:00Z");
    }
    status
}

impl Story {
    fn begin() -> Self {
        let object = json!({
            "metadata": {"name": "first", "uid": "u", "generation": 1, "resourceVersion": "1"},
            "spec": {"instanceIDs": [ID], "credentialsSecretRef": {"name": "clouddc"}},
            "status": {"observedGeneration": -1},
        });
        let process = Process { started: Moment::default(), died: None, frozen: Vec::new() };
        let record = Record { processes: vec![process], ..Record::default() };
        Self { record, last: Moment::default(), object }
    }

    fn next(&mut self) -> Moment {
        self.wait(1)
    }

    fn wait(&mut self, seconds: u64) -> Moment {
        self.last = Moment { order: self.last.order + 1, at: self.last.at + Duration::from_secs(seconds) };
        self.last
    }

    fn get(&mut self) {
        let answered = self.next();
        let object = Some(Arc::new(self.object.clone()));
        self.record.gets.push(Get { process: 0, key: key(), answered, object, wall: 1_767_225_600 });
    }

    fn secret(&mut self) {
        let answered = self.next();
        let key = Key { namespace: "fleet".into(), name: "clouddc".into() };
        self.record.secrets.push(SecretRead { process: 0, key, answered, token: Some("token".into()) });
    }

    fn put(&mut self, status: Value) {
        let sent = self.next();
        let rv = self.object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
        let based_on = rv.to_string();
        self.object["metadata"]["resourceVersion"] = json!((rv + 1).to_string());
        self.object["status"] = status.clone();
        let applied = self.next();
        self.record.versions.push(Stored {
            moment: applied,
            key: key(),
            change: Change::Modified,
            writer: Writer::Put(self.record.puts.len()),
            object: Arc::new(self.object.clone()),
        });
        let answered = self.next();
        self.record.puts.push(Put {
            process: 0,
            key: key(),
            uid: "u".into(),
            based_on,
            sent,
            applied: Some((applied, (rv + 1).to_string())),
            answered: Some((answered, 200)),
            status: Arc::new(status),
        });
    }

    fn call(&mut self, operation: Operation, ids: &[&str], reply: Option<(u16, Value)>) {
        let (started, left, arrived, ended) = (self.next(), self.next(), self.next(), self.next());
        let outcome = match reply {
            Some((status, body)) => Outcome::Reply(CloudReply {
                status,
                headers: vec![("Content-Type".into(), "application/json".into())],
                body: body.to_string(),
            }),
            None => Outcome::Reset,
        };
        self.record.calls.push(Call {
            process: 0,
            operation,
            project: "p".into(),
            token: "token".into(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            started,
            left: Some(left),
            arrived: Some(arrived),
            applied: Vec::new(),
            outcome: Some((ended, outcome)),
        });
    }

    fn look(&mut self, state: &str) {
        self.call(
            Operation::ListInstances,
            &[ID],
            Some((200, json!({"instances": [{"id": ID, "state": state}]}))),
        );
        self.wait(2);
    }

    fn missing(&mut self) {
        let body = json!({"error_code": "iMetal.0200", "error_msg": ""});
        self.call(Operation::ShowInstanceStatus, &[ID], Some((404, body)));
        self.wait(2);
    }

    /// A delete call with all that it rests on, and its reply.
    fn delete(&mut self, batch: u64, reply: Option<(u16, Value)>) {
        self.get();
        self.secret();
        let phase = if batch == 1 { "Submitted" } else { "Accepted" };
        self.put(status(phase, batch));
        self.call(Operation::DeleteInstances, &[ID], reply);
    }

    fn accepted(&mut self) {
        self.look("running");
        self.delete(1, Some((202, json!({"instances": [{"id": ID}]}))));
        self.get();
        self.put(status("Accepted", 1));
    }

    fn ended(&mut self) {
        self.accepted();
        self.look("terminated");
        self.get();
        self.put(status("Terminated", 1));
    }

    fn found(&self) -> Vec<&'static str> {
        let mut found: Vec<_> =
            judge(&self.record, &Plan::plain(1, 1)).into_iter().map(|violation| violation.property).collect();
        found.dedup();
        found
    }
}

/// What is found in a story that ended well, once this is changed.
fn with(change: impl FnOnce(&mut Story)) -> Vec<&'static str> {
    let mut story = Story::begin();
    story.ended();
    change(&mut story);
    story.found()
}

/// The intent's own read.
fn decision(story: &mut Story) -> &mut Value {
    Arc::make_mut(story.record.gets[0].object.as_mut().unwrap())
}

fn version(story: &mut Story, at: usize) -> &mut Value {
    Arc::make_mut(&mut story.record.versions[at].object)
}

#[test]
fn a_good_story_is_good() {
    assert_eq!(with(|_| {}), Vec::<&str>::new());
}

#[test]
fn s1_an_id_that_the_object_does_not_name() {
    assert_eq!(with(|s| decision(s)["spec"]["instanceIDs"] = json!([OTHER])), ["S1"]);
    assert_eq!(with(|s| decision(s)["metadata"]["uid"] = json!("another")), ["S1"]);
}

#[test]
fn s1_and_s13_gates_that_the_decision_read_shows() {
    for (pointer, value) in [
        ("/spec", json!({"suspend": true, "instanceIDs": [ID], "credentialsSecretRef": {"name": "clouddc"}})),
        ("/spec", json!({"dryRun": true, "instanceIDs": [ID], "credentialsSecretRef": {"name": "clouddc"}})),
        (
            "/spec",
            json!({"notAfter": "2026-01-01T00:00:00Z", "instanceIDs": [ID], "credentialsSecretRef": {"name": "clouddc"}}),
        ),
        ("/metadata", json!({"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"})),
    ] {
        let found = with(|s| *decision(s).pointer_mut(pointer).unwrap() = value.clone());
        assert_eq!(found, ["S1", "S13"], "{value}");
    }
    let deadline = with(|s| {
        decision(s)["spec"]["activeDeadlineSeconds"] = json!(5);
        decision(s)["status"]["startTime"] = json!("2025-12-31T23:59:00Z");
    });
    assert_eq!(deadline, ["S1", "S13"]);
}

#[test]
fn s2_a_call_of_a_bad_form() {
    let twice = with(|s| s.record.calls[1].ids.push(ID.to_owned()));
    assert_eq!(twice[0], "S2");
    assert_eq!(with(|s| s.record.calls[1].ids.clear())[0], "S2");
}

#[test]
fn s3_a_call_without_an_acknowledged_intent_of_its_own() {
    assert_eq!(with(|s| s.record.puts[0].answered = None)[0], "S3");
    assert_eq!(with(|s| s.record.puts[0].process = 1)[0], "S3");
    let twice = with(|s| {
        let call = s.record.calls[1].clone();
        s.record.calls.push(call);
    });
    assert_eq!(twice[0], "S3");
}

#[test]
fn s4_an_acceptance_that_nobody_heard_of() {
    assert_eq!(with(|s| s.record.calls[1].outcome = None), ["S4"]);
}

#[test]
fn s5_an_acceptance_that_is_not_recorded() {
    let mut story = Story::begin();
    story.look("running");
    story.delete(1, Some((202, json!({"instances": [{"id": ID}]}))));
    story.get();
    story.put(status("Submitted", 1));
    assert_eq!(story.found(), ["S5"]);
}

#[test]
fn s6_an_end_that_nobody_saw() {
    assert_eq!(with(|s| drop(s.record.calls.pop())), ["S6"]);
    let mut story = Story::begin();
    story.accepted();
    story.missing();
    story.wait(5);
    story.missing();
    story.get();
    story.put(status("NotFound", 1));
    assert_eq!(story.found(), ["S6"], "two reads, and not --settle apart");
    story.record.calls.last_mut().unwrap().left.as_mut().unwrap().at += Duration::from_secs(40);
    assert_eq!(story.found(), Vec::<&str>::new());
    let nothing_known = with(|s| {
        version(s, 2)["status"]["instances"] = json!([{"id": ID, "phase": "NotFound"}]);
    });
    assert!(nothing_known.contains(&"S6"), "{nothing_known:?}");
}

#[test]
fn s7_a_record_that_goes_back() {
    assert!(with(|s| version(s, 1)["status"]["instances"][0]["phase"] = json!("Pending")).contains(&"S7"));
    let changed_end = with(|s| {
        let mut changed = status("Terminated", 1);
        changed["instances"][0]["endedAt"] = json!("2026-01-01T00:00:00Z");
        s.put(changed);
    });
    assert!(changed_end.contains(&"S7"), "{changed_end:?}");
}

#[test]
fn s8_a_call_that_repeats_one_of_unknown_outcome_too_early() {
    let mut story = Story::begin();
    story.look("running");
    story.delete(1, None);
    story.look("running");
    let mut second = status("Submitted", 2);
    second["batches"] = json!([{"number": 2, "claim": "claim-2"}]);
    story.get();
    story.secret();
    story.put(second.clone());
    story.call(Operation::DeleteInstances, &[ID], None);
    assert_eq!(story.found(), ["S8"]);
    let mut story = Story::begin();
    story.look("running");
    story.delete(1, None);
    story.wait(30);
    story.look("running");
    story.get();
    story.secret();
    story.put(second);
    story.call(Operation::DeleteInstances, &[ID], None);
    assert_eq!(story.found(), Vec::<&str>::new());
}

#[test]
fn s8_more_attempts_than_allowed() {
    let mut story = Story::begin();
    story.accepted();
    for batch in 2..9 {
        story.wait(40);
        story.look("error");
        story.delete(batch, Some((202, json!({"instances": [{"id": ID}]}))));
    }
    assert_eq!(story.found(), ["S8"]);
}

#[test]
fn s10_a_token_of_another_secret() {
    assert_eq!(with(|s| s.record.calls[1].token = "stolen".into()), ["S10"]);
    assert_eq!(with(|s| s.record.secrets[0].key.namespace = "other".into()), ["S10"]);
}

#[test]
fn s11_a_token_in_a_write() {
    assert_eq!(with(|s| s.record.leaks.push("PUT holds a token".into())), ["S11"]);
}

#[test]
fn s12_too_many_calls_at_once() {
    let mut story = Story::begin();
    story.ended();
    let mut plan = Plan::plain(1, 1);
    plan.settings.parallel_calls = 0;
    let found = judge(&story.record, &plan);
    assert_eq!(found.iter().map(|v| v.property).collect::<Vec<_>>(), ["S12"]);
}

#[test]
fn s13_a_call_that_left_too_late() {
    let late = with(|s| s.record.calls[1].left.as_mut().unwrap().at += Duration::from_secs(3));
    assert_eq!(late, ["S13"]);
}

#[test]
fn s16_a_status_that_says_nothing_or_too_much() {
    for (pointer, value) in [
        ("/status/observedGeneration", json!(2)),
        ("/status/conditions/0/message", json!("")),
        ("/status/conditions/0/message", json!("a\nb")),
        ("/status/conditions/0/message", json!("a".repeat(3000))),
        ("/status/conditions/1/type", json!("Done")),
        ("/status/conditions/1/status", json!("True")),
        ("/status/summary/accepted", json!(7)),
        ("/status/summary/total", json!(7)),
    ] {
        let found = with(|s| *version(s, 1).pointer_mut(pointer).unwrap() = value.clone());
        assert!(found.contains(&"S16"), "{pointer} {value}: {found:?}");
    }
}

#[test]
fn s17_a_call_for_what_is_known_to_be_on_its_way() {
    let mut story = Story::begin();
    story.accepted();
    story.look("running");
    story.delete(2, None);
    assert!(story.found().contains(&"S17"), "a live state --settle after an acceptance is not enough");
    let mut story = Story::begin();
    story.accepted();
    story.wait(300);
    story.look("running");
    story.delete(2, None);
    assert_eq!(story.found(), Vec::<&str>::new(), "ten times --settle is");
    let mut story = Story::begin();
    story.look("shutting-down");
    story.delete(1, None);
    assert!(story.found().contains(&"S17"));
    let mut story = Story::begin();
    story.look("running");
    story.wait(61);
    story.delete(1, None);
    assert_eq!(story.found(), ["S17"], "a look that is too old");
}

#[test]
fn l1_an_object_without_an_end() {
    assert_eq!(with(|s| s.record.open.push("first".into())), ["L1"]);
}

#[test]
fn l8_something_after_the_end() {
    let write = with(|s| {
        let mut again = status("Terminated", 1);
        again["conditions"][0]["message"] = json!("still gone");
        s.get();
        s.put(again);
    });
    assert_eq!(write, ["L8"]);
    let read = with(|s| {
        s.record.quiet = Some(s.last);
        s.look("terminated");
    });
    assert_eq!(read, ["L8"]);
    let deleted = with(|s| {
        let mut version = s.record.versions[0].clone();
        version.writer = Writer::Process(0);
        version.change = Change::Deleted;
        s.record.versions.push(version);
    });
    assert_eq!(deleted, ["L8"]);
    let call = with(|s| {
        s.wait(300);
        s.look("running");
        s.delete(2, None);
    });
    assert!(call.contains(&"L8"), "{call:?}");
}
