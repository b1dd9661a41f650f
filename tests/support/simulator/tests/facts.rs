//! What rows tell beside the state: names, tags, servers, times; and ListServers.

mod common;

use std::{collections::BTreeMap, time::Duration};

use clouddc_simulator::{EndTime, Operation, Options, RowFacts};
use common::{Client, P, ids_query, start};
use serde_json::{Value, json};

async fn row(client: &Client, id: &String) -> Value {
    client.list(&ids_query(std::slice::from_ref(id))).await.json()["instances"][0].clone()
}

#[tokio::test]
async fn a_row_shows_the_facts_that_the_instance_has_at_that_moment() {
    let (sim, client) = start(Options::default()).await;
    let id = &sim.ids(P, 1)[0];
    assert!(sim.change_facts(P, id, |facts| {
        facts.name = "rack-12-node-3".to_owned();
        facts.vpc_id = "vpc".to_owned();
        facts.tags = BTreeMap::from([("env".to_owned(), "staging".to_owned())]);
        facts.created_at = "2025-06-01T00:00:00Z".to_owned();
        facts.network_interfaces[0].ipv4_address = "10.0.0.7".to_owned();
    }));
    let before = row(&client, id).await;
    assert_eq!(before["name"], "rack-12-node-3");
    assert_eq!(before["vpc_id"], "vpc");
    assert_eq!(before["tags"], json!([{"key": "env", "value": "staging"}]));
    assert_eq!(before["created_at"], "2025-06-01T00:00:00Z");
    assert_eq!(before["network_interfaces"][0]["ipv4_address"], "10.0.0.7");
    assert_eq!(before["server_id"], sim.facts(P, id).unwrap().server.id);

    assert!(sim.change_facts(P, id, |facts| {
        facts.tags.insert("keep".to_owned(), "true".to_owned());
    }));
    let after = row(&client, id).await;
    let tags = json!([{"key": "env", "value": "staging"}, {"key": "keep", "value": "true"}]);
    assert_eq!((&after["tags"], &after["name"]), (&tags, &before["name"]));
    assert!(!sim.change_facts(P, "unknown", |_| ()));
}

#[tokio::test]
async fn the_status_of_an_instance_tells_states_only() {
    let (sim, client) = start(Options { end: EndTime::Never, ..Options::default() }).await;
    let ids = sim.ids(P, 1);
    client.delete(&ids).await;
    let status = json!({"state": "shutting-down", "operation_state": "uninstall-processing"});
    assert_eq!(client.show(&ids[0]).await.json(), status);
    assert_eq!(row(&client, &ids[0]).await["operation_state"], "uninstall-processing");
}

#[tokio::test]
async fn a_failed_deletion_is_told_by_the_row() {
    let (sim, client) = start(Options { end: EndTime::Fixed(Duration::ZERO), ..Options::default() }).await;
    let ids = sim.ids(P, 1);
    assert!(sim.fail_deletions(P, &ids[0], 1));
    client.delete(&ids).await;
    let failed = row(&client, &ids[0]).await;
    assert_eq!((&failed["state"], &failed["operation_state"]), (&json!("error"), &json!("uninstall-failed")));
}

#[tokio::test]
async fn rows_without_facts_and_with_odd_ones() {
    let (sim, client) = start(Options { row_facts: RowFacts::Absent, ..Options::default() }).await;
    let ids = sim.ids(P, 2);
    assert_eq!(row(&client, &ids[0]).await, json!({"id": ids[0], "state": "running"}));
    sim.set_row_facts(RowFacts::Odd);
    let odd = row(&client, &ids[0]).await;
    assert_eq!((&odd["name"], &odd["vpc_id"]), (&Value::Null, &json!(7)));
    assert_eq!((&odd["id"], &odd["state"]), (&json!(ids[0]), &json!("running")));

    sim.set_row_facts(RowFacts::Documented);
    assert!(sim.change_facts(P, &ids[0], |facts| {
        facts.left_out.insert("tags".to_owned());
        facts.shown_as.insert("name".to_owned(), json!(["a"]));
    }));
    let (one, other) = (row(&client, &ids[0]).await, row(&client, &ids[1]).await);
    assert_eq!((one.get("tags"), &one["name"]), (None, &json!(["a"])));
    assert!(other["tags"].is_array() && other["name"].is_string());
}

