//! What expectations, guards and the rollout let be called: E1, E3, F2, G3, G5, G7, R1, R4, R5.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    Findings,
    scope::name,
    view::{Seen, Sent, View},
};
use crate::{
    plan::UNEXPECTED,
    record::{Moment, list, text},
};

/// For how long after a change of a guard a call that it forbids may still leave.
const GRACE: Duration = Duration::from_secs(5);
/// How old the read may be on which a call rests.
const LOOK_LIFE: Duration = Duration::from_mins(1);

/// Checks every call that left and deletes or powers off.
pub fn check(view: &View<'_>, findings: &mut Findings) {
    for sent in &view.sent {
        let Some(decision) = sent.decision else { continue };
        let Some(object) = &decision.object else { continue };
        guards(view, sent, &decision.key.namespace, findings);
        expected(view, sent, object, findings);
        rollout(sent, object, findings);
    }
}

/// The guards of a namespace that were in force at some moment of the last seconds before a call left.
fn in_force<'a>(view: &'a View<'_>, sent: &Sent<'_>, namespace: &'a str) -> Vec<Vec<&'a Value>> {
    let all = &view.record.guards;
    let from = sent.left.at.saturating_sub(GRACE);
    let ends = |n: usize| all.get(n + 1).map(|next| next.moment);
    let overlaps = |n: usize, begins: Moment| begins < sent.left && ends(n).is_none_or(|end| end.at >= from);
    let in_force = all.iter().enumerate().filter(|(n, guards)| overlaps(*n, guards.moment));
    in_force
        .map(|(_, guards)| guards.specs.iter().filter(|spec| selects(spec, namespace)).collect())
        .collect()
}

fn selects(spec: &Value, namespace: &str) -> bool {
    let wanted = text(spec, "/namespaceSelector/matchLabels/kubernetes.io~1metadata.name");
    wanted.is_empty() || wanted == namespace
}

/// G3, G5 and G7: a call that every state of the guards forbids in the seconds before it does not leave.
fn guards(view: &View<'_>, sent: &Sent<'_>, namespace: &str, findings: &mut Findings) {
    let states = in_force(view, sent, namespace);
    let always = |forbids: &dyn Fn(&Value) -> bool| {
        !states.is_empty() && states.iter().all(|specs| specs.iter().any(|spec| forbids(spec)))
    };
    let held = always(&|spec| !spec["hold"].is_null());
    findings.check("G7", !held, || format!("{} although a guard held", name(sent)));
    for id in &sent.ids {
        let protected =
            always(&|spec| list(spec, "/protected/instances").iter().any(|one| text(one, "/id") == id));
        findings.check("G7", !protected, || format!("{} names {id}, which is protected", name(sent)));
        let names = always(&|spec| !list(spec, "/protected/names").is_empty());
        let passes = reads(view, sent, id).any(|seen| !is_unexpected(seen) && seen.name.is_some());
        findings.check("G3", !names || passes, || {
            format!("{} names {id}, and no read showed a name that is not protected", name(sent))
        });
    }
}

fn is_unexpected(seen: &Seen) -> bool {
    seen.name.as_deref().is_some_and(|name| name.starts_with(UNEXPECTED))
}

/// Reads that showed an instance alive and on which a call may rest.
fn reads<'a>(view: &'a View<'_>, sent: &'a Sent<'_>, id: &'a str) -> impl Iterator<Item = &'a Seen> {
    let fresh = move |seen: &&Seen| seen.is_live() && sent.left.at.saturating_sub(seen.sent.at) <= LOOK_LIFE;
    view.seen_before(sent.call.process, id, sent.call.started).filter(fresh)
}

/// E3 and F2: a read showed each id as expected. E1: before the first call, every id was read, and none that is alive otherwise.
fn expected(view: &View<'_>, sent: &Sent<'_>, object: &Value, findings: &mut Findings) {
    if object["spec"]["expect"].is_null() {
        return;
    }
    for id in &sent.ids {
        let right = reads(view, sent, id).any(|seen| seen.name.is_some() && !is_unexpected(seen));
        findings
            .check("E3", right, || format!("{} names {id}, and no read showed it as expected", name(sent)));
    }
    let named = list(object, "/status/instances").iter().any(|row| !row["batch"].is_null());
    if named {
        return;
    }
    let ids: BTreeSet<&str> = list(object, "/spec/instanceIDs").iter().filter_map(Value::as_str).collect();
    let ended = |id: &str| {
        let row = super::view::row(&object["status"], id);
        super::view::rank(row) == 3
    };
    for id in ids.into_iter().filter(|id| !ended(id)) {
        let mut known = view.seen_before(sent.call.process, id, sent.call.started);
        let fine = known.any(|seen| !seen.is_live() || (seen.name.is_some() && !is_unexpected(seen)));
        findings.check("E1", fine, || format!("{} before {id} was read and seen as expected", name(sent)));
    }
}

/// R1, R4 and R5.
fn rollout(sent: &Sent<'_>, object: &Value, findings: &mut Findings) {
    let bound = |field: &str| object.pointer(&format!("/spec/rollout/{field}")).and_then(Value::as_u64);
    if let Some(limit) = bound("limit") {
        let mut first: Vec<&str> = Vec::new();
        for id in list(object, "/spec/instanceIDs").iter().filter_map(Value::as_str) {
            if !first.contains(&id) {
                first.push(id);
            }
        }
        first.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let within = sent.ids.iter().all(|id| first.contains(&id.as_str()));
        findings.check("R1", within, || format!("{} names ids beyond the limit {limit}", name(sent)));
    }
    if let (Some(most), Some(put)) = (bound("maxInFlight"), sent.intent) {
        let on_their_way = |status: &Value| {
            let rows = list(status, "/instances").iter();
            let takes_room = |row: &&Value| {
                matches!(super::view::rank(Some(row)), 1 | 2) || text(row, "/phase") == "PoweringOff"
            };
            rows.filter(takes_room).count() as u64
        };
        let after = on_their_way(&put.status);
        let first = |id: &String| super::view::rank(super::view::row(&object["status"], id)) == 0;
        // What is sent once more takes no more room.
        let more = sent.ids.iter().any(first);
        findings.check("R4", !more || after <= most, || {
            format!("{}: {after} are on their way, and {most} may be", name(sent))
        });
    }
    if let Some(most) = bound("maxFailed") {
        let failed = object["status"]["summary"]["failed"].as_u64().unwrap_or(0);
        findings.check("R5", failed <= most, || {
            format!("{} after {failed} failures, and {most} are allowed", name(sent))
        });
    }
}
