//! What a platform team does with guards, and what instances are called.

use std::sync::Arc;

use fake_api_server::Place;
use serde_json::{Value, json};

use crate::{
    plan::{GuardAct, NAMESPACES, NameAct, PROJECT, UNEXPECTED},
    record::{Guards, Writer},
    sim::{Life, Sim},
};

/// Name of the guard that holds.
const HOLDING: &str = "hold";
/// Name of the guard that protects.
const PROTECTING: &str = "protect";

fn place(name: &str) -> Place {
    Place {
        group: "clouddc.dev".to_owned(),
        plural: "deletionguards".to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// Creates the namespaces, each with the label of its name, and a guard that protects nothing yet.
pub fn populate(sim: &Arc<Sim>) {
    for name in NAMESPACES {
        let namespaces = Place {
            group: String::new(),
            plural: "namespaces".to_owned(),
            namespace: String::new(),
            name: String::new(),
        };
        let labels = json!({"kubernetes.io/metadata.name": name});
        let body = json!({"metadata": {"name": name, "labels": labels}});
        sim.at_api(Writer::Other, |api| api.create(&namespaces, body));
    }
    let body = json!({
        "metadata": {"name": PROTECTING},
        "spec": {"protected": {"instances": [], "names": []}},
    });
    sim.at_api(Writer::Other, |api| api.create(&place(""), body));
    note(sim);
}

/// Does something to the guards. Processes hear of it by their watch, at once or not at all.
pub fn act(sim: &Arc<Sim>, act: &GuardAct) {
    sim.say(format_args!("platform team: {act:?}"));
    match act {
        GuardAct::Hold(namespace) => {
            let mut spec = json!({"hold": {"reason": "change freeze"}});
            if let Some(name) = namespace.and_then(|n| NAMESPACES.get(n)) {
                spec["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
            }
            let body = json!({"metadata": {"name": HOLDING}, "spec": spec});
            sim.at_api(Writer::Other, |api| {
                if api.get(&place(HOLDING)).is_none() {
                    api.create(&place(""), body);
                } else {
                    api.edit(&place(HOLDING), |guard| guard["spec"] = spec);
                }
            });
        }
        GuardAct::LetGo => {
            sim.at_api(Writer::Other, |api| api.delete(&place(HOLDING), &Value::Null));
        }
        GuardAct::Protect(id) => protect(sim, "instances", json!({"id": id, "reason": "kept"})),
        GuardAct::ProtectNames => protect(sim, "names", json!(format!("{UNEXPECTED}*"))),
    }
    note(sim);
    let contexts = sim.with(|state| {
        let heard = state.random.chance(0.7);
        let living = state.processes.iter().filter(|process| *process.life.borrow() != Life::Dead);
        living.filter(|_| heard).map(|process| process.context.clone()).collect::<Vec<_>>()
    });
    contexts.into_iter().filter_map(|context| context.upgrade()).for_each(|context| context.guards_changed());
}

fn protect(sim: &Arc<Sim>, list: &str, entry: Value) {
    sim.at_api(Writer::Other, |api| {
        api.edit(&place(PROTECTING), |guard| {
            if let Some(entries) = guard["spec"]["protected"][list].as_array_mut()
                && !entries.contains(&entry)
            {
                entries.push(entry);
            }
        })
    });
}

/// Notes the guards as they are from now on.
fn note(sim: &Sim) {
    sim.at(|state, moment| {
        let specs = state.api.list("deletionguards").map(|(_, guard)| guard["spec"].clone()).collect();
        state.record.guards.push(Guards { moment, specs });
    });
}

/// Changes what lists tell of an instance's name.
pub fn name(sim: &Sim, id: &str, act: NameAct) {
    sim.say(format_args!("cloud: {act:?} of the name of {id}"));
    let now = sim.now();
    sim.with(|state| {
        let Some(mut facts) = state.cloud.facts(PROJECT, id).cloned() else { return };
        match act {
            NameAct::Change => facts.name = format!("{UNEXPECTED}{id}"),
            NameAct::Hide => drop(facts.left_out.insert("name".to_owned())),
            NameAct::Tell => drop(facts.left_out.remove("name")),
        }
        state.cloud.set_facts(PROJECT, id, facts, now);
    });
}

/// Gives an instance a name that is expected.
pub fn christen(sim: &Sim, id: &str) {
    let now = sim.now();
    sim.with(|state| {
        if let Some(mut facts) = state.cloud.facts(PROJECT, id).cloned() {
            facts.name = format!("rack-12-{id}");
            state.cloud.set_facts(PROJECT, id, facts, now);
        }
    });
}