#[tokio::test]
async fn servers_are_listed_page_by_page_and_are_ready_once_their_instance_is_gone() {
    let (sim, client) = start(Options { end: EndTime::Fixed(Duration::ZERO), ..Options::default() }).await;
    let ids = sim.ids(P, 25);
    assert!(sim.change_facts(P, &ids[3], |facts| {
        facts.server.dc = "dc-2".to_owned();
        facts.server.rack = "12".to_owned();
        facts.server.unit = "7".to_owned();
    }));
    let servers = |query: String| {
        let client = &client;
        async move { client.get(&format!("/v1/{P}/physicalservers{query}")).await }
    };
    let first = servers(String::new()).await.json();
    assert_eq!(
        first["servers"].as_array().unwrap().len(),
        10,
        "as many as the documents say without a limit"
    );
    let server = &first["servers"][3];
    assert_eq!(server["location"], json!({"dc": "dc-2", "rack": "12", "unit": "7"}));
    assert_eq!((&server["manage_state"], &server["power_state"]), (&json!("in-use"), &json!("on")));
    assert_eq!(server["id"], row(&client, &ids[3]).await["server_id"]);
    let marker = first["page_info"]["next_marker"].as_str().unwrap();
    assert_eq!(marker, first["servers"][9]["id"].as_str().unwrap());
    let rest = servers(format!("?limit=1000&marker={marker}")).await.json();
    assert_eq!((rest["servers"].as_array().unwrap().len(), &rest["count"]), (15, &json!(25)));
    assert_eq!(rest["page_info"]["next_marker"], Value::Null);

    client.delete(&ids[3..4]).await;
    let ready = servers("?manage_state=ready".to_owned()).await.json();
    assert_eq!((&ready["servers"][0]["id"], &ready["count"]), (&server["id"], &json!(1)));
    assert_eq!(servers("?marker=9".to_owned()).await.refusal(), (400, "iMetal.0001".to_owned()));
    assert_eq!(sim.calls(Operation::ListServers).len(), 4);
}

#[tokio::test]
async fn a_hundred_servers_are_asked_for_in_one_call() {
    let (sim, client) = start(Options::default()).await;
    let ids = sim.ids(P, 101);
    let servers: Vec<String> = ids.iter().map(|id| sim.facts(P, id).unwrap().server.id).collect();
    let query = |servers: &[String]| format!("server_id={}&limit=1000", servers.join("%2C"));
    assert_eq!(client.list(&query(&servers[..100])).await.ids(), ids[..100]);
    assert_eq!(client.list(&query(&servers)).await.refusal(), (400, "iMetal.0001".to_owned()));
}

#[tokio::test]
async fn the_admin_interface_gives_facts_and_changes_them() {
    let (sim, client) = start(Options::default()).await;
    let admin = Client::new(sim.admin_url());
    let path = format!("/projects/{P}/instances");
    let facts = json!({"tags": {"rack": "12"}, "server": {"rack": "12"}});
    let made = admin.admin("POST", &path, Some(json!({"count": 2, "facts": facts}))).await;
    assert_eq!(made.status, 201);
    let id = made.json()["ids"][1].as_str().unwrap().to_owned();
    assert_eq!(row(&client, &id).await["tags"], json!([{"key": "rack", "value": "12"}]));

    let one = format!("{path}/{id}/facts");
    assert_eq!(admin.admin("PATCH", &one, Some(json!({"name": "db-7"}))).await.status, 204);
    let shown = admin.admin("GET", &one, None).await.json();
    assert_eq!((&shown["name"], &shown["server"]["rack"]), (&json!("db-7"), &json!("12")));
    assert_eq!(row(&client, &id).await["name"], "db-7");
    assert_eq!(admin.admin("PATCH", &one, Some(json!({"nam": "x"}))).await.status, 422);
    assert_eq!(admin.admin("PATCH", &format!("{path}/x/facts"), Some(json!({}))).await.status, 404);
    let before = sim.instances(P).len();
    let bad = json!({"count": 1, "facts": {"rack": "12"}});
    assert_eq!((admin.admin("POST", &path, Some(bad)).await.status, sim.instances(P).len()), (422, before));

    assert_eq!(admin.admin("PUT", "/lists", Some(json!({"row_facts": "absent"}))).await.status, 204);
    assert_eq!(row(&client, &id).await, json!({"id": id, "state": "running"}));
}
