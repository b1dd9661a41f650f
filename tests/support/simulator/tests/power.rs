//! ChangeServerPowerState, what it makes of servers and instances, and who else switches the power.

mod common;

use std::{collections::BTreeSet, time::Duration};

use clouddc_simulator::{
    Delivery, EndTime, Entry, Fault, InMemoryCloud, InMemoryRequest, Operation, Options, PowerAction,
    PowerCourse, Projects, RateLimit, RowFacts, Stage, Vocabulary,
};
use common::{Client, P, ids_query, servers_of, start};
use serde_json::{Value, json};

const TAKES: Duration = Duration::from_secs(1_000);

fn slow() -> Options {
    Options { power_end: EndTime::Fixed(TAKES), end: EndTime::Fixed(TAKES), ..Options::default() }
}

fn quick() -> Options {
    Options { power_end: EndTime::Fixed(Duration::ZERO), ..slow() }
}

/// `power_state` and `operation_state` as ShowServer has them.
async fn shown(client: &Client, server: &str) -> (String, String) {
    let row = client.server(server).await.json();
    let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    (text("power_state"), text("operation_state"))
}

fn pair(power: &str, operation: &str) -> (String, String) {
    (power.to_owned(), operation.to_owned())
}

async fn state(client: &Client, id: &str) -> String {
    client.show(id).await.json()["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn accepted_servers_are_powered_off_and_on_after_their_time() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 50);
    let servers = servers_of(&sim, &ids);
    assert_eq!(shown(&client, &servers[0]).await, pair("on", ""), "nothing was done yet");
    let steps = [
        ("power off", "running", "on", "power-off", "stopped", "off"),
        ("power on", "stopped", "off", "power-on", "running", "on"),
        ("rebooting", "running", "on", "reboot", "running", "on"),
    ];
    for (action, before, was, operation, after, is) in steps {
        let reply = client.power(action, &servers).await;
        let accepted: Vec<Value> = servers.iter().map(|id| json!({"id": id})).collect();
        assert_eq!((reply.status, reply.json()), (200, json!({"physical_servers": accepted})), "{action}");
        let (first, last) = (&servers[0], &servers[49]);
        assert_eq!(shown(&client, first).await, pair(was, &format!("{operation}-processing")), "{action}");
        assert_eq!(state(&client, &ids[0]).await, before, "{action} is under way");
        sim.advance(TAKES);
        assert_eq!(shown(&client, last).await, pair(is, &format!("{operation}-succeed")), "{action}");
        assert_eq!(state(&client, &ids[49]).await, after, "{action} is over");
        assert_eq!(client.list(&ids_query(&ids[..1])).await.json()["instances"][0]["state"], after);
    }
}

#[tokio::test]
async fn requests_that_are_refused_change_nothing() {
    let (sim, client) = start(quick()).await;
    let ids = sim.ids(P, 51);
    let servers = servers_of(&sim, &ids);
    let one = &servers[0];
    for (body, refusal) in [
        (json!({}), (400, "iMetal.0002")),
        (json!({"server_id_set": [one]}), (400, "iMetal.0002")),
        (json!({"action": null, "server_id_set": [one]}), (400, "iMetal.0002")),
        (json!({"action": "power off"}), (400, "iMetal.0002")),
        (json!({"action": "power off", "server_id_set": null}), (400, "iMetal.0002")),
        (json!({"action": "power off", "server_id_set": []}), (400, "iMetal.0002")),
        (json!({"action": "poweroff", "server_id_set": [one]}), (400, "iMetal.0001")),
        (json!({"action": "off", "server_id_set": [one]}), (400, "iMetal.0001")),
        (json!({"action": "POWER OFF", "server_id_set": [one]}), (400, "iMetal.0001")),
        (json!({"action": ["power off"], "server_id_set": [one]}), (400, "iMetal.0001")),
        (json!({"action": "power off", "server_id_set": servers}), (400, "iMetal.0001")),
        (json!({"action": "power off", "server_id_set": [one, "no-uuid"]}), (400, "iMetal.0001")),
        (json!({"action": "power off", "server_id_set": [one, one.to_uppercase()]}), (400, "iMetal.0001")),
        (json!({"action": "power off", "server_id_set": one}), (400, "iMetal.0001")),
        (json!({"action": "power off", "server_id_set": [one, 7]}), (400, "iMetal.0001")),
        (json!(["power off"]), (400, "iMetal.0001")),
        // The ids of instances are not those of servers.
        (json!({"action": "power off", "server_id_set": [ids[0]]}), (404, "iMetal.0100")),
        (json!({"action": "power off", "server_id_set": [one, ids[0]]}), (404, "iMetal.0100")),
    ] {
        let reply = client.put_power(&body.to_string()).await.unwrap();
        assert_eq!(reply.refusal(), (refusal.0, refusal.1.to_owned()), "{body}");
    }
    assert_eq!(client.put_power("{").await.unwrap().refusal(), (400, "iMetal.0001".to_owned()));
    let path = format!("/v1/{P}/physicalservers/power-state");
    let body = json!({"action": "power off", "server_id_set": [one]}).to_string();
    let plain = client.send("PUT", &path, &[("X-Auth-Token", "value")], Some(body)).await.unwrap();
    assert_eq!(plain.refusal(), (400, "APIGW.0106".to_owned()), "a PUT has a Content-Type");
    let posted = client.send("POST", &path, &[("X-Auth-Token", "value")], None).await.unwrap();
    assert_eq!(posted.refusal(), (404, "APIGW.0101".to_owned()));
    assert!(sim.instances(P).iter().all(|(_, status)| status.state == "running"));
    assert!(sim.power_calls().iter().all(|call| !call.applied && call.powered_ids.is_empty()));
    assert!(sim.power_courses(P).is_empty());
}

#[tokio::test]
async fn unknown_servers_and_those_in_an_action_refuse_the_whole_call_and_are_named() {
    let (sim, client) = start(slow()).await;
    let (ids, unknown) = (sim.ids(P, 3), sim.fresh_ids(2));
    let servers = servers_of(&sim, &ids);
    sim.add_instances("project-b", [unknown[1].clone()]);
    let elsewhere = sim.facts("project-b", &unknown[1]).unwrap().server.id;
    let both = [unknown[0].clone(), elsewhere.clone()];
    let reply = client.power("power off", &[servers.clone(), both.to_vec()].concat()).await;
    assert_eq!(reply.refusal(), (404, "iMetal.0100".to_owned()));
    let message = format!("Physical servers ID not found: [{}, {elsewhere}]", unknown[0]);
    assert_eq!(reply.json()["error_msg"], message);

    assert_eq!(client.power("power off", &servers[1..2]).await.status, 200);
    for action in ["power off", "power on", "rebooting"] {
        let reply = client.power(action, &servers).await;
        assert_eq!(reply.refusal(), (400, "iMetal.0101".to_owned()), "{action}");
        let message = format!("Physical servers state is not ready: [{}]", servers[1]);
        assert_eq!(reply.json()["error_msg"], message, "{action}");
    }
    let reply = client.power("power off", &[servers.clone(), both.to_vec()].concat()).await;
    assert_eq!(reply.refusal(), (404, "iMetal.0100".to_owned()), "an unknown id comes first");
    sim.advance(TAKES);
    let states: Vec<_> = sim.instances(P).into_iter().map(|(_, status)| status.state).collect();
    assert_eq!(states, ["running", "stopped", "running"]);
    assert_eq!(client.power("power off", &servers).await.status, 200, "none is in an action any more");
}

#[tokio::test]
async fn a_call_changes_only_running_and_stopped_instances() {
    let (sim, client) = start(quick()).await;
    let (id, server) = (sim.ids(P, 1).remove(0), |id: &String| sim.facts(P, id).unwrap().server.id);
    let server = server(&id);
    // The state before; the action; the state after, the power after, and whether the log tells of a change.
    let table = [
        ("running", "power off", "stopped", "off", true),
        ("running", "power on", "running", "on", false),
        ("running", "rebooting", "running", "on", true),
        ("stopped", "power off", "stopped", "off", false),
        ("stopped", "power on", "running", "on", true),
        ("stopped", "rebooting", "running", "on", true),
        ("pending", "power off", "pending", "off", false),
        ("error", "power off", "error", "off", false),
        ("failed", "power off", "failed", "off", false),
        ("shutting-down", "power off", "shutting-down", "off", false),
        ("shutting-down", "power on", "shutting-down", "on", false),
        ("terminated", "power off", "terminated", "off", false),
        ("terminated", "power on", "terminated", "on", false),
        ("never-heard-of", "power off", "never-heard-of", "off", false),
    ];
    for (before, action, after, power, told) in table {
        // On first, whatever was before.
        sim.set_state(P, &id, "running");
        sim.set_state(P, &id, before);
        assert_eq!(
            client.power(action, std::slice::from_ref(&server)).await.status,
            200,
            "{before} {action}"
        );
        assert_eq!(sim.state(P, &id).as_deref(), Some(after), "{before} {action}");
        assert_eq!(sim.power_state(P, &id), Some(power), "{before} {action}");
        let call = sim.power_calls().pop().unwrap();
        assert_eq!((call.applied, call.powered_ids.len()), (told, usize::from(told)), "{before} {action}");
        let gone = before == "terminated";
        assert_eq!(call.instance_ids.is_empty(), gone, "{before} {action}: who is on the server");
        assert!(call.applied_ids.is_empty(), "no deletion began");
    }
}

#[tokio::test]
async fn a_server_that_is_off_already_is_powered_off_at_once() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    let servers = servers_of(&sim, &ids);
    sim.set_state(P, &ids[0], "stopped");
    assert!(sim.fail_power_offs(P, &ids[0], 1));
    for _ in 0..2 {
        assert_eq!(client.power("power off", &servers).await.status, 200);
        assert_eq!(shown(&client, &servers[0]).await, pair("off", "power-off-succeed"));
    }
    let told = sim.power_courses(P);
    assert!(told.iter().all(|course| course.ends == Some(course.accepted) && course.changed.is_none()));
    // The failure is left for one that has something to do.
    sim.set_state(P, &ids[0], "running");
    client.power("power off", &servers).await;
    sim.advance(TAKES);
    assert_eq!(shown(&client, &servers[0]).await, pair("on", "power-off-failed"));
}

