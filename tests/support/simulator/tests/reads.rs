//! ShowInstanceStatus and ListInstances.

mod common;

use clouddc_simulator::{LastPage, Options, Status, StatusError};
use common::{P, ids_query, start};
use serde_json::{Value, json};

#[tokio::test]
async fn status_says_what_was_set_by_hand() {
    let (sim, client) = start(Options::default()).await;
    let ids = sim.ids(P, 1);
    assert_eq!(client.show(&ids[0]).await.json(), json!({"state": "running"}));
    sim.set_state(P, &ids[0], "never-heard-of");
    assert_eq!(client.show(&ids[0]).await.json(), json!({"state": "never-heard-of"}));
    let error = StatusError {
        error_code: "c".to_owned(),
        error_msg: "m".to_owned(),
        error_type: "verify_server_error".to_owned(),
    };
    sim.set_status(P, &ids[0], Status { error: Some(error), ..Status::new("error") });
    assert_eq!(client.show(&ids[0]).await.json()["error"]["error_type"], "verify_server_error");
    sim.remove(P, &ids[0]);
    let reply = client.show(&ids[0]).await;
    assert_eq!(reply.refusal(), (404, "iMetal.0200".to_owned()));
    assert_eq!(reply.json()["error_msg"], format!("Instances not found: [{}]", ids[0]));
}

#[tokio::test]
async fn a_list_returns_the_ids_that_exist() {
    let (sim, client) = start(Options::default()).await;
    let (known, unknown) = (sim.ids(P, 90), sim.fresh_ids(10));
    sim.add_instances("project-b", unknown.iter().cloned());
    let asked = [unknown, known.clone()].concat();
    let reply = client.list(&format!("{}&limit=1000", ids_query(&asked))).await;
    assert_eq!((reply.status, reply.ids()), (200, known));
    let body = reply.json();
    assert_eq!((&body["count"], &body["page_info"]["current_count"]), (&json!(90), &json!(90)));
    let too_many = [asked, sim.fresh_ids(1)].concat();
    assert_eq!(client.list(&ids_query(&too_many)).await.refusal(), (400, "iMetal.0001".to_owned()));
}

#[tokio::test]
async fn items_have_the_documented_fields() {
    let (sim, client) = start(Options::default()).await;
    sim.ids(P, 1);
    let item = client.list("").await.json()["instances"][0].clone();
    for name in ["id", "name", "vpc_id", "state", "server_id", "created_at", "updated_at", "launched_at"] {
        assert!(item[name].is_string(), "{name}");
    }
    assert!(
        item["tags"].is_array() && item["image"]["os_type"].is_string() && item["image"]["id"].is_string()
    );
    assert!(item["network_interfaces"][0]["subnet_id"].is_string());
}

#[tokio::test]
async fn limits_below_ten_and_above_a_thousand_are_traps() {
    let (sim, client) = start(Options::default()).await;
    sim.ids(P, 1_001);
    for (query, rows) in [
        ("", 10),
        ("limit=", 10),
        ("limit=1", 10),
        ("limit=11", 11),
        ("limit=1000", 1000),
        ("limit=2000", 1000),
    ] {
        assert_eq!(client.list(query).await.ids().len(), rows, "{query}");
    }
    assert_eq!(client.list("limit=all").await.refusal(), (400, "iMetal.0001".to_owned()));
}

#[tokio::test]
async fn pages_lead_forth_and_back() {
    let (sim, client) = start(Options::default()).await;
    let ids = sim.ids(P, 25);
    let first = client.list("limit=10").await;
    let info = first.json()["page_info"].clone();
    assert_eq!((&info["previous_marker"], first.json()["count"].as_u64()), (&Value::Null, Some(25)));
    let marker =
        |reply: &common::Reply, name: &str| reply.json()["page_info"][name].as_str().unwrap().to_owned();
    let next = marker(&first, "next_marker");
    assert!(!ids.contains(&next), "opaque");
    let second = client.list(&format!("limit=10&marker={next}")).await;
    // What is removed meanwhile moves no page.
    sim.remove(P, &ids[0]);
    let third = client.list(&format!("limit=10&marker={}", marker(&second, "next_marker"))).await;
    assert_eq!([first.ids(), second.ids(), third.ids()].concat(), ids);
    assert_eq!(third.json()["page_info"]["next_marker"], Value::Null);
    let back = client.list(&format!("limit=10&marker={}", marker(&third, "previous_marker"))).await;
    assert_eq!(back.ids(), second.ids());
    let start = client.list(&format!("limit=10&marker={}", marker(&second, "previous_marker"))).await;
    assert_eq!(start.ids(), ids[1..11]);
    assert_eq!(client.list("marker=10").await.refusal(), (400, "iMetal.0001".to_owned()));
}

