//! The watch: the events that processes receive, and their faults.

use std::{sync::Arc, time::Duration};

use fake_api_server::Change;
use instance_deletion_controller::controller::Key;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    faults::Kind,
    record::{Stored, text},
    sim::{Life, PLURAL, Sim, key_of},
};

/// What a watch of metadata tells of an object.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// Which object.
    pub key: Key,
    /// Its resourceVersion.
    pub revision: u64,
    /// It is gone.
    pub gone: bool,
    /// What a change that matters changes: uid, generation, annotations.
    pub matter: String,
}

/// Longest time for which a lost event stays unnoticed: kube's watcher asks again after 290 s.
const RELIST: Duration = Duration::from_secs(290);

fn matter(object: &Value) -> String {
    let annotations = object.pointer("/metadata/annotations").map(ToString::to_string).unwrap_or_default();
    format!("{} {} {annotations}", text(object, "/metadata/uid"), object["metadata"]["generation"])
}

fn revision(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap_or(0)
}

/// Tells every process of a version.
pub fn tell(sim: &Arc<Sim>, version: &Stored) {
    let event = WatchEvent {
        key: version.key.clone(),
        revision: revision(&version.object),
        gone: version.change == Change::Deleted,
        matter: matter(&version.object),
    };
    let processes = sim.with(|state| state.processes.len());
    for process in 0..processes {
        if sim.with(|s| s.processes.get(process).is_none_or(|h| *h.life.borrow() == Life::Dead)) {
            continue;
        }
        let kinds = [Kind::WatchLost, Kind::WatchDelayed, Kind::WatchRepeated, Kind::WatchStale];
        let (fault, late) = sim.with(|state| {
            let fault = state.faults.draw_aside(&kinds, &mut state.random);
            (fault, state.random.between(Duration::from_secs(1), Duration::from_mins(1)))
        });
        let soon = Duration::from_millis(5);
        match fault {
            Some(Kind::WatchLost) => {}
            Some(Kind::WatchDelayed) => send_later(sim, process, event.clone(), late),
            Some(Kind::WatchRepeated | Kind::WatchStale) => {
                send_later(sim, process, event.clone(), soon);
                send_later(sim, process, event.clone(), late);
            }
            _ => send_later(sim, process, event.clone(), soon),
        }
    }
}

fn send_later(sim: &Arc<Sim>, process: usize, event: WatchEvent, after: Duration) {
    let sim = sim.clone();
    tokio::spawn(async move {
        sleep(after).await;
        send(&sim, process, event);
    });
}

fn send(sim: &Sim, process: usize, event: WatchEvent) {
    sim.with(|state| {
        if let Some(handle) = state.processes.get(process) {
            // A process that is gone hears nothing.
            let _ = handle.events.send(event);
        }
    });
}

/// Lists everything for a process, at its start and from time to time.
pub async fn list_again_and_again(sim: Arc<Sim>, process: usize) {
    loop {
        let events: Vec<_> = sim.with(|state| {
            let all = state.api.list(PLURAL);
            all.map(|(place, object)| WatchEvent {
                key: key_of(place),
                revision: revision(object),
                gone: false,
                matter: matter(object),
            })
            .collect()
        });
        for event in events {
            send(&sim, process, event);
        }
        sleep(RELIST).await;
        if sim.with(|s| s.processes.get(process).is_none_or(|h| *h.life.borrow() == Life::Dead)) {
            return;
        }
    }
}