#[tokio::test]
async fn power_offs_fail_as_often_as_told_and_may_be_repeated() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 2);
    let servers = servers_of(&sim, &ids);
    assert!(sim.fail_power_offs(P, &ids[0], 2) && !sim.fail_power_offs(P, "unknown", 2));
    for time in 1..=3 {
        let reply = client.power("power off", &servers[..1]).await;
        assert_eq!(reply.status, 200, "{time}");
        assert_eq!(shown(&client, &servers[0]).await, pair("on", "power-off-processing"), "{time}");
        sim.advance(TAKES);
        let (expected, state) = if time < 3 {
            (pair("on", "power-off-failed"), "running")
        } else {
            (pair("off", "power-off-succeed"), "stopped")
        };
        assert_eq!(shown(&client, &servers[0]).await, expected, "{time}");
        assert_eq!(sim.state(P, &ids[0]).as_deref(), Some(state), "{time}");
    }
    let fails: Vec<bool> = sim.power_courses(P).iter().map(|course| course.fails).collect();
    assert_eq!(fails, [true, true, false]);
}

#[tokio::test]
async fn times_are_drawn_for_each_action_and_may_differ_by_instance() {
    let power_end = EndTime::Uniform { min: TAKES, max: TAKES * 1_000 };
    let (sim, client) = start(Options { power_end: power_end.clone(), ..slow() }).await;
    let ids = sim.ids(P, 4);
    let servers = servers_of(&sim, &ids);
    assert!(sim.set_power_end_of(P, &ids[0], EndTime::Never));
    assert!(sim.set_power_end_of(P, &ids[1], EndTime::Fixed(TAKES)));
    assert!(!sim.set_power_end_of(P, "unknown", EndTime::Never));
    client.power("power off", &servers).await;
    sim.advance(TAKES * 1_001);
    client.power("power on", &servers[1..]).await;
    sim.set_power_end(EndTime::Fixed(Duration::ZERO));
    sim.advance(TAKES * 1_001);
    client.power("power off", &servers[3..]).await;
    let took: Vec<Option<Duration>> = sim
        .power_courses(P)
        .iter()
        .map(|one| one.ends.map(|ends| ends.saturating_sub(one.accepted)))
        .collect();
    assert_eq!((took[0], took[1], took[4]), (None, Some(TAKES), Some(TAKES)));
    assert_eq!(took[7], Some(Duration::ZERO));
    let drawn: BTreeSet<_> = [took[2], took[3], took[5], took[6]].into_iter().flatten().collect();
    assert_eq!(drawn.len(), 4, "{drawn:?}");
    assert!(drawn.iter().all(|took| (TAKES..=TAKES * 1_000).contains(took)), "{drawn:?}");

    let (again, client) = start(Options { power_end, ..slow() }).await;
    let ids = again.ids(P, 4);
    client.power("power off", &servers_of(&again, &ids)[2..]).await;
    let repeated = again
        .power_courses(P)
        .iter()
        .map(|one| one.ends.map(|ends| ends.saturating_sub(one.accepted)))
        .collect::<Vec<_>>();
    assert_eq!(repeated, took[2..4], "of the seed, the server and the number of the action");
}

