//! What may be recorded: S4, S5, S6, S7.

use std::collections::{BTreeMap, BTreeSet};

use fake_api_server::Change;
use serde_json::Value;

use super::{
    Findings,
    view::{View, heard, last_get, listed, rank, row},
};
use crate::{
    plan::Plan,
    record::{Put, Stored, Writer, list, text},
};

/// Checks every version and every acknowledged write.
pub fn check(view: &View<'_>, plan: &Plan, findings: &mut Findings) {
    let mut last: BTreeMap<&str, &Stored> = BTreeMap::new();
    for version in view.record.versions.iter().filter(|v| v.change != Change::Deleted) {
        let before = last.insert(text(&version.object, "/metadata/uid"), version);
        let nothing = Value::Null;
        let before = before.map_or(&nothing, |before| &before.object["status"]);
        let status = &version.object["status"];
        if before == status {
            continue;
        }
        monotone(version, before, status, findings);
        if let Writer::Put(put) = version.writer
            && let Some(put) = view.record.puts.get(put)
        {
            honest(view, plan, put, before, &version.object, findings);
        }
        succeeded(view, version, before, findings);
    }
    complete(view, findings);
}

fn name(version: &Stored) -> String {
    format!("version {} of {}", text(&version.object, "/metadata/resourceVersion"), version.key.name)
}

/// S7.
fn monotone(version: &Stored, before: &Value, status: &Value, findings: &mut Findings) {
    let rows = list(status, "/instances");
    for (n, old) in list(before, "/instances").iter().enumerate() {
        let id = text(old, "/id");
        let new = rows.get(n).filter(|new| text(new, "/id") == id).or_else(|| row(status, id));
        findings.check("S7", goes_forward(old, new), || {
            format!("{}: {id} went from {old} to {new:?}", name(version))
        });
        findings.check("S7", rank(Some(old)) < 3 || new == Some(old), || {
            format!("{}: the end of {id} changed from {old} to {new:?}", name(version))
        });
    }
}

/// Whether a row went forward: to a later phase, or, as long as no delete call was accepted, to being powered off by another
/// call.
fn goes_forward(old: &Value, new: Option<&Value>) -> bool {
    let step = |row: &Value| match text(row, "/phase") {
        "PoweringOff" => 1,
        "PoweredOff" => 2,
        "Submitted" => 3,
        "Accepted" => 4,
        "Terminated" | "NotFound" | "Failed" => 5,
        _ => 0,
    };
    let Some(new) = new else { return step(old) == 0 };
    let batch = |row: &Value| row["batch"].as_u64().unwrap_or(0);
    let powers_off = text(new, "/phase") == "PoweringOff" && batch(new) > batch(old);
    step(new) >= step(old) || (powers_off && step(old) < 4)
}

