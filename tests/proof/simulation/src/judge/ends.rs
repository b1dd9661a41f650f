//! Ends: L1, L8, and S11.

use std::collections::BTreeMap;

use fake_api_server::Change;
use serde_json::Value;

use super::{Findings, scope::name, view::View};
use crate::record::{Moment, Stored, Writer, list, text};

/// Checks that every object ended, and that nothing was done after its end.
pub fn check(view: &View<'_>, findings: &mut Findings) {
    let record = view.record;
    for object in &record.open {
        findings.check("L1", false, || format!("{object} did not end after the last fault"));
    }
    for leak in &record.leaks {
        findings.check("S11", false, || leak.clone());
    }
    for version in &record.versions {
        let ttl = version.object["spec"].get("ttlSecondsAfterFinished").is_some();
        let by_process = matches!(version.writer, Writer::Process(_));
        findings.check("L8", !by_process || (ttl && is_finished(&version.object)), || {
            format!("a process deleted {}, which had no end or no TTL", version.key.name)
        });
    }
    let mut ended: BTreeMap<&str, (Moment, &Stored)> = BTreeMap::new();
    for version in record.versions.iter().filter(|v| v.change != Change::Deleted) {
        let uid = text(&version.object, "/metadata/uid");
        if let Some((_, last)) = ended.get_mut(uid) {
            if matches!(version.writer, Writer::Put(_)) {
                let rv = text(&version.object, "/metadata/resourceVersion");
                findings.check("L8", may_follow(&last.object, &version.object), || {
                    format!("version {rv} of {} was written after its end", version.key.name)
                });
            }
            *last = version;
        } else if is_finished(&version.object) {
            ended.insert(uid, (version.moment, version));
        }
    }
    for sent in &view.sent {
        let Some(put) = sent.intent else { continue };
        let Some((end, _)) = ended.get(put.uid.as_str()) else { continue };
        findings
            .check("L8", put.sent < *end, || format!("{} was made after the end of its object", name(sent)));
    }
    let Some(quiet) = record.quiet else { return };
    if !record.open.is_empty() {
        return;
    }
    let calls = record.calls.iter().filter(|call| call.started > quiet).count();
    let puts = record.puts.iter().filter(|put| put.sent > quiet).count();
    findings.check("L8", calls == 0 && puts == 0, || {
        format!("{calls} calls and {puts} writes after every object had ended")
    });
}

fn is_finished(object: &Value) -> bool {
    list(object, "/status/conditions").iter().any(|c| c["type"] == "Finished" && c["status"] == "True")
}

/// After its end an object is written only to say that an edit of its spec, or a request, was seen.
fn may_follow(before: &Value, after: &Value) -> bool {
    let edited = before["metadata"]["generation"] != before["status"]["observedGeneration"];
    let asked = before.pointer("/metadata/annotations/reconcile.fluxcd.io~1requestedAt")
        != before.pointer("/status/lastHandledReconcileAt");
    let bare = |object: &Value| {
        let mut status = object["status"].clone();
        if let Some(fields) = status.as_object_mut() {
            fields
                .retain(|name, _| !matches!(name.as_str(), "observedGeneration" | "lastHandledReconcileAt"));
        }
        if let Some(conditions) = status["conditions"].as_array_mut() {
            for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
                condition.remove("observedGeneration");
            }
        }
        status
    };
    (edited || asked) && bare(before) == bare(after)
}