#[tokio::test]
async fn an_operator_switches_the_power_at_any_moment() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    let (id, servers) = (&ids[0], servers_of(&sim, &ids));
    assert!(sim.power_off(P, id));
    assert_eq!(state(&client, id).await, "stopped");
    assert_eq!(shown(&client, &servers[0]).await, pair("off", "power-off-succeed"));
    assert!(sim.power_on(P, id));
    assert_eq!(state(&client, id).await, "running");
    assert_eq!(shown(&client, &servers[0]).await, pair("on", "power-on-succeed"));
    assert!(sim.power_courses(P).is_empty(), "no call did it");

    // In the middle of a call's action: that changes nothing any more.
    client.power("power off", &servers).await;
    assert!(sim.power_on(P, id));
    sim.advance(TAKES);
    assert_eq!((state(&client, id).await.as_str(), sim.power_state(P, id)), ("running", Some("on")));
    assert_eq!(sim.power_courses(P)[0].changed, None);
    assert_eq!(client.power("power off", &servers).await.status, 200, "it is in no action");
    sim.advance(TAKES);
    assert_eq!(state(&client, id).await, "stopped");

    for (state, obeys) in
        [("pending", false), ("error", false), ("shutting-down", false), ("terminated", false)]
    {
        sim.set_state(P, id, state);
        assert_eq!((sim.power_on(P, id), sim.power_off(P, id)), (obeys, obeys), "{state}");
        assert_eq!(sim.state(P, id).as_deref(), Some(state));
    }
    assert!(!sim.power_on(P, "unknown") && sim.power_state(P, "unknown").is_none());
}

