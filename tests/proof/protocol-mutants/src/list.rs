//! Mistakes that an engineer could make in this protocol.

use crate::checks::{
    Check,
    Check::{Client, Model, Simulation, Tables},
};

/// One mistake.
pub struct Mistake {
    /// Its name.
    pub name: &'static str,
    /// The file that holds it.
    pub file: &'static str,
    /// The text that it takes the place of; it stands there exactly once.
    pub find: &'static str,
    /// The mistake.
    pub replace: &'static str,
    /// The checks that must find it, each of them.
    pub found_by: &'static [Check],
}

/// All of them.
pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "call without an acknowledged intent",
        file: "src/controller/deletes/submit.rs",
        find: "context.api.write_intent(live, write).await.map_err(NotStored::Write)?;",
        replace: "match context.api.write_intent(live, write).await {\n        Err(WriteError::Unavailable(_)) => live.clone(),\n        stored => stored.map_err(NotStored::Write)?,\n    };",
        found_by: &[Simulation],
    },
    Mistake {
        name: "another process's equal intent taken as one's own",
        file: "src/engine/object/state/memory.rs",
        find: "ledger.batch(number).is_none_or(|stored| stored.claim == call.claim)",
        replace: "ledger.batch(number).is_none_or(|stored| !stored.claim.is_empty())",
        found_by: &[Tables, Model],
    },
    Mistake {
        name: "omission from a list taken as gone",
        file: "src/cloud/reader/fetch.rs",
        find: "        let readings = rows.into_iter().map(|(id, seen)| Reading { id, seen, sent }).collect();",
        replace: "        let asked = match &call.request {\n            ReadRequest::List { ids, .. } => ids.clone(),\n            ReadRequest::Show(_) => Vec::new(),\n        };\n        let gone = asked.into_iter().filter(|id| rows.iter().all(|(other, _)| other != id));\n        let gone: Vec<_> = gone.map(|id| (id, crate::engine::state::Seen::Terminated)).collect();\n        let readings = rows.into_iter().chain(gone).map(|(id, seen)| Reading { id, seen, sent }).collect();",
        found_by: &[Client],
    },
    Mistake {
        name: "foreign id recorded",
        file: "src/cloud/classify.rs",
        find: "Some(Ok(id)) if sent.contains(&id) => {",
        replace: "Some(Ok(id)) if !sent.is_empty() => {",
        found_by: &[Client],
    },
    Mistake {
        name: "compare-and-swap without version",
        file: "src/controller/api_server/writes.rs",
        find: "            resource_version: &read.resource_version,\n        };\n        self.put(&read.key, at, status).await",
        replace: "            resource_version: \"\",\n        };\n        self.put(&read.key, at, status).await",
        found_by: &[Simulation],
    },
    Mistake {
        name: "attempt counted on a refusal of the whole call (429)",
        file: "src/engine/object/rules/record.rs",
        find: "if matches!(refusal, Refusal::Conflict(ids) if ids.contains(&row.id)) {",
        replace: "if matches!(refusal, Refusal::Conflict(ids) if ids.contains(&row.id)) || *refusal == Refusal::Whole {",
        found_by: &[Tables],
    },
    Mistake {
        name: "deadline reset by suspend",
        file: "src/engine/object/report/status.rs",
        find: "        start_time: before.start_time.clone(),",
        replace: "        start_time: before.start_time.clone().filter(|_| !spec.suspend),",
        found_by: &[Tables],
    },
    Mistake {
        name: "one not-found read enough",
        file: "src/engine/object/rules/record.rs",
        find: "*last - since >= settings.settle",
        replace: "*last >= since",
        found_by: &[Tables],
    },
    Mistake {
        name: "retry without a look",
        file: "src/engine/object/rules/look_first.rs",
        find: "            && now - sent < LOOK_LIFE_AT_DECISION\n            && proof_from.is_none_or(|needed| sent > needed)\n",
        replace: "            && now >= sent\n",
        found_by: &[Tables],
    },
    Mistake {
        name: "a read from before the call taken as proof",
        file: "src/engine/object/rules/look_first.rs",
        find: "            && proof_from.is_none_or(|needed| sent > needed)\n",
        replace: "",
        found_by: &[Tables, Simulation],
    },
    Mistake {
        name: "a call long after its intent",
        file: "src/clock.rs",
        find: "        Instant::now() >= self.mono || self.clock.wall() >= self.wall",
        replace: "        Instant::now() >= self.mono + Duration::from_hours(1)",
        found_by: &[Client, Simulation],
    },
    Mistake {
        name: "no wait after an unknown outcome",
        file: "src/engine/object/rules/look_first.rs",
        find: "            Effect::Unknown => ended + settings.settle,",
        replace: "            Effect::Unknown => ended,",
        found_by: &[Tables, Simulation],
    },
    Mistake {
        name: "a look from before a suspension counts",
        file: "src/engine/object/rules/observe.rs",
        find: "    if closed || spec.meta.generation != memory.generation {\n        memory.gate = now;",
        replace: "    if closed && spec.meta.generation < memory.generation {\n        memory.gate = now;",
        found_by: &[Tables],
    },
    Mistake {
        name: "a suspended object still sends",
        file: "src/engine/object/state/spec.rs",
        find: "        !self.suspend && !self.dry_run && !self.meta.leaving",
        replace: "        !self.dry_run && !self.meta.leaving",
        found_by: &[Tables],
    },
    Mistake {
        name: "after a restart an intent is taken as over at once",
        file: "src/engine/object/rules/observe.rs",
        find: "let end = if over { now } else { now + INTENT_LIFE + settings.request_timeout };",
        replace: "let end = if over { now } else { Mono::START };",
        found_by: &[Tables],
    },
    Mistake {
        name: "an unknown outcome recorded as accepted",
        file: "src/engine/object/rules/record.rs",
        find: "            CallOutcome::Unknown { .. } => {}\n        }\n    }\n}",
        replace: "            CallOutcome::Unknown { .. } => accept(row),\n        }\n    }\n}",
        found_by: &[Tables],
    },
    Mistake {
        name: "a 202 accepts what it leaves out",
        file: "src/engine/object/rules/record.rs",
        find: "                if ids.contains(&row.id) {\n                    accept(row);",
        replace: "                if !ids.is_empty() {\n                    accept(row);",
        found_by: &[Tables, Model],
    },
    Mistake {
        name: "an id in two calls of two objects at once",
        file: "src/engine/account/call_history.rs",
        find: "        if ids.iter().any(|(id, _)| self.own(*id).in_flight.is_some()) {\n            return false;\n        }\n",
        replace: "",
        found_by: &[Tables],
    },
    Mistake {
        name: "a phase goes back when an id is sent again",
        file: "src/engine/object/rules/write_ahead.rs",
        find: "                        Progress::Accepted { .. } => Progress::Accepted { batch: Some(number), resent: true },\n",
        replace: "",
        found_by: &[Tables],
    },
    Mistake {
        name: "an outcome forgotten when its write conflicts",
        file: "src/controller/reconcile/carry_out.rs",
        find: "            Err(WriteError::Conflict | WriteError::Gone) => return Pass::Again(None),\n            Err(WriteError::Unavailable(why)) => {\n                warn!(",
        replace: "            Err(WriteError::Conflict | WriteError::Gone) => {}\n            Err(WriteError::Unavailable(why)) => {\n                warn!(",
        found_by: &[Simulation],
    },
    Mistake {
        name: "a finished object is worked on again",
        file: "src/engine/object/report/status.rs",
        find: "    status.conditions.iter().any(|c| c.type_ == \"Finished\" && c.status == \"True\")",
        replace: "    status.conditions.iter().any(|c| c.type_ == \"Finished\" && c.status == \"Never\")",
        found_by: &[Tables],
    },
    Mistake {
        name: "a repeated id of the spec sent twice in a call",
        file: "src/engine/object/state/spec.rs",
        find: "            if seen.insert(id) {",
        replace: "            seen.insert(id);\n            {",
        found_by: &[Tables],
    },
    Mistake {
        name: "a look never grows old",
        file: "src/engine/object/rules/look_first.rs",
        find: "            && now - sent < LOOK_LIFE_AT_DECISION\n",
        replace: "",
        found_by: &[Tables],
    },
    Mistake {
        name: "an error after acceptance sent again at once",
        file: "src/engine/object/rules/look_first.rs",
        find: "            Effect::Accepted if error_came_after => ended + settings.settle,",
        replace: "            Effect::Accepted if now_error.is_some() => ended,",
        found_by: &[Tables],
    },
    Mistake {
        name: "notAfter forgotten",
        file: "src/engine/object/state/deadlines.rs",
        find: "spec.not_after, |at| Some(*at), clocks);",
        replace: "spec.not_after, |_| None, clocks);",
        found_by: &[Tables],
    },
    Mistake {
        name: "a deadline that opens again when the clock is set back",
        file: "src/engine/object/state/deadlines.rs",
        find: "        moment.at = moment.at.into_iter().chain(moment.latest).min();\n        moment.passed |= ",
        replace: "        moment.at = moment.latest;\n        moment.passed = ",
        found_by: &[Tables],
    },
    Mistake {
        name: "a deadline that any edit counts anew",
        file: "src/engine/object/state/deadlines.rs",
        find: "if this.as_ref().map(|moment| &moment.value) != value.as_ref() {",
        replace: "if this.as_ref().is_some_and(|moment| moment.latest > moment.at) || this.is_none() {",
        found_by: &[Tables],
    },
    Mistake {
        name: "a deadline that a successor's clock opens again",
        file: "src/engine/object/state/deadlines.rs",
        find: "        self.passed |= recorded;\n",
        replace: "",
        found_by: &[Tables],
    },
    Mistake {
        name: "one reading of the clock ends ids",
        file: "src/engine/object/state/deadlines.rs",
        find: "moment.said.is_some_and(|said| now.mono - said >= AGREES);",
        replace: "moment.said.is_some();",
        found_by: &[Tables],
    },
    Mistake {
        name: "a look that failed before the deadline taken as the last one",
        file: "src/engine/object/rules/close.rs",
        find: "observation.missed.is_some_and(|asked| asked >= since)",
        replace: "observation.missed.is_some_and(|asked| asked <= now.mono)",
        found_by: &[Tables],
    },
    Mistake {
        name: "a batch number used twice after a restore",
        file: "src/engine/object/state/memory/calls.rs",
        find: "ledger.next_batch().max(made.unwrap_or(0).max(self.made).saturating_add(1))",
        replace: "ledger.next_batch().max(made.unwrap_or(0).max(self.made).min(1))",
        found_by: &[Tables],
    },
    Mistake {
        name: "an unknown outcome recorded as one without effect",
        file: "src/engine/object/rules/record.rs",
        find: "    if outcome.had_no_effect() {",
        replace: "    if !matches!(outcome, CallOutcome::Accepted { .. }) {",
        found_by: &[Tables],
    },
    Mistake {
        name: "a call that leaves although its id was seen on its way after the decision",
        file: "src/engine/account/call_history.rs",
        find: "!ids.iter().any(|id| self.own(*id).overtaken || overtakes(*id))",
        replace: "!ids.iter().any(|id| self.own(*id).overtaken && overtakes(*id))",
        found_by: &[Tables],
    },
    Mistake {
        name: "an invalid edit drops the outcomes of calls",
        file: "src/engine/object/decide/rest.rs",
        find: "memory.map(|memory| record::outcomes(&mut ledger, memory, now)).unwrap_or_default();",
        replace: "memory.map(|_| Vec::new()).unwrap_or_default();\n    ledger.batches.clear();",
        found_by: &[Tables],
    },
    Mistake {
        name: "any 404 taken as not found",
        file: "src/cloud/classify.rs",
        find: "    (response.status == StatusCode::NOT_FOUND && response.code().starts_with(\"iMetal.\"))\n        .then_some(Seen::NotFound)",
        replace: "    (response.status == StatusCode::NOT_FOUND)\n        .then_some(Seen::NotFound)",
        found_by: &[Client],
    },
    Mistake {
        name: "an id that a 404 names taken as gone",
        file: "src/engine/object/state/memory/calls.rs",
        find: "                    self.refused.insert(*id, refused);\n                }\n                self.bisection.named(named, evidence)",
        replace: "                    self.refused.insert(*id, refused);\n                    if missing.is_some() {\n                        self.bisection.give_up(*id, FailureReason::NotFound, message.clone());\n                    }\n                }\n                self.bisection.named(named, evidence)",
        found_by: &[Tables],
    },
    Mistake {
        name: "a bad request marks every id",
        file: "src/engine/object/state/bisection.rs",
        find: "        if !request_is_good {\n",
        replace: "        if !request_is_good && refused_alone.is_empty() {\n",
        found_by: &[Tables],
    },
    Mistake {
        name: "what was known of an object serves the next one of its name",
        file: "src/controller/reconcile/mod.rs",
        find: "        if tracked.uid == live.uid {\n            // Reads have quorum",
        replace: "        if !tracked.uid.is_empty() {\n            // Reads have quorum",
        found_by: &[Simulation],
    },
    Mistake {
        name: "an unknown state taken as the end",
        file: "src/engine/state.rs",
        find: "            \"terminated\" | \"teminated\" => Self::Terminated,",
        replace: "            \"terminated\" | \"teminated\" | \"deleted\" | \"destroyed\" | \"melting\" => Self::Terminated,",
        found_by: &[Tables],
    },
    Mistake {
        name: "a lease taken while its holder renews it",
        file: "src/runtime/election/decide.rs",
        find: "Some(_) if now < self.over(lease, *first_seen) => NextStep::Read,",
        replace: "Some(_) if now < *first_seen => NextStep::Read,",
        found_by: &[Client],
    },
    Mistake {
        name: "the time of a lease begun anew by every read",
        file: "src/runtime/election/decide.rs",
        find: "if known.version == lease.version => *first_seen,",
        replace: "if known.version == lease.version => now.max(*first_seen),",
        found_by: &[Client],
    },
    Mistake {
        name: "a leader that leads for longer than its lease",
        file: "src/runtime/election/decide.rs",
        find: "renew: Duration::from_secs(10)",
        replace: "renew: Duration::from_secs(16)",
        found_by: &[Client],
    },
    Mistake {
        name: "a leader that believes in a lease which another one holds",
        file: "src/runtime/election/decide.rs",
        find: "Some(holder) => return NextStep::Lost(Loss::Taken(holder.clone())),",
        replace: "Some(_) => {}",
        found_by: &[Client],
    },
    Mistake {
        name: "a call without the lease",
        file: "src/leadership.rs",
        find: "!self.leave_by.is_over() && self.leadership.leads() && !barred()",
        replace: "!self.leave_by.is_over() && !barred()",
        found_by: &[Client],
    },
    Mistake {
        name: "a call that leaves although something bars it",
        file: "src/leadership.rs",
        find: "self.barred.as_ref().is_some_and(|barred| barred());",
        replace: "self.barred.as_ref().is_some_and(|barred| barred() && self.leave_by.is_over());",
        found_by: &[Client],
    },
    Mistake {
        name: "a status written without the lease",
        file: "src/controller/api_server/writes.rs",
        find: "        self.check_lead()?;\n        acknowledged(key, self.text(ApiCall::Status, request).await)\n",
        replace: "        acknowledged(key, self.text(ApiCall::Status, request).await)\n",
        found_by: &[Client],
    },
    Mistake {
        name: "a standby that works",
        file: "src/controller/reconcile/mod.rs",
        find: "    if !context.leadership.leads() {\n",
        replace: "    if !context.leadership.leads() && context.draining() {\n",
        found_by: &[Client],
    },
    Mistake {
        name: "an object of another shard worked on",
        file: "src/controller/reconcile/mod.rs",
        find: "    if context.scope.holds(&key.namespace, &live.labels) {\n",
        replace: "    if context.scope.holds(&key.namespace, &live.labels) || !context.draining() {\n",
        found_by: &[Client],
    },
    Mistake {
        name: "a forged claim of another namespace believed",
        file: "src/engine/account/call_history.rs",
        find: "if **claimed_by == *namespace {",
        replace: "if **claimed_by == *namespace || !claimed_by.is_empty() {",
        found_by: &[Tables],
    },
    Mistake {
        name: "a forged claim of another namespace renewed",
        file: "src/engine/account/call_history.rs",
        find: "call.claimed_elsewhere = call.claimed_elsewhere.max(Some(claims.first));",
        replace: "call.claimed_elsewhere = call.claimed_elsewhere.max(Some(claims.last));",
        found_by: &[Tables],
    },
    Mistake {
        name: "a refused password tried by each project",
        file: "src/cloud/credential/attempts.rs",
        find: ".find(|refused| refused.credential == *credential)",
        replace: ".find(|refused| refused.credential == *credential && now < refused.at)",
        found_by: &[Client],
    },
    Mistake {
        name: "a worker waits for IAM",
        file: "src/controller/deletes/submit.rs",
        find: "Current::Asked(answered) => return Err(NotStored::TokenAsked(answered)),",
        replace: "Current::Asked(answered) => {\n            answered.await;\n            return Err(NotStored::TokenAsked(futures::future::ready(()).boxed()));\n        }",
        found_by: &[Client],
    },
    Mistake {
        name: "the token of a ServiceAccount sent to the cloud",
        file: "src/controller/accounts/secrets.rs",
        find: "if is_of_kubernetes(given) {",
        replace: "if demanded.is_some() && is_of_kubernetes(given) {",
        found_by: &[Client],
    },
    Mistake {
        name: "an object that waits for its Secret read every two minutes",
        file: "src/engine/object/decide/draft.rs",
        find: "if memory.waits_for_secret() {",
        replace: "if memory.waits_for_secret() && facts.spec.dry_run {",
        found_by: &[Tables],
    },
    Mistake {
        name: "calls remembered for ever",
        file: "src/engine/object/rules/observe.rs",
        find: "    memory.forget_calls(ledger);",
        replace: "    let _ = &memory;",
        found_by: &[Tables],
    },
    Mistake {
        name: "the number of a forgotten call used again",
        file: "src/engine/object/state/memory/calls.rs",
        find: "                *made = (*made).max(*number);",
        replace: "                *made = (*made).min(*number);",
        found_by: &[Tables],
    },
    Mistake {
        name: "a call forgotten while another of its wave is open",
        file: "src/engine/object/state/memory/calls.rs",
        find: "let kept = open_waves.contains(&call.claim) || named.contains(number);",
        replace: "let kept = !matches!(call.state, CallState::Recorded { .. }) || named.contains(number);",
        found_by: &[Tables],
    },
    Mistake {
        name: "a request to look echoed before the look was made",
        file: "src/engine/object/report/status.rs",
        find: "last_handled_reconcile_at: if remarks.look_outstanding {",
        replace: "last_handled_reconcile_at: if remarks.look_outstanding && spec.suspend {",
        found_by: &[Tables],
    },
    Mistake {
        name: "an id that no reply accepted said to have failed at the cloud",
        file: "src/engine/object/rules/look_first.rs",
        find: "        Progress::Accepted { .. } => FailureReason::InstanceError,",
        replace: "        Progress::Accepted { .. } | Progress::Submitted { .. } => FailureReason::InstanceError,",
        found_by: &[Tables],
    },
    Mistake {
        name: "age groups kept for ever",
        file: "src/engine/account/schedule/mod.rs",
        find: "used.next().unwrap_or(true) || !age_group.is_of_the_past(now, bounds)",
        replace: "used.next().unwrap_or(true) || !age_group.is_of_the_past(now, bounds) || bounds.max > bounds.min",
        found_by: &[Tables],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_where_it_says_exactly_once() {
        let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");
        for mistake in MISTAKES {
            let text = std::fs::read_to_string(format!("{project}/{}", mistake.file)).unwrap();
            assert_eq!(text.matches(mistake.find).count(), 1, "{}", mistake.name);
        }
    }
}
