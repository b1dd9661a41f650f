//! What people and tools read: S16.

use fake_api_server::Change;
use serde_json::Value;

use super::Findings;
use crate::record::{Record, Stored, Writer, list, text};

const LONGEST: usize = 1_100;

/// Checks every version that a process wrote.
pub fn check(record: &Record, findings: &mut Findings) {
    for version in record.versions.iter().filter(|v| v.change != Change::Deleted) {
        if !matches!(version.writer, Writer::Put(_)) {
            continue;
        }
        let status = &version.object["status"];
        let mut bad = |what: String| {
            let rv = text(&version.object, "/metadata/resourceVersion");
            findings.check("S16", false, || format!("version {rv} of {}: {what}", version.key.name));
        };
        let observed = status["observedGeneration"].as_i64();
        let generation = version.object["metadata"]["generation"].as_i64();
        if observed.is_none() || observed > generation {
            bad(format!("observedGeneration {observed:?} of generation {generation:?}"));
        }
        conditions(status, &mut bad);
        counters(version, &mut bad);
    }
}

fn conditions(status: &Value, bad: &mut impl FnMut(String)) {
    let all = list(status, "/conditions");
    let find = |kind: &str| all.iter().find(|c| c["type"] == kind);
    let is = |kind: &str| find(kind).is_some_and(|c| c["status"] == "True");
    let (Some(ready), Some(_)) = (find("Ready"), find("Finished")) else {
        return bad("Ready or Finished is missing".to_owned());
    };
    if !is("Finished") && (text(ready, "/reason").is_empty() || text(ready, "/message").is_empty()) {
        bad("Ready does not say what is waited for".to_owned());
    }
    if is("Stalled") && is("Reconciling") {
        bad("both Stalled and Reconciling".to_owned());
    }
    if is("Finished") && is("Reconciling") {
        bad("both Finished and Reconciling".to_owned());
    }
    let phase = text(status, "/phase");
    let bad_end = is("Finished") && phase != "Succeeded";
    if is("Stalled") != bad_end && phase != "InvalidSpec" {
        bad(format!("Stalled does not fit phase {phase}"));
    }
    if is("Finished") != status.get("completionTime").is_some() {
        bad("completionTime does not fit Finished".to_owned());
    }
    for condition in all {
        let message = text(condition, "/message");
        let printable = message.chars().all(|c| !c.is_control());
        if message.chars().count() > LONGEST || !printable {
            bad(format!("a message of {} bytes, printable: {printable}", message.len()));
        }
        if message.contains("<html") || message.contains("{\"error") {
            bad("a message holds a raw body".to_owned());
        }
    }
}

fn counters(version: &Stored, bad: &mut impl FnMut(String)) {
    let status = &version.object["status"];
    let rows = list(status, "/instances");
    if rows.is_empty() {
        return;
    }
    let count = |phase: &str| rows.iter().filter(|row| text(row, "/phase") == phase).count() as u64;
    let said = |name: &str| status["summary"][name].as_u64().unwrap_or(u64::MAX);
    let pairs = [
        ("pending", "Pending"),
        ("submitted", "Submitted"),
        ("accepted", "Accepted"),
        ("terminated", "Terminated"),
        ("notFound", "NotFound"),
        ("failed", "Failed"),
    ];
    let wrong = pairs.iter().find(|(name, phase)| said(name) != count(phase));
    if let Some((name, phase)) = wrong {
        bad(format!("summary says {} {name}, and {} rows are {phase}", said(name), count(phase)));
    }
    if said("total") != rows.len() as u64 {
        bad(format!("summary says {} in all, of {} rows", said("total"), rows.len()));
    }
}