#[tokio::test]
async fn a_state_set_by_hand_ends_an_action_and_the_power_follows() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    let servers = servers_of(&sim, &ids);
    for (state, power) in [("running", "on"), ("stopped", "off"), ("error", "off")] {
        sim.set_state(P, &ids[0], "running");
        client.power("power off", &servers).await;
        sim.set_state(P, &ids[0], if state == "error" { "stopped" } else { state });
        sim.set_state(P, &ids[0], state);
        sim.advance(TAKES);
        assert_eq!(sim.state(P, &ids[0]).as_deref(), Some(state));
        assert_eq!(shown(&client, &servers[0]).await, pair(power, ""), "{state}");
    }
    sim.set_state(P, &ids[0], "running");
    client.power("power off", &servers).await;
    sim.remove(P, &ids[0]);
    assert_eq!(client.server(&servers[0]).await.refusal(), (404, "iMetal.0100".to_owned()));
    sim.advance(TAKES);
    assert!(sim.power_courses(P).iter().all(|course| course.changed.is_none()));
}

#[tokio::test]
async fn a_deletion_frees_the_server_and_another_instance_gets_it() {
    let (sim, client) = start(Options { vanish_after: Some(TAKES * 10), ..slow() }).await;
    let ids = sim.ids(P, 2);
    let servers = servers_of(&sim, &ids);
    assert_eq!(sim.reuse_server(P, &ids[0]), None, "it is in use");
    assert_eq!(sim.reuse_server(P, "unknown"), None);
    client.power("power off", &servers[..1]).await;
    sim.advance(TAKES);
    assert_eq!(client.delete(&ids[..1]).await.status, 202);
    assert_eq!(sim.reuse_server(P, &ids[0]), None, "the deletion is under way");
    sim.advance(TAKES);
    assert_eq!(client.server(&servers[0]).await.json()["manage_state"], "ready");
    assert_eq!(
        shown(&client, &servers[0]).await,
        pair("off", "power-off-succeed"),
        "the deletion leaves it off"
    );
    assert_eq!(sim.on_servers(P, &servers), ids[1..]);

    client.power("rebooting", &servers[..1]).await;
    assert_eq!(sim.reuse_server(P, &ids[0]), None, "it is in an action");
    sim.advance(TAKES);
    let next = sim.reuse_server(P, &ids[0]).unwrap();
    assert_eq!(sim.facts(P, &next).unwrap().server, sim.facts(P, &ids[0]).unwrap().server);
    assert_eq!(sim.on_servers(P, &servers), [next.clone(), ids[1].clone()]);
    assert_eq!(shown(&client, &servers[0]).await, pair("on", ""));
    let all = client.get(&format!("/v1/{P}/physicalservers?limit=100")).await.json();
    assert_eq!((&all["count"], &all["servers"][0]["manage_state"]), (&json!(2), &json!("in-use")));
    let on_it = client.list(&format!("limit=100&server_id={}", servers[0])).await;
    assert_eq!(on_it.ids(), [ids[0].clone(), next.clone()], "the terminated one still names its server");

    // A call for the server is a call for the instance that is on it now.
    client.power("power off", &servers[..1]).await;
    sim.advance(TAKES);
    assert_eq!(sim.state(P, &next).as_deref(), Some("stopped"));
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("terminated"));
    let call = sim.power_calls().pop().unwrap();
    assert_eq!((&call.instance_ids, &call.powered_ids), (&vec![next.clone()], &vec![next.clone()]));
    assert_eq!(sim.power_courses(P).pop().unwrap().instance, Some(next));
}

