//! Processes that end with the one that started them, whatever happens to it.
//!
//! Dropping a [`Supervised`] kills its process group. For everything else (a panic that aborts, Ctrl-C, `kill -9` of the
//! test runner) there is a watchdog: a shell that reads from a pipe whose other end only this process holds. When the
//! pipe closes, it kills what is still registered. PR_SET_PDEATHSIG would need unsafe code, and fires when the *thread* ends
//! that started the child.

use std::{
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

use crate::Error;

const WATCHDOG: &str = r#"
groups=""; folders=""
while read -r verb what; do
  case "$verb" in
    add) groups="$groups $what" ;;
    drop) kept=""; for g in $groups; do [ "$g" = "$what" ] || kept="$kept $g"; done; groups="$kept" ;;
    folder) folders="$folders $what" ;;
  esac
done
for g in $groups; do kill -s KILL -- "-$g" 2>/dev/null; done
for f in $folders; do rm -rf -- "$f"; done
"#;

/// How often the end of a process is looked for.
const STEP: Duration = Duration::from_millis(20);

struct Watchdog {
    pipe: Mutex<ChildStdin>,
}

impl Watchdog {
    fn get() -> Result<&'static Self, Error> {
        static WATCHDOG_PROCESS: OnceLock<Watchdog> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watchdog) = WATCHDOG_PROCESS.get() {
            return Ok(watchdog);
        }
        // A group of its own: Ctrl-C reaches this process and not the watchdog.
        let mut shell = Command::new("sh")
            .args(["-c", WATCHDOG])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting the watchdog"))?;
        let pipe = shell.stdin.take().ok_or_else(|| Error::Deadline("the watchdog's pipe".to_owned()))?;
        Ok(WATCHDOG_PROCESS.get_or_init(|| Self { pipe: Mutex::new(pipe) }))
    }

    fn tell(&self, line: &str) -> Result<(), Error> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipe, "{line}").map_err(Error::io("telling the watchdog"))
    }
}

/// Has a folder removed when this process ends without doing so itself.
pub fn remove_at_the_end(folder: &Path) -> Result<(), Error> {
    Watchdog::get()?.tell(&format!("folder {}", folder.display()))
}

/// A process in a group of its own that ends with this process.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Supervised {
    /// Starts a command with its output in a log file, and registers it.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::io(format!("opening {}", log.display())))?;
        let also = file.try_clone().map_err(Error::io("opening a log twice"))?;
        let watchdog = Watchdog::get()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(also)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {name}")))?;
        let supervised = Self { child, log: log.to_owned(), name };
        watchdog.tell(&format!("add {}", supervised.pid()))?;
        Ok(supervised)
    }

    /// Process id, which is the id of its group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn rustix_pid(&self) -> Option<Pid> {
        i32::try_from(self.pid()).ok().and_then(Pid::from_raw)
    }

    /// Sends a signal to the process, if it still runs.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if self.try_status()?.is_some() {
            return Ok(());
        }
        let Some(pid) = self.rustix_pid() else { return Ok(()) };
        kill_process(pid, signal).map_err(|e| Error::io(format!("signalling {}", self.name))(e.into()))
    }

    /// How it ended, if it did.
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
                return Err(Error::Deadline(self.name.clone()));
            }
            std::thread::sleep(STEP);
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        if let (Ok(None), Some(pid)) = (self.try_status(), self.rustix_pid()) {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }

    /// All that it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The last lines that it has printed.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Waits until its output holds a line of which `find` makes something.
    pub fn wait_line<T>(&mut self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = self.log().lines().find_map(&find) {
                return Ok(found);
            }
            let ended = self.try_status()?.is_some();
            if ended || Instant::now() >= end {
                let log = self.log_tail(20);
                return Err(Error::Build {
                    program: "a line of output",
                    output: format!("{}: {log}", self.name),
                });
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
        if let Ok(watchdog) = Watchdog::get() {
            let _ = watchdog.tell(&format!("drop {}", self.pid()));
        }
    }
}
