use std::sync::Arc;

use serde_json::{Value, json};

use crate::{Change, MemoryApiServer};

const ALL: &str = "/apis/clouddc.dev/v1alpha1/namespaces/fleet/instancedeletions";
const ONE: &str = "/apis/clouddc.dev/v1alpha1/namespaces/fleet/instancedeletions/a";

fn server() -> (MemoryApiServer, Arc<Value>) {
    let mut server = MemoryApiServer::new();
    let object = json!({"metadata": {"name": "a"}, "spec": {"suspend": true}});
    let made = server.handle("POST", ALL, object.to_string().as_bytes());
    assert_eq!(made.code, 201);
    (server, made.body)
}

#[test]
fn a_write_that_changes_nothing_makes_no_version() {
    let (mut server, object) = server();
    let written = server.handle("PUT", &format!("{ONE}/status"), object.to_string().as_bytes());
    assert_eq!((written.code, server.history().len()), (200, 1));
    assert_eq!(written.body["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
}

#[test]
fn a_finalizer_keeps_an_object_until_it_is_removed() {
    let (mut server, _) = server();
    let place = server.history()[0].place.clone();
    assert!(server.edit(&place, |o| o["metadata"]["finalizers"] = json!(["x/y"])));
    assert_eq!(server.handle("DELETE", ONE, b"").body["metadata"]["generation"], 2);
    assert!(server.get(&place).is_some());
    assert!(server.edit(&place, |o| o["metadata"]["finalizers"] = json!([])));
    assert!(server.get(&place).is_none());
    assert_eq!(server.history().last().map(|v| v.change), Some(Change::Deleted));
}

#[test]
fn paths_of_nothing_are_refused() {
    let (mut server, _) = server();
    for (method, path, code) in [
        ("GET", "/healthz", 404),
        ("GET", "/api/v1/namespaces/fleet/secrets/s", 404),
        ("DELETE", "/apis/clouddc.dev/v1alpha1/namespaces/fleet/instancedeletions", 405),
    ] {
        assert_eq!(server.handle(method, path, b"").code, code, "{path}");
    }
    assert_eq!(server.handle("PUT", ONE, b"{").code, 400);
}

#[test]
fn a_list_holds_the_objects_of_its_kind_and_namespace() {
    let mut server = MemoryApiServer::new();
    let guard = |name: &str| serde_json::to_vec(&json!({"metadata": {"name": name}})).unwrap();
    let guards = "/apis/clouddc.dev/v1alpha1/deletionguards";
    assert_eq!(server.handle("POST", guards, &guard("b")).code, 201);
    assert_eq!(server.handle("POST", guards, &guard("a")).code, 201);
    assert_eq!(server.handle("POST", "/api/v1/namespaces", &guard("fleet")).code, 201);
    let names = |server: &mut MemoryApiServer, path: &str| {
        let reply = server.handle("GET", path, b"");
        let items = reply.body["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut server, guards), ["a", "b"]);
    assert_eq!(server.handle("GET", "/api/v1/namespaces/fleet", b"").code, 200);
    assert_eq!(server.handle("GET", "/api/v1/namespaces/other", b"").code, 404);
    assert!(names(&mut server, "/apis/clouddc.dev/v1alpha1/namespaces/fleet/instancedeletions").is_empty());
}
