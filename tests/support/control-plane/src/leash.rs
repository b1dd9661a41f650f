//! Ends processes and removes folders when this process ends, however it ends: by a panic, Ctrl-C, or `kill -9`.
//!
//! A small shell reads from a pipe whose other end only this process holds; when this process is gone the pipe closes,
//! and the shell cleans up. PR_SET_PDEATHSIG would need unsafe code, and fires when the *thread* ends that started the
//! child.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Error;

/// Kills its own group, itself included.
const KILL_GROUP: &str = "trap '' HUP INT TERM; read -r _; kill -s KILL 0";
/// Removes a folder. The servers that use it die at the same time and may still write to it at first.
const REMOVE_FOLDER: &str = "trap '' HUP INT TERM; read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- \"$1\" && exit; sleep 1; done";

/// A process group that does not outlive this process.
///
/// The shell leads the group. The group therefore exists before its first member, and its id is not given to another group
/// as long as the leash is held.
#[derive(Debug)]
pub(crate) struct Leash {
    holder: Option<Child>,
    group: Pid,
}

impl Leash {
    pub(crate) fn new() -> Result<Self, Error> {
        Self::held_by(KILL_GROUP, None)
    }

    /// The shell is at the head of a group of its own, so Ctrl-C reaches this process and not the shell.
    fn held_by(script: &str, argument: Option<&Path>) -> Result<Self, Error> {
        let holder = Command::new("/bin/sh")
            .args(["-c", script, "leash"])
            // An argument, not part of the script: the name of a folder may have spaces.
            .args(argument)
            // A folder that is never removed.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting /bin/sh, which ends the servers when this process ends"))?;
        let group = Pid::from_child(&holder);
        Ok(Self { holder: Some(holder), group })
    }

    /// Starts a command within the group.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child, std::io::Error> {
        command.process_group(self.group.as_raw_pid()).spawn()
    }

    /// Kills the whole group, whether or not the process that was started first still runs.
    pub(crate) fn end(&mut self) {
        // Only once: afterwards the kernel may give the id to another group.
        let Some(mut holder) = self.holder.take() else { return };
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = holder.wait();
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.end();
    }
}

/// A temporary folder that does not outlive this process.
#[derive(Debug)]
pub struct Folder {
    // Dropped in this order: the folder first, then the shell that would remove it.
    folder: tempfile::TempDir,
    _remover: Leash,
}

impl Folder {
    /// Makes a folder whose name begins with `prefix`.
    pub fn new(prefix: &str) -> Result<Self, Error> {
        // Absolute even if TMPDIR is relative: the servers and the shell run in other folders.
        let folder = std::path::absolute(std::env::temp_dir())
            .and_then(|parent| tempfile::Builder::new().prefix(prefix).tempdir_in(parent))
            .map_err(Error::io("making a temporary folder"))?;
        let remover = Leash::held_by(REMOVE_FOLDER, Some(folder.path()))?;
        Ok(Self { folder, _remover: remover })
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