#[tokio::test]
async fn the_last_page_is_marked_as_chosen() {
    for (last_page, next) in
        [(LastPage::Null, Some(Value::Null)), (LastPage::Empty, Some(json!(""))), (LastPage::Absent, None)]
    {
        let (sim, client) = start(Options { last_page, ..Options::default() }).await;
        sim.ids(P, 1);
        let info = client.list("").await.json()["page_info"].clone();
        assert_eq!(info.get("next_marker"), next.as_ref(), "{last_page:?}");
    }
}

#[tokio::test]
async fn filters() {
    let (sim, client) = start(Options::default()).await;
    let ids = sim.ids(P, 12);
    sim.set_state(P, &ids[3], "stopped");
    assert_eq!(client.list(&ids_query(&[ids[0].clone(), ids[0].clone()])).await.ids(), ids[..1]);
    assert_eq!(client.list("instance_state=stopped").await.ids(), ids[3..4]);
    let server = client.list(&ids_query(&ids[5..6])).await.json()["instances"][0]["server_id"].clone();
    let server = server.as_str().unwrap();
    assert_eq!(client.list(&format!("server_id={server}")).await.ids(), ids[5..6]);
    let both = format!("server_id={server}&{}", ids_query(&ids));
    assert_eq!(client.list(&both).await.refusal(), (400, "iMetal.0001".to_owned()));
    assert_eq!(client.list("instance_id=no-uuid").await.refusal(), (400, "iMetal.0001".to_owned()));
}

#[tokio::test]
async fn pages_may_be_shorter_than_asked_for() {
    let (sim, client) = start(Options { page_rows: Some(4), ..Options::default() }).await;
    let ids = sim.ids(P, 6);
    let query = format!("{}&limit=1000", ids_query(&ids));
    let first = client.list(&query).await;
    let marker = first.json()["page_info"]["next_marker"].as_str().unwrap().to_owned();
    let second = client.list(&format!("{query}&marker={marker}")).await;
    assert_eq!((first.ids(), second.ids()), (ids[..4].to_vec(), ids[4..].to_vec()));
    sim.set_page_rows(None);
    assert_eq!(client.list(&query).await.ids(), ids);
    sim.set_page_rows(Some(1));
    sim.reset();
    let ids = sim.ids(P, 6);
    assert_eq!(
        client.with_token("value").list("").await.status,
        401,
        "known after the start, not after a reset"
    );
    sim.add_token("tests", "value", clouddc_simulator::Projects::All);
    assert_eq!(client.list("").await.ids(), ids[..4], "as in the options");
}

#[tokio::test]
async fn a_hundred_rows_may_have_32_kib_of_user_data_each() {
    let (sim, client) = start(Options { user_data_bytes: 32 << 10, ..Options::default() }).await;
    let ids = sim.ids(P, 100);
    let query = format!("{}&limit=1000", ids_query(&ids));
    let reply = client.list(&query).await;
    assert_eq!(reply.ids(), ids);
    let size = |row: &Value| row["user_data"].as_str().unwrap().len();
    assert!(reply.json()["instances"].as_array().unwrap().iter().all(|row| size(row) == 32 << 10));
    assert!((3 << 20..4 << 20).contains(&reply.text.len()), "{}", reply.text.len());
    // 32 KiB before the encoding.
    sim.set_user_data_bytes(43_692);
    assert!(client.list(&query).await.text.len() > 4 << 20);
    sim.set_user_data_bytes(0);
    assert!(client.list(&query).await.json()["instances"][0].get("user_data").is_none());
}
