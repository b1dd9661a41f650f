//! What users do.

use std::sync::Arc;

use fake_api_server::Place;
use instance_deletion_controller::controller::Key;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::{
    plan::{NAMESPACES, ObjectPlan, PROJECT, REGION, SECRET, SecretAct, TOKENS, UserAct},
    record::Writer,
    sim::{Sim, place_of, secret_place},
};

/// Creates an object.
pub fn create(sim: &Arc<Sim>, object: &ObjectPlan) {
    let mut spec = json!({
        "region": REGION,
        "projectID": PROJECT,
        "credentialsSecretRef": {"name": SECRET},
        "instanceIDs": object.ids,
    });
    if let Some(fields) = spec.as_object_mut() {
        fields.extend(object.further.clone());
    }
    if object.dry_run {
        spec["dryRun"] = json!(true);
    }
    let body = json!({
        "apiVersion": "clouddc.dev/v1alpha1",
        "kind": "InstanceDeletion",
        "metadata": {"name": object.key.name, "namespace": object.key.namespace},
        "spec": spec,
    });
    sim.say(format_args!("user: creates {} of {} ids", object.key.name, object.ids.len()));
    sim.at_api(Writer::Other, |api| api.create(&place_of(&object.key), body));
}

/// Does something to an object.
pub fn act(sim: &Arc<Sim>, object: &ObjectPlan, act: UserAct) {
    sim.say(format_args!("user: {act:?} {}", object.key.name));
    let place = place_of(&object.key);
    match act {
        UserAct::Suspend => edit(sim, &place, |o| o["spec"]["suspend"] = json!(true)),
        UserAct::Resume => edit(sim, &place, |o| o["spec"]["suspend"] = json!(false)),
        UserAct::Go => edit(sim, &place, |o| {
            if o["spec"]["dryRun"] == true {
                o["spec"]["dryRun"] = json!(false);
            }
        }),
        UserAct::RemoveLimit => edit(sim, &place, |o| {
            if let Some(rollout) = o["spec"]["rollout"].as_object_mut() {
                rollout.remove("limit");
            }
        }),
        UserAct::Delete => delete(sim, &place),
        UserAct::Leave => {
            edit(sim, &place, |o| o["metadata"]["finalizers"] = json!(["foregroundDeletion"]));
            delete(sim, &place);
        }
        UserAct::Recreate => {
            delete(sim, &place);
            create(sim, object);
        }
    }
}

fn delete(sim: &Arc<Sim>, place: &Place) {
    sim.at_api(Writer::Other, |api| api.delete(place, &Value::Null));
}

fn edit(sim: &Arc<Sim>, place: &Place, change: impl FnOnce(&mut Value)) {
    sim.at_api(Writer::Other, |api| api.edit(place, change));
}

/// Lets everything go on that a user has stopped: suspended objects, and those that a finalizer keeps.
pub fn let_go(sim: &Arc<Sim>, object: &ObjectPlan) {
    let place = place_of(&object.key);
    let leaving =
        sim.with(|s| s.api.get(&place).is_some_and(|o| o["metadata"].get("deletionTimestamp").is_some()));
    if leaving {
        edit(sim, &place, |o| o["metadata"]["finalizers"] = json!([]));
    }
    let suspended = sim.with(|s| s.api.get(&place).is_some_and(|o| o["spec"]["suspend"] == true));
    if suspended {
        act(sim, object, UserAct::Resume);
    }
    let limited = sim.with(|s| s.api.get(&place).is_some_and(|o| !o["spec"]["rollout"]["limit"].is_null()));
    if limited {
        act(sim, object, UserAct::RemoveLimit);
    }
}

/// Does something to the Secret of a namespace.
pub fn secret(sim: &Arc<Sim>, namespace: usize, act: SecretAct) {
    sim.say(format_args!("user: {act:?} Secret of {}", NAMESPACES[namespace]));
    let key = Key { namespace: NAMESPACES[namespace].to_owned(), name: SECRET.to_owned() };
    let place = secret_place(&key);
    let (old, new) = (TOKENS[namespace], TOKENS[namespace + 2]);
    let current = sim.with(|s| if s.cloud_refuses(old) { new } else { old });
    let data = |token: &str| json!({"token": ByteString(token.as_bytes().to_vec())});
    let store = |data: Value| {
        sim.at_api(Writer::Other, |api| {
            if api.get(&place).is_none() {
                let body =
                    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": data});
                api.create(&place, body);
            } else {
                api.edit(&place, |secret| secret["data"] = data);
            }
        });
    };
    match act {
        SecretAct::Remove => delete(sim, &place),
        SecretAct::Spoil => store(data("no token at all")),
        SecretAct::Restore => store(data(current)),
        SecretAct::Rotate => {
            sim.with(|s| {
                s.cloud.revoke_token(old);
                s.cloud.add_token(NAMESPACES[namespace], new);
                s.refused.push(old.to_owned());
            });
            store(data(new));
        }
    }
}