#[tokio::test]
async fn an_instance_that_leaves_during_the_action_is_not_changed_by_it() {
    let (sim, client) = start(Options { end: EndTime::Fixed(TAKES / 2), ..slow() }).await;
    let ids = sim.ids(P, 3);
    let servers = servers_of(&sim, &ids);
    assert!(sim.fail_deletions(P, &ids[1], 1));
    client.power("power off", &servers).await;
    assert_eq!(client.delete(&ids[..2]).await.status, 202);
    // The third moves to another server.
    let elsewhere = sim.fresh_ids(1).remove(0);
    assert!(sim.change_facts(P, &ids[2], |facts| facts.server.id.clone_from(&elsewhere)));
    sim.advance(TAKES);
    let states: Vec<_> = sim.instances(P).into_iter().map(|(_, status)| status.state).collect();
    assert_eq!(states, ["terminated", "error", "running"]);
    assert!(sim.power_courses(P).iter().all(|course| course.changed.is_none()));
    assert_eq!((sim.power_state(P, &ids[0]), sim.power_state(P, &ids[2])), (Some("off"), Some("on")));
    assert_eq!(client.server(&servers[2]).await.status, 404, "no instance tells of that server any more");
}

#[tokio::test]
async fn a_cloud_that_refuses_to_delete_running_instances_takes_them_when_stopped() {
    for named in [true, false] {
        let options = Options { running_deletable: false, refusals_named: named, ..slow() };
        let (sim, client) = start(options).await;
        let ids = sim.ids(P, 3);
        sim.set_state(P, &ids[1], "stopped");
        let refused = client.delete(&ids).await;
        assert_eq!(refused.refusal(), (400, "iMetal.0201".to_owned()));
        let message = refused.json()["error_msg"].as_str().unwrap().to_owned();
        assert!(message.starts_with("In"), "all that the documents tell of the text");
        let told: Vec<bool> = ids.iter().map(|id| message.contains(id)).collect();
        assert_eq!(told, [named, false, named], "{message}");
        assert!(sim.instances(P).iter().all(|(_, status)| status.state != "shutting-down"));

        client.power("power off", &servers_of(&sim, &ids)).await;
        assert_eq!(client.delete(&ids).await.status, 400, "the action is under way");
        sim.advance(TAKES);
        assert_eq!(client.delete(&ids).await.status, 202);
    }
    let (sim, client) = start(Options { running_deletable: false, ..slow() }).await;
    let ids = sim.ids(P, 1);
    sim.set_running_deletable(true);
    assert_eq!(client.delete(&ids).await.status, 202);
}

#[tokio::test]
async fn servers_are_listed_and_shown_with_their_states() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 3);
    let servers = servers_of(&sim, &ids);
    assert!(sim.change_facts(P, &ids[0], |facts| facts.server.rack = "12".to_owned()));
    client.power("power off", &servers[..1]).await;
    sim.set_state(P, &ids[1], "stopped");
    sim.set_state(P, &ids[2], "terminated");
    let list = client.get(&format!("/v1/{P}/physicalservers?limit=100")).await.json();
    let rows = list["servers"].as_array().unwrap();
    let states: Vec<_> = rows
        .iter()
        .map(|row| {
            (row["manage_state"].as_str(), row["power_state"].as_str(), row["operation_state"].as_str())
        })
        .collect();
    let expected = [
        (Some("in-use"), Some("on"), Some("power-off-processing")),
        (Some("in-use"), Some("off"), None),
        (Some("ready"), Some("on"), None),
    ];
    assert_eq!(states, expected);
    assert_eq!(rows[0]["location"]["rack"], "12");
    for (row, server) in rows.iter().zip(&servers) {
        let shown = client.server(server).await;
        assert_eq!((shown.status, &shown.json()), (200, row));
    }
    assert_eq!(client.server(&sim.fresh_ids(1)[0]).await.refusal(), (404, "iMetal.0100".to_owned()));
    // Operations of the vendor that are not simulated.
    for name in ["status", "alarms", "events", "power-state"] {
        assert_eq!(client.server(name).await.refusal(), (404, "APIGW.0101".to_owned()), "{name}");
    }
    assert_eq!(sim.calls(Operation::ShowServer)[0].ids, servers[..1]);
    sim.set_row_facts(RowFacts::Absent);
    let bare = client.server(&servers[0]).await.json();
    assert_eq!((&bare["operation_state"], bare.get("location")), (&json!("power-off-processing"), None));
}

