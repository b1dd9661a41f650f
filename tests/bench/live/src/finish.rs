//! When everything is over.

use std::time::{Duration, Instant};

use harness::{PROJECT, Stage};

use crate::{BenchError, scenario::Scenario};

const COLUMNS: &str =
    "custom-columns=NAME:.metadata.name,REASON:.status.conditions[?(@.type==\"Finished\")].reason";
/// Reason of `Finished` where it is not true.
const OPEN: [&str; 2] = ["NotFinished", "<none>"];
const STEP: Duration = Duration::from_secs(1);

/// Waits until every instance has ended at the cloud, and then until every object says so.
///
/// The API server is not asked before, and never for one object after the other: a thousand objects take kubectl half a
/// minute that way.
pub fn wait_finished(scenario: &Scenario, stage: &Stage, limit: Duration) -> Result<(), BenchError> {
    let end = Instant::now() + limit;
    wait("every instance has ended", end, limit, || Ok(instances_ended(scenario, stage)))?;
    wait("every object has finished", end, limit, || {
        let listed = stage.kubectl(&["get", "instancedeletions", "--no-headers", "-o", COLUMNS])?;
        objects_finished(&listed, scenario.objects)
    })
}

/// Waits until a controller has its first list, and so knows whether there is something to do.
pub(crate) fn wait_ready(log: impl Fn() -> String, limit: Duration) -> Result<(), BenchError> {
    let ready = || Ok(log().lines().any(|line| line.ends_with(" ready")));
    wait("the controller is ready", Instant::now() + limit, limit, ready)
}

fn wait(
    what: &str,
    end: Instant,
    limit: Duration,
    mut is: impl FnMut() -> Result<bool, BenchError>,
) -> Result<(), BenchError> {
    while !is()? {
        if Instant::now() >= end {
            return Err(BenchError::TooSlow { what: what.to_owned(), waited: limit });
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

fn instances_ended(scenario: &Scenario, stage: &Stage) -> bool {
    // What has vanished is listed no more.
    let listed = stage.cloud.instances(PROJECT);
    listed.iter().all(|(_, status)| status.state == "terminated")
        && (scenario.vanish || listed.len() == scenario.total())
}

/// An object that did not end well is an error: the cloud had no faults.
fn objects_finished(listed: &str, objects: usize) -> Result<bool, BenchError> {
    let rows = listed.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let ended: Vec<_> =
        rows.map(|(name, reason)| (name, reason.trim())).filter(|row| !OPEN.contains(&row.1)).collect();
    match ended.iter().find(|(_, reason)| *reason != "Succeeded") {
        Some((name, reason)) => {
            Err(BenchError::BadEnd { name: (*name).to_owned(), reason: (*reason).to_owned() })
        }
        None => Ok(ended.len() == objects),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_must_have_ended_and_ended_well() {
        assert!(objects_finished("a   Succeeded\nb-1 Succeeded\n", 2).unwrap());
        assert!(!objects_finished("a   Succeeded\n", 2).unwrap(), "one is not listed");
        assert!(!objects_finished("a   Succeeded\nb   NotFinished\n", 2).unwrap());
        assert!(!objects_finished("a   Succeeded\nb   <none>\n", 2).unwrap(), "not looked at yet");
        let bad = objects_finished("a   NotFinished\nb   Failed\n", 2);
        assert!(matches!(bad, Err(BenchError::BadEnd { name, reason }) if name == "b" && reason == "Failed"));
    }
}
