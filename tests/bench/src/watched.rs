//! What the API server's watch tells of objects: how often each was written, and which are over.

use std::{
    collections::HashMap,
    process::Command,
    time::{Duration, Instant},
};

use control_plane::Supervised;
use harness::Stage;

use crate::BenchError;

/// A line for each version.
const COLUMNS: &str = "NAME:.metadata.name,FINISHED:.status.conditions[?(@.type==\"Finished\")].status,\
                       REASON:.status.conditions[?(@.type==\"Finished\")].reason";
const STEP: Duration = Duration::from_millis(200);

/// Records every version of the objects of one namespace, with the real kubectl.
#[derive(Debug)]
pub struct Watched {
    kubectl: Supervised,
    objects: usize,
}

impl Watched {
    /// Starts to record, and waits until each of so many objects, which are there already, was told once.
    pub fn start(stage: &Stage, objects: usize) -> Result<Self, BenchError> {
        let log = stage.control_plane.folder().join(format!("versions-{}.log", stage.namespace));
        let mut command = Command::new(stage.control_plane.kubectl_path());
        command
            .args(["get", "instancedeletions", "-n", &stage.namespace, "--watch", "--no-headers"])
            .arg(format!("--output=custom-columns={COLUMNS}"))
            .env("KUBECONFIG", stage.control_plane.kubeconfig())
            .env("HOME", stage.control_plane.folder());
        let watched = Self { kubectl: Supervised::spawn(command, &log)?, objects };
        watched.wait("every object was told", Duration::from_mins(2), |versions| {
            versions.written.len() == objects
        })?;
        Ok(watched)
    }

    /// Waits until every object has ended well. Since that is its last write, all of them have been told then.
    pub fn wait_finished(&self, limit: Duration) -> Result<(), BenchError> {
        let versions =
            self.wait("every object has finished", limit, |versions| versions.ends.len() == self.objects)?;
        match versions.ends.into_iter().find(|(_, reason)| reason != "Succeeded") {
            Some((name, reason)) => Err(BenchError::BadEnd { name, reason }),
            None => Ok(()),
        }
    }

    /// Writes since the start of the record, of all objects.
    #[must_use]
    pub fn writes(&self) -> usize {
        let versions = Versions::parse(&self.kubectl.log());
        versions.written.values().sum::<usize>() - versions.written.len()
    }

    fn wait(
        &self,
        what: &str,
        limit: Duration,
        is: impl Fn(&Versions) -> bool,
    ) -> Result<Versions, BenchError> {
        let mut last = Versions::default();
        let found = wait_for(limit, || {
            last = Versions::parse(&self.kubectl.log());
            is(&last)
        });
        if found {
            return Ok(last);
        }
        let (told, ended) = (last.written.len(), last.ends.len());
        let (objects, end) = (self.objects, self.kubectl.log_tail(1));
        let what =
            format!("{what}: of {objects} objects {told} were told, {ended} have finished; last: {end}");
        Err(BenchError::TooSlow { what, waited: limit })
    }
}

/// Whether this comes true in time.
pub(crate) fn wait_for(limit: Duration, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if is() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(STEP);
    }
}

/// What was told so far, by name of the object.
#[derive(Debug, Default, PartialEq, Eq)]
struct Versions {
    /// How many versions.
    written: HashMap<String, usize>,
    /// Reasons of `Finished` where it is true.
    ends: HashMap<String, String>,
}

impl Versions {
    fn parse(log: &str) -> Self {
        let mut versions = Self::default();
        // The last line may be half written.
        let complete = log.rfind('\n').map_or("", |end| &log[..end]);
        for line in complete.lines() {
            let [name, finished, reason] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
            *versions.written.entry(name.to_owned()).or_default() += 1;
            if finished == "True" {
                versions.ends.insert(name.to_owned(), reason.to_owned());
            }
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_ends_are_read_from_whole_lines() {
        let log = "a   <none>   <none>\nb   False    InProgress\na   False   InProgress\na   True    Succeeded\nb   True    Succ";
        let versions = Versions::parse(log);
        assert_eq!(versions.written, HashMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]));
        assert_eq!(versions.ends, HashMap::from([("a".to_owned(), "Succeeded".to_owned())]));
        assert_eq!(Versions::parse("a <none> <non"), Versions::default());
    }
}
