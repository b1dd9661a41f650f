//! What may be called again: S8, S17.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{
    Findings,
    scope::name,
    view::{Sent, View, heard, listed, rank, refused, row},
};
use crate::{
    plan::Plan,
    record::{Moment, list, text},
};

const LOOK_LIFE: Duration = Duration::from_mins(1);
const PATIENCE: u32 = 10;
/// backoffLimitPerInstance, unless the spec says otherwise.
const LIMIT: u32 = 5;

/// Checks every call that left and deletes or powers off, for each of its ids.
pub fn check(view: &View<'_>, plan: &Plan, findings: &mut Findings) {
    let mut by_id: BTreeMap<&str, Vec<&Sent<'_>>> = BTreeMap::new();
    for sent in &view.sent {
        for id in &sent.ids {
            look_first(view, sent, id, findings);
            known(view, plan, sent, id, findings);
            by_id.entry(id).or_default().push(sent);
        }
    }
    for (id, calls) in by_id {
        for pair in calls.windows(2).filter(|pair| pair[0].powers_off == pair[1].powers_off) {
            if let [first, second] = pair {
                again(view, plan, id, first, second, findings);
            }
        }
        attempts(view, id, &calls, findings);
    }
}

/// An id goes into a call only if its sender has just read it alive, and knows of no later read that says otherwise.
fn look_first(view: &View<'_>, sent: &Sent<'_>, id: &str, findings: &mut Findings) {
    let Some(put) = sent.intent else { return };
    let process = sent.call.process;
    let alive =
        view.seen_before(process, id, put.sent).filter(|seen| seen.is_live()).map(|seen| seen.started);
    let alive = alive.max();
    let fresh = alive.is_some_and(|started| sent.left.at.saturating_sub(started.at) <= LOOK_LIFE);
    findings.check("S17", fresh, || {
        format!("{} names {id}, which its sender has not just read alive", name(sent))
    });
    // A read that came after the decision was not known to it.
    let decided = sent.decision.map_or(put.sent, |get| get.answered);
    let other = view
        .known_before(process, id, decided)
        .find(|seen| !seen.is_live() && alive.is_some_and(|alive| seen.started > alive));
    findings.check("S17", other.is_none(), || {
        let state = other.map_or("", |seen| &seen.state);
        format!("{} names {id}, which its sender last read as {state}", name(sent))
    });
}

/// A call repeats another only after a definite refusal, or when a read sent `--settle` after its end shows the instance
/// alive.
fn again(
    view: &View<'_>,
    plan: &Plan,
    id: &str,
    first: &Sent<'_>,
    second: &Sent<'_>,
    findings: &mut Findings,
) {
    let (Some(put), Some(before)) = (second.intent, first.intent) else { return };
    let same_process = first.call.process == second.call.process;
    if !same_process && put.uid != before.uid {
        // Two processes that work on two objects share nothing: only the cloud can tell.
        return;
    }
    if same_process
        && refused(first.call)
        && first.call.outcome.as_ref().is_some_and(|(end, _)| *end < put.sent)
    {
        return;
    }
    // A refusal that the record of its object tells of is as good as one's own.
    let told = second.decision.and_then(|get| get.object.as_ref()).is_some_and(|object| {
        list(&object["status"], "/batches")
            .iter()
            .any(|batch| batch["number"].as_u64() == Some(first.batch) && batch["noEffect"] == json!(true))
    });
    if put.uid == before.uid && refused(first.call) && told {
        return;
    }
    let end = first.call.outcome.as_ref().map(|(end, _)| end.at).or(first.call.arrived.map(|at| at.at));
    let end = end.unwrap_or(first.left.at);
    let settled = view
        .seen_before(second.call.process, id, put.sent)
        .any(|seen| seen.is_live() && seen.sent.at >= end + plan.settings.settle);
    findings.check("S8", settled, || {
        format!(
            "{} repeats {id} of {}, and no read sent --settle after that shows it alive",
            name(second),
            name(first)
        )
    });
}