#[tokio::test]
async fn the_log_tells_of_a_call_and_the_courses_when_each_instance_changed() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 4);
    let servers = servers_of(&sim, &ids);
    assert!(sim.set_power_end_of(P, &ids[1], EndTime::Never));
    assert!(sim.fail_power_offs(P, &ids[2], 1));
    sim.set_state(P, &ids[3], "stopped");
    client.power("power off", &servers).await;
    let call = sim.power_calls().remove(0);
    assert_eq!((&call.ids, &call.instance_ids), (&servers, &ids));
    assert_eq!((call.action.as_deref(), call.token.as_deref()), (Some("power off"), Some("tests")));
    assert_eq!((call.status, call.applied, &call.returned_ids), (Some(200), true, &servers));
    assert_eq!(call.powered_ids, ids[..3], "the fourth was off already");
    assert!(call.applied_ids.is_empty(), "nothing is deleted");
    assert_eq!((call.method.as_str(), call.delivery), ("PUT", Delivery::Delivered));
    let entry: Entry = serde_json::from_value(json!(call)).unwrap();
    assert_eq!(entry, call, "as the admin interface has it");

    sim.advance(TAKES);
    let told = sim.power_courses(P);
    assert!(told.iter().all(|course| course.action == PowerAction::Off));
    let accepted = told[0].accepted;
    assert!((call.received_ms.into()..=call.finished_ms.unwrap().into()).contains(&accepted.as_millis()));
    let course = |at: usize, ends: Option<Duration>, fails: bool, changed: Option<Duration>| PowerCourse {
        action: PowerAction::Off,
        server: servers[at].clone(),
        instance: Some(ids[at].clone()),
        accepted,
        ends,
        fails,
        changed,
    };
    let end = Some(accepted + TAKES);
    let expected = [
        course(0, end, false, end),
        course(1, None, false, None),
        course(2, end, true, None),
        course(3, Some(accepted), false, None),
    ];
    assert_eq!(told, expected);
    assert!(sim.courses(P).is_empty(), "no deletion began");
}

#[tokio::test]
async fn who_may_not_call_or_calls_too_often_is_refused() {
    let limit = RateLimit::fixed(2, TAKES);
    let (sim, client) = start(Options { delete_limit: Some(limit), ..quick() }).await;
    sim.add_token("narrow", "narrow-value", Projects::Only(vec!["project-b".to_owned()]));
    let ids = sim.ids(P, 1);
    let servers = servers_of(&sim, &ids);
    let wrong = client.with_token("wrong").power("power off", &servers).await;
    assert_eq!(wrong.refusal(), (401, "iMetal.0003".to_owned()));
    let narrow = client.with_token("narrow-value").power("power off", &servers).await;
    assert_eq!(narrow.refusal(), (403, "iMetal.0004".to_owned()));
    // Deletes and power calls are counted together; reads apart.
    assert_eq!(client.delete(&[]).await.status, 400);
    assert_eq!(client.power("power off", &servers).await.status, 200);
    assert_eq!(client.power("power off", &servers).await.refusal(), (429, "iMetal.0005".to_owned()));
    assert_eq!(client.delete(&ids).await.status, 429);
    assert_eq!((client.server(&servers[0]).await.status, client.list("").await.status), (200, 200));
    sim.advance(TAKES);
    assert_eq!(client.power("power on", &servers).await.status, 200);
}

#[tokio::test]
async fn faults_happen_to_power_calls_too() {
    let (sim, client) = start(quick()).await;
    let ids = sim.ids(P, 4);
    let servers = servers_of(&sim, &ids);
    let on = || Fault::on(Operation::ChangeServerPowerState).times(1);
    let states =
        || sim.instances(P).into_iter().map(|(_, status)| status.state == "stopped").collect::<Vec<_>>();
    let reset = || ids.iter().for_each(|id| sim.set_state(P, id, "running"));

    sim.script(on().drop_connection(Stage::BeforeEffect));
    let body = json!({"action": "power off", "server_id_set": servers}).to_string();
    client.put_power(&body).await.unwrap_err();
    assert_eq!(states(), [false; 4]);
    let call = sim.power_calls().pop().unwrap();
    assert_eq!((&call.instance_ids, call.effect_ms, call.powered_ids.len()), (&ids, None, 0));
    sim.script(on().drop_connection(Stage::AfterEffect));
    client.put_power(&body).await.unwrap_err();
    assert_eq!(states(), [true; 4]);
    assert_eq!(sim.power_calls().pop().unwrap().powered_ids, ids);

    reset();
    sim.script(on().with_id(&ids[2]).reply_error(400, "iMetal.0101", "Physical servers state is not ready"));
    assert_eq!(client.power("power off", &servers[..2]).await.status, 200, "the instance is not in it");
    assert_eq!(client.power("power off", &servers[2..]).await.status, 400);
    assert_eq!(states(), [true, true, false, false]);

    reset();
    sim.script(on().with_id(&servers[0]).return_first(1).add_id("foreign"));
    let reply = client.power("power off", &servers).await.json();
    assert_eq!(reply, json!({"physical_servers": [{"id": servers[0]}, {"id": "foreign"}]}));
    assert_eq!(states(), [true, false, false, false]);
    sim.script(on().return_only([servers[3].clone()]).delete_rest());
    assert_eq!(
        client.power("power off", &servers).await.json()["physical_servers"],
        json!([{"id": servers[3]}])
    );
    assert_eq!(states(), [true; 4]);

    reset();
    let canned = json!({"physical_servers": [{"id": servers[1]}]});
    sim.script(on().reply_json(200, &canned).apply_effect());
    client.power("power off", &servers[..1]).await;
    let call = sim.power_calls().pop().unwrap();
    assert_eq!((&call.returned_ids, &call.powered_ids), (&servers[1..2].to_vec(), &ids[..1].to_vec()));
}

