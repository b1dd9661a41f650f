//! Phases, reasons and events, from the lists of the code.

use instance_deletion_controller::api::{
    EventReason, FailureReason, InstancePhase, Phase, ReadyReason, ReasonKind,
};

use crate::cell;

const INTRODUCTION: &str = "# Phases, reasons and events

<!-- Written by `make generate` from src/api/reason.rs and status.rs. Do not edit. -->

Programs read the conditions. `status.phase` and the printer columns are for people. What to do, by
symptom: [troubleshoot](../how-to/troubleshoot.md).

## Conditions

| condition | present | True when |
|---|---|---|
| `Ready` | always | every instance is gone |
| `Finished` | always | the object has its end, good or bad |
| `Reconciling` | only while True | work goes on, or waits for what `Ready` says |
| `Stalled` | only while True | the object has a bad end |

The reason of `Finished` is `NotFinished` while the object is open; at the end, see the reasons of `Ready`.
";

const READY: &str = "
When instances are open for longer than `--stuck-after`, the message of `Ready` counts them and names
one, whatever the reason is.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let phases = Phase::ALL.map(|phase| [name(phase.as_str()), phase.meaning().to_owned()]);
    page += &table("Phases", "phase | meaning", &phases);
    let reasons = ReadyReason::ALL.map(|reason| {
        let end = reason.finished().map_or_else(String::new, name);
        [
            name(reason.as_str()),
            kind(reason.kind()).to_owned(),
            end,
            reason.meaning().to_owned(),
            reason.advice().to_owned(),
        ]
    });
    page += &table(
        "Reasons of `Ready`",
        "reason | the object | reason of `Finished` | meaning | what to do",
        &reasons,
    );
    page += READY;
    let phases = InstancePhase::ALL.map(|phase| [name(phase.as_str()), phase.meaning().to_owned()]);
    page += &table("Phases of an instance", "phase | meaning", &phases);
    page += "\nA row of `status.instances` goes only forward.\n";
    let failures = FailureReason::ALL.map(|reason| [name(reason.as_str()), reason.meaning().to_owned()]);
    page += &table("Failed instances", "reason | meaning", &failures);
    let kind = |warning| if warning { "Warning" } else { "Normal" };
    let ready = ReadyReason::ALL.into_iter().filter_map(|reason| {
        let event = reason.event()?;
        let meaning = format!("The reason of `Ready` has become `{}`.", reason.as_str());
        Some([name(event.reason), kind(event.warning).to_owned(), meaning])
    });
    let others = EventReason::ALL.into_iter();
    let others = others
        .map(|event| [name(event.as_str()), kind(event.warning()).to_owned(), event.meaning().to_owned()]);
    page += &table("Events", "reason | type | meaning", &others.chain(ready).collect::<Vec<_>>());
    page += "\nEvents live about an hour in a cluster; the status is the record.\n";
    page
}

fn kind(kind: ReasonKind) -> &'static str {
    match kind {
        ReasonKind::Working => "works",
        ReasonKind::AtRest => "waits for you",
        ReasonKind::Hindered => "is hindered",
        ReasonKind::GoodEnd => "ended well",
        ReasonKind::BadEnd => "ended badly",
    }
}

fn name(name: &str) -> String {
    format!("`{name}`")
}

fn table<const N: usize>(heading: &str, columns: &str, rows: &[[String; N]]) -> String {
    let mut table = format!("\n## {heading}\n\n| {columns} |\n{}|\n", "|---".repeat(N));
    for row in rows {
        table += &format!("| {} |\n", row.each_ref().map(|text| cell(text)).join(" | "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_row_with_its_meaning() {
        let page = page();
        for reason in ReadyReason::ALL {
            assert!(
                page.contains(&format!("| `{reason}` | ")) && page.contains(&cell(reason.meaning())),
                "{reason}"
            );
        }
        assert!(
            page.contains("| `Succeeded` | Normal | The reason of `Ready` has become `AllTerminated`. |")
        );
        assert!(page.contains("| `Stuck` | Warning | "), "events beside those too");
    }
}