/// S4 and S6, for rows that this write changed.
fn honest(view: &View<'_>, plan: &Plan, put: &Put, before: &Value, object: &Value, findings: &mut Findings) {
    let (status, fails) = (&object["status"], object["spec"]["notFoundPolicy"] == "Fail");
    let old_rows = list(before, "/instances");
    for (n, new) in list(status, "/instances").iter().enumerate() {
        let id = text(new, "/id");
        let (phase, was) = (text(new, "/phase"), old_rows.get(n).map_or("", |old| text(old, "/phase")));
        if phase == was {
            continue;
        }
        let what = |why: &str| {
            format!(
                "the write of process {} at {:?} records {id} as {phase}: {why}",
                put.process, put.sent.at
            )
        };
        let mut seen = view.seen_before(put.process, id, put.sent);
        match phase {
            "Accepted" => {
                let replied = view.sent.iter().any(|sent| {
                    !sent.powers_off
                        && sent.call.process == put.process
                        && sent.intent.is_some_and(|intent| intent.uid == put.uid)
                        && heard(sent.call)
                            .is_some_and(|(at, reply)| at < put.sent && listed(reply).contains(id))
                });
                findings.check("S4", replied || seen.any(|seen| seen.state == "shutting-down"), || {
                    what("no reply listed it, and no read showed it shutting down")
                });
            }
            "Terminated" => findings.check("S6", seen.any(super::view::Seen::is_terminated), || {
                what("no read showed it terminated")
            }),
            "NotFound" => {
                let known = was == "Accepted"
                    || matches!(was, "PoweringOff" | "PoweredOff")
                    || view.sent.iter().any(|sent| sent.ids.iter().any(|named| named == id))
                    || new.get("batch").is_some()
                    || seen.clone().any(super::view::Seen::is_on_its_way);
                findings.check("S6", known || !fails, || what("under Fail, and it was never known"));
                let ended = view.sent.iter().filter(|sent| {
                    sent.call.process == put.process && sent.ids.iter().any(|named| named == id)
                });
                let ended = ended.filter_map(|sent| sent.call.outcome.as_ref()).map(|(end, _)| *end);
                let ended = ended.filter(|end| *end < put.sent).max();
                let reads: Vec<_> = seen
                    .filter(|seen| seen.state == "not found" && ended.is_none_or(|end| seen.sent > end))
                    .collect();
                let apart = reads.iter().any(|first| {
                    reads.iter().any(|second| second.sent.at >= first.started.at + plan.settings.settle)
                });
                findings.check("S6", apart, || what("not two reads --settle apart found it missing"));
            }
            _ => {}
        }
    }
}

/// S6, of a whole object.
fn succeeded(view: &View<'_>, version: &Stored, before: &Value, findings: &mut Findings) {
    let status = &version.object["status"];
    let finished = list(status, "/conditions").iter().find(|c| c["type"] == "Finished");
    let Some(finished) = finished.filter(|c| c["status"] == "True") else { return };
    let rows = list(status, "/instances");
    let phase = text(status, "/phase");
    if phase != "Succeeded" {
        return;
    }
    let gone = rows.iter().all(|row| matches!(text(row, "/phase"), "Terminated" | "NotFound"));
    findings.check("S6", gone && !rows.is_empty(), || {
        format!("{} succeeded with an instance left", name(version))
    });
    let named = rows.iter().any(|row| text(row, "/phase") == "Terminated" || row.get("batch").is_some());
    let ids: BTreeSet<&str> = rows.iter().map(|row| text(row, "/id")).collect();
    let reads = view.seen.iter().filter(|((_, id), _)| ids.contains(id.as_str()));
    let found = reads.flat_map(|(_, seen)| seen).any(|seen| !matches!(seen.state.as_str(), "" | "not found"));
    let nothing = text(finished, "/reason") == "NothingFound";
    findings.check("S6", named || found || nothing, || {
        format!("{} succeeded, and no instance was ever known", name(version))
    });
    let on_its_way = list(before, "/instances").iter().any(|row| text(row, "/phase") == "Accepted");
    findings.check("S6", !nothing || !(named || on_its_way), || {
        format!("{} says that nothing was found, and an instance was on its way", name(version))
    });
}

/// S5: what a reply listed is in the next write that was decided after it came.
fn complete(view: &View<'_>, findings: &mut Findings) {
    for sent in view.sent.iter().filter(|sent| !sent.powers_off) {
        let (Some((at, reply)), Some(intent)) = (heard(sent.call), sent.intent) else { continue };
        let json = reply
            .headers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("content-type") && value.contains("json"));
        if !json {
            continue;
        }
        let next = view.record.puts.iter().find(|put| {
            put.process == sent.call.process
                && put.uid == intent.uid
                && put.acknowledged().is_some()
                && last_get(view.record, put.process, put, put.sent).is_some_and(|get| get.answered > at)
        });
        let Some(next) = next else { continue };
        for id in listed(reply).iter().filter(|id| sent.ids.contains(id)) {
            findings.check("S5", rank(row(&next.status, id)) >= 2, || {
                format!(
                    "{}: its reply lists {id}, and the next write does not record it",
                    super::scope::name(sent)
                )
            });
        }
    }
}