#[tokio::test]
async fn reads_may_lag_behind_a_change_of_power() {
    let lag = TAKES / 2;
    let (sim, client) = start(Options { visibility_lag: lag, ..slow() }).await;
    let ids = sim.ids(P, 1);
    let servers = servers_of(&sim, &ids);
    client.power("power off", &servers).await;
    sim.advance(TAKES);
    assert_eq!(state(&client, &ids[0]).await, "running");
    assert_eq!(client.list("limit=10").await.json()["instances"][0]["state"], "running");
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("stopped"), "the truth is known to the test");
    sim.advance(lag);
    assert_eq!(state(&client, &ids[0]).await, "stopped");
    assert!(sim.power_on(P, &ids[0]));
    assert_eq!(state(&client, &ids[0]).await, "running", "what an operator does is seen at once");
}

#[tokio::test]
async fn old_names_of_states() {
    let (sim, client) = start(Options { vocabulary: Vocabulary::Old, ..slow() }).await;
    let ids = sim.ids(P, 3);
    let servers = servers_of(&sim, &ids);
    assert!(sim.fail_power_offs(P, &ids[1], 1));
    client.power("power off", &servers).await;
    let states = || sim.instances(P).into_iter().map(|(_, status)| status.state).collect::<Vec<_>>();
    assert_eq!(states(), ["stopping"; 3]);
    assert_eq!(client.delete(&ids[..1]).await.refusal(), (400, "iMetal.0201".to_owned()));
    assert!(sim.power_on(P, &ids[2]));
    sim.advance(TAKES);
    assert_eq!(states(), ["stopped", "running", "running"]);
}

