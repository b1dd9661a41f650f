//! The admin interface, and the program with it.

mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use clouddc_simulator::{EndTime, Entry, Options};
use common::{Client, P, start};
use serde_json::{Value, json};

async fn both() -> (clouddc_simulator::Simulator, Client, Client) {
    let (sim, client) = start(Options { end: EndTime::Never, ..Options::default() }).await;
    let admin = Client::new(sim.admin_url());
    (sim, client, admin)
}

#[tokio::test]
async fn instances_are_added_changed_and_removed() {
    let (sim, client, admin) = both().await;
    let path = format!("/projects/{P}/instances");
    let made = admin.admin("POST", &path, Some(json!({"count": 2, "state": "stopped"}))).await;
    assert_eq!(made.status, 201);
    let ids: Vec<String> = serde_json::from_value(made.json()["ids"].clone()).unwrap();
    let given = sim.fresh_ids(1);
    assert_eq!(admin.admin("POST", &path, Some(json!({"ids": given}))).await.json()["ids"], json!(given));
    let all = admin.admin("GET", &path, None).await.json();
    assert_eq!(all["instances"][0], json!({"id": ids[0], "state": "stopped"}));
    assert_eq!(all["instances"][2], json!({"id": given[0], "state": "running"}));
    assert_eq!(admin.admin("GET", "/projects", None).await.json(), json!({"projects": [P]}));

    let one = format!("{path}/{}", ids[0]);
    let change = json!({"state": "odd", "operation_state": "odder"});
    assert_eq!(admin.admin("PUT", &one, Some(change)).await.status, 204);
    assert_eq!(client.show(&ids[0]).await.json(), json!({"state": "odd", "operation_state": "odder"}));
    assert_eq!(admin.admin("GET", &one, None).await.json()["operation_state"], "odder");
    let course = json!({"end": {"fixed": "0s"}, "fail_times": 1});
    assert_eq!(admin.admin("PUT", &format!("{path}/{}", ids[1]), Some(course.clone())).await.status, 204);
    client.delete(&ids[1..]).await;
    assert_eq!(sim.state(P, &ids[1]).as_deref(), Some("error"));
    assert_eq!(admin.admin("PUT", &format!("{path}/unknown"), Some(course)).await.status, 404);
    assert_eq!(admin.admin("PUT", &one, Some(json!({"operation_state": "x"}))).await.status, 422);
    assert_eq!(admin.admin("PUT", &one, Some(json!({"stat": "x"}))).await.status, 422);

    assert_eq!(admin.admin("DELETE", &one, None).await.status, 204);
    assert_eq!(admin.admin("DELETE", &one, None).await.status, 404);
    assert_eq!(admin.admin("GET", &one, None).await.status, 404);
    assert_eq!(client.show(&ids[0]).await.status, 404);
}

#[tokio::test]
async fn tokens_are_added_and_revoked_and_never_shown() {
    let (_sim, client, admin) = both().await;
    let token = json!({"label": "narrow", "value": "very-secret", "projects": [P]});
    assert_eq!(admin.admin("POST", "/tokens", Some(token)).await.status, 201);
    assert_eq!(client.with_token("very-secret").list("").await.status, 200);
    let shown = admin.admin("GET", "/tokens", None).await;
    assert_eq!(shown.json()["tokens"][1], json!({"label": "narrow", "projects": {"only": [P]}}));
    assert!(!shown.text.contains("very-secret"));
    assert_eq!(admin.admin("DELETE", "/tokens/narrow", None).await.status, 204);
    assert_eq!(admin.admin("DELETE", "/tokens/narrow", None).await.status, 404);
    assert_eq!(client.with_token("very-secret").list("").await.status, 401);
}

#[tokio::test]
async fn faults_are_scripted_watched_and_released() {
    let (sim, client, admin) = both().await;
    let ids = sim.ids(P, 1);
    let fault = json!({"operation": "DeleteInstances", "times": 1, "hold": "before_effect"});
    let made = admin.admin("POST", "/faults", Some(fault)).await;
    assert_eq!((made.status, made.json()), (201, json!({"id": 1})));
    let (reply, ()) = tokio::join!(client.delete(&ids), async {
        let report = admin.admin("GET", "/faults/1?held=1&timeout=30s", None).await;
        assert_eq!((report.status, &report.json()["times_hit"]), (200, &json!(1)));
        assert_eq!(admin.admin("POST", "/faults/1/release?count=1", None).await.status, 204);
    });
    assert_eq!(reply.status, 202);
    let report = admin.admin("GET", "/faults/1?hits=2", None).await;
    assert_eq!((report.status, &report.json()["held"]), (408, &json!(0)));

    let canned =
        json!({"reply": {"status": 500, "headers": {"X-A": "b"}, "body": "no"}, "delay_after": "1ms"});
    assert_eq!(admin.admin("POST", "/faults", Some(canned)).await.json(), json!({"id": 2}));
    let reply = client.list("").await;
    assert_eq!((reply.status, reply.header("X-A"), reply.text.as_str()), (500, Some("b"), "no"));
    assert_eq!(admin.admin("GET", "/faults", None).await.json()["faults"].as_array().unwrap().len(), 2);
    assert_eq!(admin.admin("DELETE", "/faults/2", None).await.status, 204);
    assert_eq!(admin.admin("DELETE", "/faults/2", None).await.status, 404);
    assert_eq!(client.list("").await.status, 200);
    assert_eq!(admin.admin("DELETE", "/faults", None).await.status, 204);
    assert_eq!(admin.admin("GET", "/faults", None).await.json(), json!({"faults": []}));
    assert_eq!(
        admin.admin("POST", "/faults", Some(json!({"op": 1}))).await.status,
        422,
        "no typing error passes"
    );
}

