//! What ends with this process, whatever ends it: a panic that aborts, Ctrl-C, `kill -9` of the test runner.
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
/// Removes a folder. The servers in it die at the same time, so it may still be written to at first.
const REMOVE_FOLDER: &str = "trap '' HUP INT TERM; read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- \"$1\" && exit; sleep 1; done";

/// A process group that does not outlive this process.
///
/// The shell leads the group. So the group is there before its first member and nothing can be started that is not yet
/// covered; and as long as the leash is held, its id cannot become that of somebody else's group.
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
            // An argument and no part of the script: a folder may have spaces in its name.
            .args(argument)
            // No folder that may be gone by then.
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
        // Only once: afterwards the id is free for others.
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
pub(crate) struct Folder {
    // Dropped in this order: the shell is there until the folder is not.
    folder: tempfile::TempDir,
    _remover: Leash,
}

impl Folder {
    pub(crate) fn new(prefix: &str) -> Result<Self, Error> {
        // Absolute even if TMPDIR is not: the servers and the shell may run in another folder.
        let folder = std::path::absolute(std::env::temp_dir())
            .and_then(|parent| tempfile::Builder::new().prefix(prefix).tempdir_in(parent))
            .map_err(Error::io("making a temporary folder"))?;
        let remover = Leash::held_by(REMOVE_FOLDER, Some(folder.path()))?;
        Ok(Self { folder, _remover: remover })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}
