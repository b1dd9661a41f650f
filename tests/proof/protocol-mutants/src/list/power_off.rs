//! Mistakes about powering off first.

use super::Mistake;
use crate::checks::Check::{Model, Simulation, Tables};

/// All of them.
pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "the server that was read first is kept",
        file: "src/engine/object/state/observations.rs",
        find: "        observation.facts = facts.filter(|_| keeps_facts && alive).cloned();",
        replace: "        observation.facts = observation.facts.take().or(facts.cloned()).filter(|_| keeps_facts && alive);",
        found_by: &[Tables],
    },
    Mistake {
        name: "half of the soak is enough",
        file: "src/engine/object/rules/power_off.rs",
        find: "off_since.and_then(|at| at.0.checked_add(soak).ok()) else {",
        replace: "off_since.and_then(|at| at.0.checked_add(soak / 2).ok()) else {",
        found_by: &[Tables, Model, Simulation],
    },
    Mistake {
        name: "a soak counted from the call",
        file: "src/engine/object/rules/record.rs",
        find: "            row.powered_off_at = Some(facts.now.time());",
        replace: "            let called = row.progress.batch().and_then(|batch| ledger.batches.iter().find(|b| b.number == batch));\n            row.powered_off_at = Some(called.map_or_else(|| facts.now.time(), |batch| batch.submitted_at.clone()));",
        found_by: &[Tables],
    },
    Mistake {
        name: "a soak that a suspension resets",
        file: "src/engine/object/rules/record.rs",
        find: "                && row.powered_off_at.is_none()",
        replace: "                && (row.powered_off_at.is_none() || facts.memory.suspended_at.is_some())",
        found_by: &[Tables],
    },
    Mistake {
        name: "a soak by the earliest of two clocks",
        file: "src/engine/object/state/observations.rs",
        find: "            Some(off) if soaked_at > now => off.soaked_at = off.soaked_at.max(soaked_at),",
        replace: "            Some(off) if soaked_at > Mono::START => off.soaked_at = off.soaked_at.min(soaked_at),",
        found_by: &[Tables],
    },
    Mistake {
        name: "a veto that a later read takes back",
        file: "src/engine/object/state/observations.rs",
        find: "            off.powered_on |= read.sent >= off.since;\n        }",
        replace: "            off.powered_on |= read.sent >= off.since;\n        }\n        if let (Some(off), Seen::Live(Live::Stopped)) = (&mut observation.off, &seen) {\n            off.powered_on = false;\n        }",
        found_by: &[Tables],
    },
    Mistake {
        name: "a veto by a read of before the record",
        file: "src/engine/object/state/observations.rs",
        find: "            off.powered_on |= read.sent >= off.since;",
        replace: "            off.powered_on = true;",
        found_by: &[Tables],
    },
    Mistake {
        name: "given up for an error that may pass before the end of the soak",
        file: "src/engine/object/rules/power_off.rs",
        find: "    let would_be_deleted = sent >= off.soaked_at\n        && sent > facts.memory.gate",
        replace: "    let would_be_deleted = sent > facts.memory.gate",
        found_by: &[Tables],
    },
    Mistake {
        name: "a veto that is not recorded, and so lost at a restart",
        file: "src/engine/object/rules/power_off.rs",
        find: "        return Some(FailureReason::PoweredOnAgain);",
        replace: "        return None;",
        found_by: &[Tables],
    },
    Mistake {
        name: "what still runs is deleted",
        file: "src/engine/object/rules/power_off.rs",
        find: "        (_, Live::Running) => Step::Call(CallKind::PowerOff),",
        replace: "        (Progress::PoweringOff { .. }, Live::Running) => Step::Call(CallKind::Delete),\n        (_, Live::Running) => Step::Call(CallKind::PowerOff),",
        found_by: &[Tables, Model, Simulation],
    },
    Mistake {
        name: "powered off again without waiting for the first call",
        file: "src/engine/object/rules/look_first.rs",
        find: "        (CallKind::PowerOff, Effect::Accepted) => at + patience,",
        replace: "        (CallKind::PowerOff, Effect::Accepted) => at,",
        found_by: &[Tables],
    },
    Mistake {
        name: "a refusal for its state uses an attempt of what is powered off then",
        file: "src/engine/object/rules/record.rs",
        find: "                if named && !called.is_some_and(|called| called.or_powers_off) {",
        replace: "                if named {",
        found_by: &[Tables],
    },
    Mistake {
        name: "a power-off taken for an accepted deletion",
        file: "src/engine/object/rules/record.rs",
        find: "if call.kind == CallKind::Delete && ids.contains(&row.id) {",
        replace: "if ids.contains(&row.id) {",
        found_by: &[Tables, Model, Simulation],
    },
    Mistake {
        name: "a notAfter that lets a soak go on",
        file: "src/engine/object/rules/power_off.rs",
        find: "    if !waits_off(row) || facts.memory.deadlines.passed().is_some() {",
        replace: "    if !waits_off(row) {",
        found_by: &[Tables],
    },
];
