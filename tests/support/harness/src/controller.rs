//! The controller under test, as a process of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use control_plane::{Error, Signal, Supervised};

const STARTS_WITHIN: Duration = Duration::from_mins(1);

/// A running controller. Dropping it kills it.
#[derive(Debug)]
pub struct Controller {
    process: Supervised,
    health: String,
    metrics: String,
}

impl Controller {
    /// Starts the binary with these flags and waits until it listens.
    pub fn start(binary: &Path, kubeconfig: &Path, folder: &Path, flags: &[String]) -> Result<Self, Error> {
        Self::start_in(&[], binary, kubeconfig, folder, flags)
    }

    /// [`start`](Self::start) with further environment variables. Proxy variables of the test's own environment are removed.
    pub fn start_in(
        environment: &[(&str, &str)],
        binary: &Path,
        kubeconfig: &Path,
        folder: &Path,
        flags: &[String],
    ) -> Result<Self, Error> {
        Self::start_command(Command::new(binary), environment, kubeconfig, folder, flags)
    }

    /// [`start_in`](Self::start_in) with a command that runs the binary, such as `chroot`.
    pub fn start_command(
        mut command: Command,
        environment: &[(&str, &str)],
        kubeconfig: &Path,
        folder: &Path,
        flags: &[String],
    ) -> Result<Self, Error> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let log = folder.join(format!("controller-{}.log", STARTED.fetch_add(1, Ordering::SeqCst)));
        command
            .arg("run")
            .args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--log-format", "text"])
            .args(flags)
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_BACKTRACE", "1");
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(proxy).env_remove(proxy.to_lowercase());
        }
        command.envs(environment.iter().copied());
        let mut process = Supervised::spawn(command, &log)?;
        let mut listens = |for_what: &str| {
            process.wait_line(STARTS_WITHIN, |line| {
                let (_, rest) = line.split_once("listening on ")?;
                rest.strip_suffix(for_what)?.split_whitespace().next().map(str::to_owned)
            })
        };
        let (health, metrics) = (listens(" for probes")?, listens(" for metrics")?);
        Ok(Self { process, health, metrics })
    }

    /// Where it answers `/healthz` and `/readyz`: `127.0.0.1:PORT`.
    #[must_use]
    pub fn health(&self) -> &str {
        &self.health
    }

    /// Where it answers `/metrics`: `127.0.0.1:PORT`.
    #[must_use]
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The peak of its resident memory (`VmHWM`), in bytes.
    pub fn peak_memory(&self) -> Result<u64, Error> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.map_err(Error::io("reading the process's memory"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.unwrap_or_default() << 10)
    }

    /// Its whole log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        self.process.signal(signal)
    }

    /// Sends SIGSTOP and waits until every thread has stopped: on a loaded machine a thread can run on for a while.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.process.signal(Signal::STOP)?;
        let tasks = format!("/proc/{}/task", self.pid());
        crate::until("every thread has stopped", || {
            let mut threads = std::fs::read_dir(&tasks).ok()?.flatten();
            let stopped = |task: std::fs::DirEntry| {
                std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") T "))
            };
            threads.all(stopped).then_some(())
        });
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_status().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end and returns its exit code; none if a signal ended it.
    pub fn wait_exit(mut self, limit: Duration) -> Result<Option<i32>, Error> {
        Ok(self.process.wait_exit(limit)?.code())
    }

    /// Sends SIGTERM, waits for its end and returns its exit code; none if a signal ended it.
    pub fn terminate(mut self, limit: Duration) -> Result<Option<i32>, Error> {
        self.process.signal(Signal::TERM)?;
        Ok(self.process.wait_exit(limit)?.code())
    }
}

/// The controller's binary that was built with the same profile as the program `exe`, in the folder of that program.
pub(crate) fn beside(executable: &Path) -> PathBuf {
    executable.with_file_name("instance-deletion-controller")
}
