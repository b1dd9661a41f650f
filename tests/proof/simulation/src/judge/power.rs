//! What may be powered off, and what may be deleted after that: P1, P5, P6, P8.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    Findings,
    scope::name,
    view::{Seen, Sent, View, row},
};
use crate::{
    record::{list, text},
    sim::EPOCH,
};

/// How old the read may be on which a call rests.
const LOOK_LIFE: Duration = Duration::from_mins(1);
/// How long a write may take, with the times that it is made again.
const SLOW_WRITE: Duration = Duration::from_mins(1);
/// The record has whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// Checks every call that left.
pub fn check(view: &View<'_>, findings: &mut Findings) {
    for sent in &view.sent {
        let Some(object) = sent.decision.and_then(|decision| decision.object.as_ref()) else { continue };
        if sent.powers_off {
            let asked = object["spec"].get("powerOff").is_some();
            findings.check("P1", asked, || format!("{} for an object without powerOff", name(sent)));
            reads_running(view, sent, findings);
            of_the_spec(view, sent, object, findings);
        } else if text(object, "/spec/powerOff/when") == "Always" {
            for id in &sent.ids {
                deleted_off(view, sent, object, id, findings);
                not_wanted(view, sent, id, findings);
            }
        }
    }
    vetoes(view, findings);
}

/// The read of an id on which a call rests: the newest that its sender surely knew when it decided, or one that came since, be it
/// while the object was read or in a look that was not over. Which of them the decision knew nobody can tell: it counts as the
/// one that allows most.
fn rests_on<'a>(view: &'a View<'_>, sent: &Sent<'_>, id: &str) -> Option<&'a Seen> {
    let (before, decided) = (sent.intent?.sent, sent.decision?.answered);
    let process = sent.call.process;
    let surely = view.known_before(process, id, decided).map(|seen| seen.sent).max();
    let since = view.seen_before(process, id, before).filter(|seen| Some(seen.sent) >= surely);
    since.max_by_key(|seen| (seen.state == "stopped", seen.state != "running", seen.sent))
}

/// P1: a fresh row of a list showed each instance running on the server that the call names.
fn reads_running(view: &View<'_>, sent: &Sent<'_>, findings: &mut Findings) {
    let Some(put) = sent.intent else { return };
    for (id, server) in sent.ids.iter().zip(&sent.call.ids) {
        let fits = |seen: &Seen| {
            seen.state == "running"
                && seen.server.as_ref() == Some(server)
                && sent.left.at.saturating_sub(seen.started.at) <= LOOK_LIFE
        };
        let read = view.seen_before(sent.call.process, id, put.sent).any(fits);
        findings.check("P1", read, || {
            format!("{} names server {server}, and no fresh read showed {id} running on it", name(sent))
        });
    }
}

/// P1: what it powers off is in the spec, unless the server was given to another instance after the read.
fn of_the_spec(view: &View<'_>, sent: &Sent<'_>, object: &Value, findings: &mut Findings) {
    let spec: BTreeSet<&str> = list(object, "/spec/instanceIDs").iter().filter_map(Value::as_str).collect();
    let late = |server: &String| {
        let reused = view.record.reused.iter().filter(|(_, reused)| reused == server);
        reused.map(|(at, _)| *at).min().is_some_and(|at| at.at + LOOK_LIFE >= sent.left.at)
    };
    let excused = sent.call.ids.iter().any(late);
    for id in sent.call.applied.iter().filter(|id| !spec.contains(id.as_str())) {
        findings.check("P1", excused, || {
            format!("{} powers {id} off, which its object does not list", name(sent))
        });
    }
}

/// Since when an instance is off, as the record has said without a break. The write of it may have taken up to [`SLOW_WRITE`].
fn off_since(view: &View<'_>, sent: &Sent<'_>, id: &str) -> Option<Duration> {
    let uid = sent.intent?.uid.as_str();
    let versions = view
        .record
        .versions
        .iter()
        .filter(|version| text(&version.object, "/metadata/uid") == uid && version.moment < sent.left);
    let mut since = None;
    for version in versions {
        let row = row(&version.object["status"], id);
        let recorded = row.and_then(|row| row["poweredOffAt"].as_str()?.parse::<Timestamp>().ok());
        let at = |recorded: Timestamp| u64::try_from(recorded.as_second() - EPOCH).unwrap_or(0);
        let recorded = recorded.map(|recorded| Duration::from_secs(at(recorded)));
        let earliest = version.moment.at.saturating_sub(SLOW_WRITE);
        since = recorded.map(|recorded| since.unwrap_or(recorded.max(earliest)));
    }
    since
}

/// P8: an instance that runs is not deleted. P5: one that was off has been so for the soak, and is.
fn deleted_off(view: &View<'_>, sent: &Sent<'_>, object: &Value, id: &str, findings: &mut Findings) {
    let Some(seen) = rests_on(view, sent, id) else { return };
    findings.check("P8", seen.state != "running", || {
        format!("{} names {id}, which its sender last read running", name(sent))
    });
    let phase = row(&object["status"], id).map_or("", |row| text(row, "/phase"));
    // What is sent again fell to an error, and an instance that is booting or in error is deleted as it is.
    if matches!(phase, "Accepted" | "Submitted") || seen.is_error() || seen.state == "pending" {
        return;
    }
    findings.check("P5", seen.state == "stopped", || {
        format!("{} names {id}, last read as {}", name(sent), seen.state)
    });
    let soak = Duration::from_secs(object["spec"]["powerOff"]["soakSeconds"].as_u64().unwrap_or(0));
    if soak.is_zero() {
        return;
    }
    let off = off_since(view, sent, id).map(|since| sent.left.at.saturating_sub(since) + ROUNDING);
    findings.check("P5", off.is_some_and(|off| off >= soak), || {
        format!("{} names {id}, off for {off:?} by the record, of {soak:?}", name(sent))
    });
}

/// P6: no sender deletes what it has read on again after the record said that it is off.
fn not_wanted(view: &View<'_>, sent: &Sent<'_>, id: &str, findings: &mut Findings) {
    let (Some(decision), Some(put)) = (sent.decision, sent.intent) else { return };
    let says_off = view.record.gets.iter().filter(|get| {
        let object = get.object.as_ref().filter(|object| text(object, "/metadata/uid") == put.uid);
        let row = object.and_then(|object| row(&object["status"], id));
        get.process == sent.call.process && row.is_some_and(|row| text(row, "/phase") == "PoweredOff")
    });
    let since = says_off.map(|get| get.answered).filter(|at| *at < decision.answered).min();
    let Some(since) = since else { return };
    let on = view
        .known_before(sent.call.process, id, decision.answered)
        .find(|seen| seen.sent > since && matches!(seen.state.as_str(), "running" | "pending"));
    findings.check("P6", on.is_none(), || {
        format!("{} names {id}, which its sender had read on again", name(sent))
    });
}

/// P6: what a record says was powered on again is named in no later call for that object.
fn vetoes(view: &View<'_>, findings: &mut Findings) {
    for version in &view.record.versions {
        let uid = text(&version.object, "/metadata/uid");
        let rows = list(&version.object, "/status/instances").iter();
        for vetoed in rows.filter(|row| text(row, "/reason") == "PoweredOnAgain") {
            let id = text(vetoed, "/id");
            let later = view.sent.iter().find(|sent| {
                sent.intent.is_some_and(|put| put.uid == uid && put.sent > version.moment)
                    && sent.ids.iter().any(|named| named == id)
            });
            findings.check("P6", later.is_none(), || {
                format!("{} names {id}, which was vetoed before", later.map(name).unwrap_or_default())
            });
        }
    }
}
