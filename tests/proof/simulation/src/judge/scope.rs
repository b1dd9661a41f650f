//! What may be called: S1, S2, S3, S10, S12, S13.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    Findings,
    view::{Sent, View, last_get},
};
use crate::{
    plan::Plan,
    record::{Get, list, text},
};

const MOST: usize = 50;
const INTENT_LIFE: Duration = Duration::from_secs(5);

/// Checks every call that left and deletes or powers off.
pub fn check(view: &View<'_>, plan: &Plan, findings: &mut Findings) {
    for sent in &view.sent {
        form(sent, findings);
        let Some(put) = sent.intent else {
            findings.check("S3", false, || {
                format!("{} rests on no acknowledged write of its sender that names its ids", name(sent))
            });
            continue;
        };
        findings.check("S13", sent.left.at.saturating_sub(put.sent.at) <= INTENT_LIFE, || {
            format!(
                "{} left {:?} after its intent was sent",
                name(sent),
                sent.left.at.saturating_sub(put.sent.at)
            )
        });
        let Some(decision) = sent.decision else {
            findings.check("S1", false, || format!("{} rests on no read of its object", name(sent)));
            continue;
        };
        let Some(object) = &decision.object else {
            findings.check("S1", false, || format!("{}: its decision read found no object", name(sent)));
            continue;
        };
        findings.check("S1", text(object, "/metadata/uid") == put.uid, || {
            format!("{}: its decision read was of another uid", name(sent))
        });
        let spec: BTreeSet<&str> =
            list(object, "/spec/instanceIDs").iter().filter_map(Value::as_str).collect();
        for id in sent.ids.iter().filter(|id| !spec.contains(id.as_str())) {
            findings.check("S1", false, || format!("{} names {id}, which its object does not", name(sent)));
        }
        gates("S1", sent, decision, findings);
        if let Some(last) = last_get(view.record, sent.call.process, put, sent.call.started) {
            gates("S13", sent, last, findings);
        }
        credential(view, sent, object, findings);
    }
    in_flight(view, plan, findings);
}

/// How messages name a call.
pub fn name(sent: &Sent<'_>) -> String {
    format!(
        "{} call {} of process {} at {:.3} s",
        if sent.powers_off { "power-off" } else { "delete" },
        sent.number,
        sent.call.process,
        sent.left.at.as_secs_f64()
    )
}

fn form(sent: &Sent<'_>, findings: &mut Findings) {
    let distinct: BTreeSet<&String> = sent.ids.iter().collect();
    let (n, distinct) = (sent.ids.len(), distinct.len());
    findings.check("S2", (1..=MOST).contains(&n) && distinct == n, || {
        format!("{} names {n} ids, {distinct} of them distinct", name(sent))
    });
}

fn gates(property: &'static str, sent: &Sent<'_>, get: &Get, findings: &mut Findings) {
    let Some(object) = &get.object else {
        return findings.check(property, false, || format!("{}: its object is gone", name(sent)));
    };
    let mut gate = |closed: bool, what: &str| {
        findings
            .check(property, !closed, || format!("{} although the object read before {what}", name(sent)));
    };
    gate(object["spec"]["suspend"] == true, "is suspended");
    gate(object["spec"]["dryRun"] == true, "has dryRun: true");
    gate(object["metadata"].get("deletionTimestamp").is_some(), "is being deleted");
    let seconds = |pointer: &str| text(object, pointer).parse::<Timestamp>().ok().map(Timestamp::as_second);
    if let Some(not_after) = seconds("/spec/notAfter") {
        gate(get.wall >= not_after, "was past notAfter");
    }
    if let (Some(start), Some(deadline)) =
        (seconds("/status/startTime"), object["spec"]["activeDeadlineSeconds"].as_i64())
    {
        gate(get.wall >= start + deadline, "was past its deadline");
    }
}

/// The token is one that the object's own Secret had when its sender read it for this call.
fn credential(view: &View<'_>, sent: &Sent<'_>, object: &Value, findings: &mut Findings) {
    let Some(decision) = sent.decision else { return };
    let secret = text(object, "/spec/credentialsSecretRef/name");
    let of_it = view.record.secrets.iter().filter(|read| {
        read.process == sent.call.process
            && read.key.namespace == decision.key.namespace
            && read.key.name == secret
            && read.answered < sent.call.started
    });
    let since = of_it.clone().filter(|read| read.answered > decision.answered);
    let usable = since.chain(of_it.clone().next_back());
    let good = usable.clone().any(|read| read.token.as_deref() == Some(sent.call.token.as_str()));
    findings.check("S10", good, || {
        format!("{} uses a token that the Secret of its object did not hold when it was read", name(sent))
    });
}

/// At most `--parallel-calls` calls of one object at once.
fn in_flight(view: &View<'_>, plan: &Plan, findings: &mut Findings) {
    for sent in &view.sent {
        let Some(put) = sent.intent else { continue };
        let beside = view.sent.iter().filter(|other| {
            other.call.process == sent.call.process
                && other.intent.is_some_and(|intent| intent.uid == put.uid)
                && other.left <= sent.left
                && other.call.outcome.as_ref().is_some_and(|(ended, _)| *ended > sent.left)
        });
        let n = beside.count();
        findings.check("S12", n <= plan.settings.parallel_calls, || {
            format!("{}: {n} calls of its object are in flight", name(sent))
        });
    }
}
