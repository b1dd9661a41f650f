//! The real kubectl, or helm, with a deadline. It writes nothing outside the control plane's folder.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Error, leash::Leash};

const LIMIT: Duration = Duration::from_mins(2);

/// Environment variables that would change what kubectl does; they are removed.
const NOT_OURS: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "KUBERC",
    "KUBECTL_EXTERNAL_DIFF",
];

/// One call of kubectl, or of another client of the API server.
#[derive(Debug)]
pub struct Kubectl {
    command: Command,
    /// The command line, for error messages.
    written: String,
    stdin: Option<String>,
    limit: Duration,
}

/// What kubectl answered.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Kubectl {
    pub(crate) fn new<S: AsRef<str>>(
        program: PathBuf,
        kubeconfig: &Path,
        home: &Path,
        arguments: &[S],
    ) -> Self {
        Self::of(Command::new(program), kubeconfig, home, arguments)
    }

    /// A call with these arguments of what a command starts, which may be kubectl itself or a program that runs it elsewhere.
    pub fn of<S: AsRef<str>>(mut command: Command, kubeconfig: &Path, home: &Path, arguments: &[S]) -> Self {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let program = command.get_args().last().unwrap_or(command.get_program());
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let written = format!("{name} {}", arguments.join(" "));
        command
            .args(&arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", home)
            .env("KUBECACHEDIR", home.join("kubectl-cache"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for setting in NOT_OURS {
            command.env_remove(setting);
        }
        Self { command, written, stdin: None, limit: LIMIT }
    }

    /// The command, for a caller that runs it in another way.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Sets its standard input.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets its deadline, which is two minutes by default.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it. An exit code other than 0 is no error here.
    pub fn run(mut self) -> Result<Output, Error> {
        self.command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let leash = Leash::new()?;
        let mut child =
            leash.spawn(&mut self.command).map_err(Error::io(format!("starting {}", self.written)))?;
        if let (Some(text), Some(mut pipe)) = (self.stdin.take(), child.stdin.take()) {
            std::thread::spawn(move || {
                // kubectl may refuse and end before it has read everything.
                let _ = pipe.write_all(text.as_bytes());
            });
        }
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let end = Instant::now() + self.limit;
        let status = loop {
            if let Some(status) =
                child.try_wait().map_err(Error::io(format!("waiting for {}", self.written)))?
            {
                break status;
            }
            if Instant::now() >= end {
                drop(leash);
                let _ = child.wait();
                return Err(Error::Deadline(format!("{} did not end", self.written)));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // A child that it has started may hold its pipes open.
        drop(leash);
        let join = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
        Ok(Output { status, stdout: join(stdout), stderr: join(stderr) })
    }

    /// Runs it and returns its standard output; an error if its exit code is not 0.
    pub fn ok(self) -> Result<String, Error> {
        let command = self.written.clone();
        let output = self.run()?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(Error::Kubectl { command, stderr: output.stderr })
        }
    }
}

fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
