//! The API server in memory, which the simulation uses, answers as the real one does.

use std::time::Duration;

use fake_api_server::MemoryApiServer;
use instance_deletion_controller::api::InstanceDeletion;
use kube::{
    Resource,
    api::{GetParams, ListParams, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{DynamicObject, Request, WatchEvent},
};
use serde_json::{Value, json};

use crate::support::{minor_version, stage};

const ID: &str = "0198170e-4ca7-7ee4-89a7-fa631843920b";
const NAME: &str = "compared";

enum Server {
    Real(kube::Client),
    Memory(Box<MemoryApiServer>),
}

impl Server {
    /// The object of the reply, or the code and reason of an error.
    async fn ask(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, (u16, String)> {
        match self {
            Self::Real(client) => {
                let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
                let mut request = Request::new(path).get("x", &GetParams::default()).unwrap();
                *request.method_mut() = method.parse().unwrap();
                *request.uri_mut() = path.parse().unwrap();
                *request.body_mut() = bytes;
                request.headers_mut().insert("content-type", "application/json".parse().unwrap());
                match client.request_text(request).await {
                    Ok(text) => Ok(serde_json::from_str(&text).unwrap()),
                    Err(kube::Error::Api(status)) => Err((status.code, status.reason.clone())),
                    Err(other) => Err((0, other.to_string())),
                }
            }
            Self::Memory(server) => {
                let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
                let reply = server.handle(method, path, &bytes);
                if reply.code < 300 {
                    Ok(Value::clone(&reply.body))
                } else {
                    Err((reply.code, reply.reason().to_owned()))
                }
            }
        }
    }
}

/// A write, made from the first and the current version of the object.
struct Step {
    name: &'static str,
    method: &'static str,
    status: bool,
    body: fn(&Value, &Value) -> Value,
}

fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() { Some(&mut object) } else { object.pointer_mut(parent) };
    match value {
        Value::Null => drop(parent.unwrap().as_object_mut().unwrap().remove(field)),
        value => parent.unwrap()[field] = value,
    }
    object
}

fn preconditions(uid: &Value, version: &Value) -> Value {
    json!({
        "kind": "DeleteOptions", "apiVersion": "v1",
        "preconditions": {"uid": uid, "resourceVersion": version},
    })
}

const WRONG_UID: &str = "11111111-1111-4111-8111-111111111111";

#[rustfmt::skip]
fn steps() -> Vec<Step> {
    let put = |name, status, body| Step { name, method: "PUT", status, body };
    vec![
        put("a status", true, |_, now| with(now, "/status", json!({"observedGeneration": 1, "phase": "Deleting"}))),
        put("the same status again", true, |_, now| now.clone()),
        put("a status of an old version", true, |first, _| with(first, "/status", json!({"phase": "Failed"}))),
        put("a status for another uid", true, |_, now| with(now, "/metadata/uid", json!(WRONG_UID))),
        put("an old version for another uid", true, |first, _| with(first, "/metadata/uid", json!(WRONG_UID))),
        put("a status without a uid", true, |_, now| {
            with(&with(now, "/metadata/uid", Value::Null), "/status/phase", json!("Throttled"))
        }),
        put("a status without a version", true, |_, now| with(now, "/metadata/resourceVersion", Value::Null)),
        put("a spec in a status", true, |_, now| {
            with(&with(now, "/spec/suspend", json!(true)), "/status/phase", json!("Suspended"))
        }),
        put("labels in a status", true, |_, now| with(now, "/metadata/labels", json!({"a": "b"}))),
        put("no status at all", true, |_, now| with(now, "/status", Value::Null)),
        put("a spec", false, |_, now| with(now, "/spec/suspend", json!(true))),
        put("the same spec again", false, |_, now| now.clone()),
        put("a status in a spec", false, |_, now| with(now, "/status/phase", json!("Failed"))),
        put("a spec of an old version", false, |first, _| first.clone()),
        put("an annotation", false, |_, now| with(now, "/metadata/annotations", json!({"a": "b"}))),
        put("generation and version by hand", false, |_, now| with(now, "/metadata/generation", json!(77))),
        Step { name: "a deletion of another uid", method: "DELETE", status: false,
            body: |_, now| preconditions(&json!(WRONG_UID), &now["metadata"]["resourceVersion"]) },
        Step { name: "a deletion of an old version", method: "DELETE", status: false,
            body: |first, now| preconditions(&now["metadata"]["uid"], &first["metadata"]["resourceVersion"]) },
        Step { name: "a finalizer", method: "PUT", status: false,
            body: |_, now| with(now, "/metadata/finalizers", json!(["example.com/kept"])) },
        Step { name: "a deletion that has to wait", method: "DELETE", status: false, body: |_, _| Value::Null },
        put("a status of one that leaves", true, |_, now| with(now, "/status/phase", json!("Deleting"))),
        put("the last finalizer removed", false, |_, now| with(now, "/metadata/finalizers", Value::Null)),
        put("a status of one that is gone", true, |first, _| first.clone()),
        Step { name: "a deletion of one that is gone", method: "DELETE", status: false, body: |_, _| Value::Null },
        Step { name: "created again", method: "POST", status: false, body: |_, _| manifest() },
        Step { name: "created twice", method: "POST", status: false, body: |_, _| manifest() },
        put("a status for the one before", true, |first, _| first.clone()),
        Step { name: "a deletion", method: "DELETE", status: false,
            body: |_, now| preconditions(&now["metadata"]["uid"], &now["metadata"]["resourceVersion"]) },
    ]
}

fn manifest() -> Value {
    json!({
        "apiVersion": "clouddc.dev/v1alpha1",
        "kind": "InstanceDeletion",
        "metadata": {"name": NAME},
        "spec": {
            "region": "ap-southeast-3",
            "projectID": harness::PROJECT,
            "credentialsSecretRef": {"name": "clouddc"},
            "instanceIDs": [ID],
        },
    })
}

/// The result of a step, without what differs between servers.
async fn run(server: &mut Server, collection: &str) -> Vec<String> {
    let one = format!("{collection}/{NAME}");
    let first = server.ask("POST", collection, &manifest()).await.unwrap();
    let mut before = first.clone();
    let mut told = vec![format!("created: {}", shape(&first, &Value::Null))];
    for step in steps() {
        let body = (step.body)(&first, &before);
        let path = match (step.method, step.status) {
            ("POST", _) => collection.to_owned(),
            (_, true) => format!("{one}/status"),
            (_, false) => one.clone(),
        };
        let outcome = match server.ask(step.method, &path, &body).await {
            Ok(_) => "done".to_owned(),
            Err((code, reason)) => format!("{code} {reason}"),
        };
        let now = server.ask("GET", &one, &Value::Null).await.unwrap_or_default();
        told.push(format!("{}: {outcome}; {}", step.name, shape(&now, &before)));
        if !now.is_null() {
            before = now;
        }
    }
    told
}

/// The object, with what a write has changed.
fn shape(now: &Value, before: &Value) -> String {
    if now.is_null() {
        return "gone".to_owned();
    }
    let same = |pointer: &str| if now.pointer(pointer) == before.pointer(pointer) { "same" } else { "other" };
    format!(
        "uid {}, version {}, generation {}, status {}, suspend {}, labels {}, annotations {}, leaving {}",
        same("/metadata/uid"),
        same("/metadata/resourceVersion"),
        now["metadata"]["generation"],
        now["status"],
        now["spec"]["suspend"],
        now["metadata"]["labels"],
        now["metadata"]["annotations"],
        now["metadata"].get("deletionTimestamp").is_some(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_in_memory_answers_as_the_real_one_does() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stage = stage("memory").await;
    let kubeconfig = Kubeconfig::read_from(stage.control_plane.kubeconfig()).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let collection = InstanceDeletion::url_path(&(), Some(&stage.namespace));
    let list = Request::new(&collection).list(&ListParams::default()).unwrap();
    let list: Value = serde_json::from_str(&client.request_text(list).await.unwrap()).unwrap();
    let from = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();

    let real = run(&mut Server::Real(client.clone()), &collection).await;
    let mut memory = Server::Memory(Box::default());
    let in_memory = run(&mut memory, &collection).await;
    // The one in memory is as the newest.
    let differ = |(memory, real): (&String, &String)| {
        let what = memory.split(':').next().unwrap_or_default().to_owned();
        (memory != real).then_some(what)
    };
    let old = minor_version(&stage) < 31;
    let known: &[&str] = if old { &["labels in a status", "a status of one that is gone"] } else { &[] };
    let differences: Vec<String> = in_memory.iter().zip(&real).filter_map(differ).collect();
    assert!(in_memory.len() == real.len() && differences == known, "{in_memory:?}\n{real:?}");

    let Server::Memory(memory) = memory else { unreachable!() };
    let mut remembered: Vec<String> = memory
        .history()
        .iter()
        .map(|v| format!("{} of generation {}", v.change.word(), v.object["metadata"]["generation"]))
        .collect();
    if old {
        // The labels in a status made a version without them.
        remembered.insert(1, "MODIFIED of generation 1".to_owned());
    }
    let watch = Request::new(&collection).watch(&WatchParams::default().timeout(20), &from).unwrap();
    let events = client.request_events::<DynamicObject>(watch).await.unwrap();
    let mut events = std::pin::pin!(events);
    let mut watched = Vec::new();
    while watched.len() < remembered.len() {
        let next = tokio::time::timeout(Duration::from_secs(20), futures::StreamExt::next(&mut events));
        let (word, object) = match next.await.unwrap().unwrap().unwrap() {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => panic!("neither was asked for"),
        };
        watched.push(format!("{word} of generation {}", object.metadata.generation.unwrap()));
    }
    assert_eq!(remembered, watched);
}