#[tokio::test]
async fn the_admin_interface_switches_and_tells() {
    let (sim, client) = start(slow()).await;
    let admin = Client::new(sim.admin_url());
    let ids = sim.ids(P, 2);
    let servers = servers_of(&sim, &ids);
    let one = format!("/projects/{P}/instances/{}", ids[0]);
    let power = format!("{one}/power");
    let shown = admin.admin("GET", &power, None).await.json();
    assert_eq!(shown, json!({"server_id": servers[0], "power_state": "on"}));
    assert_eq!(admin.admin("PUT", &power, Some(json!({"power_state": "off"}))).await.status, 204);
    let shown = admin.admin("GET", &power, None).await.json();
    assert_eq!(
        (&shown["power_state"], &shown["operation_state"]),
        (&json!("off"), &json!("power-off-succeed"))
    );
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("stopped"));
    assert_eq!(admin.admin("PUT", &power, Some(json!({"power_state": "on"}))).await.status, 204);
    for bad in [json!({}), json!({"power_state": "up"}), json!({"power_state": "on", "more": 1})] {
        assert_eq!(admin.admin("PUT", &power, Some(bad)).await.status, 422);
    }
    let unknown = format!("/projects/{P}/instances/unknown/power");
    assert_eq!(admin.admin("GET", &unknown, None).await.status, 404);
    assert_eq!(admin.admin("PUT", &unknown, Some(json!({"power_state": "on"}))).await.status, 404);

    assert_eq!(admin.admin("PUT", "/power-end", Some(json!({"fixed": "10m"}))).await.status, 204);
    let course = json!({"power_end": {"fixed": "1m"}, "fail_power_offs": 1});
    assert_eq!(admin.admin("PUT", &one, Some(course)).await.status, 204);
    client.power("power off", &servers).await;
    sim.advance(Duration::from_mins(10));
    let told = admin.admin("GET", &format!("/projects/{P}/power"), None).await.json();
    let (first, second) = (&told["courses"][0], &told["courses"][1]);
    let at = first["accepted_ms"].as_u64().unwrap();
    let expected = json!({
        "action": "power off", "server_id": servers[0], "instance_id": ids[0], "accepted_ms": at,
        "ends_ms": at + 60_000, "fails": true, "changed_ms": null,
    });
    assert_eq!(first, &expected);
    assert_eq!((&second["fails"], &second["changed_ms"]), (&json!(false), &json!(at + 600_000)));
    let log = admin.admin("GET", "/log?operation=ChangeServerPowerState", None).await.json();
    assert_eq!(log["entries"][0]["instance_ids"], json!(ids));

    assert_eq!(
        admin.admin("PUT", "/refusals", Some(json!({"running": true, "named": false}))).await.status,
        204
    );
    let refused = client.delete(&ids).await;
    assert_eq!(refused.json()["error_msg"], "Instances state is not ready");
    assert_eq!(admin.admin("PUT", "/refusals", Some(json!({"running": false}))).await.status, 204);
    assert_eq!(client.delete(&ids).await.status, 202);
    assert_eq!(admin.admin("PUT", "/refusals", Some(json!({"runing": true}))).await.status, 422);

    let path = format!("/projects/{P}/instances");
    let onto = || Some(json!({"on_server_of": ids[1], "facts": {"name": "next"}}));
    assert_eq!(admin.admin("POST", &path, onto()).await.status, 422, "its server is not free");
    sim.advance(TAKES);
    let made = admin.admin("POST", &path, onto()).await;
    assert_eq!(made.status, 201);
    let next = made.json()["ids"][0].as_str().unwrap().to_owned();
    let facts = sim.facts(P, &next).unwrap();
    assert_eq!((facts.name.as_str(), &facts.server.id), ("next", &servers[1]));
}

#[test]
fn the_cloud_in_memory_does_the_same() {
    let mut cloud = InMemoryCloud::new(&slow(), 0);
    cloud.add_token("tests", "value");
    let at = Duration::from_secs;
    let ids = [cloud.fresh_id(), cloud.fresh_id()];
    for id in &ids {
        cloud.set_state(P, id, "running", at(0));
    }
    let servers = ids.clone().map(|id| cloud.facts(P, &id).unwrap().server.id.clone());
    let uri = format!("/v1/{P}/physicalservers/power-state");
    let body = json!({"action": "power off", "server_id_set": servers}).to_string();
    let request = InMemoryRequest { method: "PUT", uri: &uri, token: Some("value"), body: body.as_bytes() };
    let question = InMemoryCloud::question(&request).unwrap();
    assert_eq!(
        (question.operation, question.action.as_deref()),
        (Operation::ChangeServerPowerState, Some("power off"))
    );
    assert_eq!(question.ids, servers);
    assert_eq!(cloud.on_servers(P, &question.ids, at(0)), ids);
    cloud.set_power_course(P, &ids[1], Some(EndTime::Fixed(at(7))), Some(1), at(0));
    let reply = cloud.answer(&question, None, at(1));
    assert_eq!((reply.status, &reply.powered[..], reply.applied.len()), (200, &ids[..], 0));
    assert_eq!(reply.returned, servers);
    let busy = cloud.answer(&question, None, at(7));
    assert_eq!((busy.status, busy.powered.len()), (400, 0));
    let power = cloud.power(P, &ids[1], at(8)).unwrap();
    assert_eq!((power.on, power.operation_state.as_deref()), (true, Some("power-off-failed")));
    assert_eq!(cloud.state(P, &ids[0], at(1) + TAKES).as_deref(), Some("stopped"));
    assert!(cloud.switch(P, &ids[0], true, at(2) + TAKES));
    assert_eq!(cloud.state(P, &ids[0], at(2) + TAKES).as_deref(), Some("running"));
    let changed: Vec<_> = cloud.power_courses(P, at(2) + TAKES).into_iter().map(|one| one.changed).collect();
    assert_eq!(changed, [Some(at(1) + TAKES), None]);
    let next = cloud.fresh_id();
    assert!(!cloud.reuse_server(P, &ids[0], &next, at(2) + TAKES));
    cloud.set_state(P, &ids[0], "terminated", at(3) + TAKES);
    assert!(cloud.reuse_server(P, &ids[0], &next, at(3) + TAKES));
    assert_eq!(cloud.on_servers(P, &servers[..1], at(3) + TAKES), [next]);
    cloud.set_running_deletable(false);
}