#[tokio::test]
async fn the_log_is_read_and_waited_for() {
    let (sim, client, admin) = both().await;
    let ids = sim.ids(P, 2);
    client.list("").await;
    let path = "/log?operation=DeleteInstances&at_least=1&finished=true&timeout=30s";
    let (waited, _) = tokio::join!(admin.admin("GET", path, None), client.delete(&ids));
    let entries: Vec<Entry> = serde_json::from_value(waited.json()["entries"].clone()).unwrap();
    assert_eq!(entries, sim.delete_calls());
    let entry = &waited.json()["entries"][0];
    assert_eq!((&entry["seq"], &entry["ids"], &entry["token"]), (&json!(2), &json!(ids), &json!("tests")));
    assert_eq!((&entry["delivery"], &entry["project"]), (&json!("delivered"), &json!(P)));
    assert!(!waited.text.contains("\"value\""), "no token");
    let after = admin.admin("GET", "/log?after=1", None).await.json();
    assert_eq!(after["entries"].as_array().unwrap().len(), 1);
    assert_eq!(admin.admin("GET", "/log?at_least=3&timeout=0s", None).await.status, 408);
}

#[tokio::test]
async fn time_ends_limits_and_reset() {
    let (sim, client, admin) = both().await;
    let ids = sim.ids(P, 2);
    assert_eq!(admin.admin("PUT", "/end", Some(json!({"fixed": "10m"}))).await.status, 204);
    client.delete(&ids).await;
    assert_eq!(admin.admin("POST", "/advance", Some(json!({"by": "10m"}))).await.status, 204);
    assert_eq!(client.show(&ids[0]).await.json()["state"], "terminated");
    let limits =
        json!({"read": {"kind": {"fixed": {"limit": 1, "time": "1m"}}, "retry_after": {"seconds": 5}}});
    assert_eq!(admin.admin("PUT", "/limits", Some(limits)).await.status, 204);
    assert_eq!((client.list("").await.status, client.list("").await.status), (200, 429));
    assert_eq!(admin.admin("POST", "/reset", None).await.status, 204);
    assert!(sim.log().is_empty() && sim.instances(P).is_empty());
    assert_eq!(client.list("").await.status, 401, "only the tokens of the options are left");
    assert_eq!(sim.log()[0].seq, 5, "numbers go on");
    assert_eq!(admin.admin("GET", "/healthz", None).await.status, 200);
}

#[tokio::test]
async fn lists_and_the_lag_of_reads() {
    let (sim, client, admin) = both().await;
    let ids = sim.ids(P, 3);
    let lists = json!({"page_rows": 2, "user_data_bytes": 5});
    assert_eq!(admin.admin("PUT", "/lists", Some(lists)).await.status, 204);
    let page = client.list("").await;
    assert_eq!(page.ids(), ids[..2]);
    assert_eq!(page.json()["instances"][0]["user_data"], "AAAAA");
    assert_eq!(
        admin.admin("POST", "/faults", Some(json!({"lose_rows": 1, "repeat_rows": 0}))).await.status,
        201
    );
    assert_eq!(admin.admin("PUT", "/lists", Some(json!({}))).await.status, 204);
    assert_eq!(client.list("").await.ids(), ids);
    assert_eq!(admin.admin("PUT", "/lists", Some(json!({"rows": 1}))).await.status, 422);

    assert_eq!(admin.admin("PUT", "/visibility-lag", Some(json!({"lag": "1h"}))).await.status, 204);
    assert_eq!(client.delete(&ids[..1]).await.status, 202);
    assert_eq!(client.show(&ids[0]).await.json()["state"], "running");
    sim.advance(std::time::Duration::from_hours(1));
    assert_eq!(client.show(&ids[0]).await.json()["state"], "shutting-down");
}

#[tokio::test]
async fn the_program_says_where_it_is_and_ends_on_sigterm() {
    let ready = std::env::temp_dir().join(format!("clouddc-simulator-ready-{}", std::process::id()));
    let mut program = Command::new(env!("CARGO_BIN_EXE_clouddc-simulator"))
        .args([
            "--project",
            P,
            "--instances",
            "3",
            "--token",
            "tests=value",
            "--end-after",
            "0s",
            "--ready-file",
        ])
        .arg(&ready)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(program.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    let (client, admin) = (
        Client::new(lines[0].strip_prefix("cloud ").unwrap()),
        Client::new(lines[1].strip_prefix("admin ").unwrap()),
    );
    let all: Value = admin.admin("GET", &format!("/projects/{P}/instances"), None).await.json();
    let id = all["instances"][2]["id"].as_str().unwrap().to_owned();
    assert_eq!(client.delete(std::slice::from_ref(&id)).await.status, 202);
    assert_eq!(client.show(&id).await.json()["state"], "terminated");
    let killed = Command::new("kill").arg(program.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert!(program.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), format!("{}\n{}\n", lines[0], lines[1]));
    std::fs::remove_file(&ready).unwrap();
}