/// Calls that use an attempt are bounded, for each object.
fn attempts(view: &View<'_>, id: &str, calls: &[&Sent<'_>], findings: &mut Findings) {
    let mut used: BTreeMap<&str, u32> = BTreeMap::new();
    for sent in calls.iter().filter(|sent| !sent.powers_off) {
        let Some(put) = sent.intent else { continue };
        let Some((_, reply)) = heard(sent.call) else { continue };
        let names = reply.body.contains(id);
        let uses = match reply.status {
            200..300 => !listed(reply).is_empty(),
            // One that names some of the ids is about those.
            409 => names || !sent.ids.iter().any(|other| reply.body.contains(other.as_str())),
            400 => matches!(reply.code().as_str(), "iMetal.0101" | "iMetal.0201") && names,
            404 => reply.code() == "iMetal.0200" && names,
            _ => false,
        };
        *used.entry(&put.uid).or_default() += u32::from(uses);
    }
    // What a process heard and did not store before it died is counted by nobody.
    let lost = view.record.processes.iter().filter(|p| p.died.is_some()).count();
    let lost = u32::try_from(lost).unwrap_or(u32::MAX);
    for (uid, n) in used {
        let limit = calls.iter().find(|sent| sent.intent.is_some_and(|put| put.uid == uid));
        let limit = limit
            .and_then(|sent| sent.decision?.object.as_ref()?["spec"]["backoffLimitPerInstance"].as_u64());
        let most = 1 + limit.map_or(LIMIT, |limit| u32::try_from(limit).unwrap_or(LIMIT)) + lost;
        findings.check("S8", n <= most, || format!("{id} used {n} attempts of object {uid}, of {most}"));
    }
}

/// What a sender knows to be accepted it sends again only after a later read that counts.
fn known(view: &View<'_>, plan: &Plan, sent: &Sent<'_>, id: &str, findings: &mut Findings) {
    let (Some(put), Some(decision)) = (sent.intent, sent.decision) else { return };
    let process = sent.call.process;
    let own = |other: &&Sent<'_>| {
        !other.powers_off && other.call.process == process && other.ids.iter().any(|named| named == id)
    };
    let replied = view.sent.iter().filter(own).filter_map(|other| {
        let (moment, reply) = heard(other.call)?;
        (moment < decision.answered && listed(reply).contains(id)).then_some((
            moment,
            other.batch,
            &other.intent?.uid,
        ))
    });
    let replied: Vec<_> = replied.collect();
    let by_reply = replied.iter().map(|(moment, _, _)| *moment).max();
    let by_record = first_recorded(view, sent, id)
        // The record of an own call is no news.
        .filter(|(_, batch)| !replied.iter().any(|(_, own, uid)| own == batch && **uid == put.uid))
        .map(|(moment, _)| moment);
    let by_read = view.known_before(process, id, decision.answered).filter(|seen| seen.is_on_its_way());
    let by_read = by_read.map(|seen| seen.sent).max();
    let accepted = by_reply.max(by_record);
    if accepted.is_none() && by_read.is_none() {
        return;
    }
    let from = accepted.map_or(Duration::ZERO, |moment| moment.at);
    let settle = plan.settings.settle;
    let counts = view.seen_before(process, id, put.sent).any(|seen| {
        let late = if seen.is_error() { from + settle } else { from + settle * PATIENCE };
        let after_call = accepted.is_none() || seen.sent.at >= late;
        seen.is_live() && by_read.is_none_or(|read| seen.sent > read) && after_call
    });
    findings.check("S17", counts, || {
        format!(
            "{} names {id}, which its sender knew to be accepted since {from:?}, and no later read counts",
            name(sent)
        )
    });
}

/// When the sender first read of the newest batch of an accepted id, and which that is. A batch that it stored itself
/// tells it nothing: it knows whether it made that call.
fn first_recorded(view: &View<'_>, sent: &Sent<'_>, id: &str) -> Option<(Moment, u64)> {
    let decision = sent.decision?;
    let object = decision.object.as_ref()?;
    row(&object["status"], id).filter(|row| rank(Some(row)) == 2)?;
    let uid = text(object, "/metadata/uid");
    let own = |batch: u64| {
        let stored = list(&object["status"], "/batches").iter().find(|b| b["number"].as_u64() == Some(batch));
        let claim = stored.map_or("", |b| text(b, "/claim"));
        view.makers.get(&(uid, claim)) == Some(&sent.call.process)
    };
    let mut newest: Option<(Moment, u64)> = None;
    let reads = view.record.gets.iter().filter(|get| {
        get.process == sent.call.process && get.key == decision.key && get.answered <= decision.answered
    });
    for get in reads {
        let object = get.object.as_ref().filter(|object| text(object, "/metadata/uid") == uid);
        let Some(batch) = object.and_then(|o| row(&o["status"], id)?["batch"].as_u64()) else { continue };
        if newest.is_none_or(|(_, known)| known != batch) && !own(batch) {
            newest = Some((get.answered, batch));
        }
    }
    newest
}
