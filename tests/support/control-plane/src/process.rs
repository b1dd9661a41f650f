//! Processes that end with the process that started them, however it ends.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::{Error, leash::Leash};

/// How often a wait checks the process.
const STEP: Duration = Duration::from_millis(20);

/// A process that is killed with its children when this process ends or when this is dropped.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
    leash: Leash,
    log: PathBuf,
    name: String,
}

impl Supervised {
    /// Starts a command without input, and appends its output to a log file.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::io(format!("opening {}", log.display())))?;
        let also = file.try_clone().map_err(Error::io("opening a log twice"))?;
        let leash = Leash::new()?;
        command.stdin(Stdio::null()).stdout(file).stderr(also);
        let child = leash.spawn(&mut command).map_err(Error::io(format!("starting {name}")))?;
        Ok(Self { child, leash, log: log.to_owned(), name })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process, if it still runs.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if self.try_status()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|e| Error::io(format!("signalling {}", self.name))(e.into()))
    }

    /// Its exit status, if it has ended.
    pub fn try_status(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(Error::io(format!("waiting for {}", self.name)))
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_status()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                let log = self.log.display();
                return Err(Error::Deadline(format!("{} (log: {log}) did not end", self.name)));
            }
            std::thread::sleep(STEP);
        }
    }

    /// Kills it and its children with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.leash.end();
        // Again by its id: it may have moved to another group.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its whole output.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Waits until `find` finds something in a line of its output.
    pub fn wait_line<T>(&mut self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let end = Instant::now() + limit;
        loop {
            // Checked before the log is read: the last line may come just before the end.
            let ended = self.try_status()?;
            if let Some(found) = self.log().lines().find_map(&find) {
                return Ok(found);
            }
            if ended.is_some() || Instant::now() >= end {
                let what = ended.map_or_else(|| "was too slow".to_owned(), |s| format!("ended with {s}"));
                return Err(Error::NoLine { program: self.name.clone(), what, log: self.log_tail(20) });
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}
