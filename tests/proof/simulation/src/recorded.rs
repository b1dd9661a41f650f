//! Keeps what other tools read of each version, for `tests/conformance/gitops`, in the folder that `RECORDED_VERSIONS` names.

use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    sync::{LazyLock, Mutex, PoisonError},
};

use fake_api_server::Change;
use serde_json::{Value, json};

use crate::record::Record;

struct Recorder {
    file: File,
    /// Seeds come to the same versions again and again: each is kept once.
    kept: HashSet<String>,
}

static RECORDER: LazyLock<Option<Mutex<Recorder>>> = LazyLock::new(|| {
    let folder = std::env::var_os("RECORDED_VERSIONS")?;
    let path = std::path::Path::new(&folder).join(format!("simulation-{}.json", std::process::id()));
    let file = File::create(path).ok()?;
    Some(Mutex::new(Recorder { file, kept: HashSet::new() }))
});

/// Keeps the versions of a run.
pub fn keep(record: &Record) {
    let Some(recorder) = &*RECORDER else { return };
    let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
    for version in record.versions.iter().filter(|v| v.change != Change::Deleted) {
        let read = read_of(&version.object).to_string();
        if !recorder.kept.contains(&read) {
            // A version that is missing makes the count smaller; the test is about something else.
            let _ = writeln!(recorder.file, "{read}");
            recorder.kept.insert(read);
        }
    }
}

/// What kstatus, Argo CD and Flux read.
fn read_of(object: &Value) -> Value {
    let (meta, status) = (&object["metadata"], &object["status"]);
    let conditions = status["conditions"].as_array().map(|all| {
        let one = |c: &Value| json!({"type": c["type"], "status": c["status"], "reason": c["reason"], "message": c["reason"]});
        all.iter().map(one).collect::<Vec<_>>()
    });
    let mut read = json!({
        "apiVersion": "clouddc.dev/v1alpha1",
        "kind": "InstanceDeletion",
        "metadata": {"name": "simulated", "namespace": "fleet", "generation": meta["generation"]},
        "status": {"observedGeneration": status["observedGeneration"], "phase": status["phase"], "conditions": conditions},
    });
    if !meta["deletionTimestamp"].is_null() {
        read["metadata"]["deletionTimestamp"] = meta["deletionTimestamp"].clone();
    }
    if let Some(status) = read["status"].as_object_mut() {
        status.retain(|_, value| !value.is_null());
    }
    read
}
