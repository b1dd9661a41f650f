//! Runs `go build` and shows its progress.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{Error, leash::Leash};

/// How often a build reports its progress.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Linker flags that strip a program and set Kubernetes' version. Without the version, the server calls itself v0.0.0-master
/// and kubectl warns about skew.
pub(crate) fn ldflags(go_mod: &str) -> String {
    let version = go_mod.lines().find_map(|line| {
        let version = line.trim().strip_prefix("k8s.io/kubernetes v")?;
        version.split_whitespace().next()
    });
    let Some(version) = version else { return "-s -w".to_owned() };
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let set = "-X k8s.io/component-base/version";
    format!("-s -w {set}.gitVersion=v{version} {set}.gitMajor={major} {set}.gitMinor={minor}")
}

/// Builds one package of a module. The build is stopped when this process ends, and with it the lock.
pub(crate) fn build(
    module: &Path,
    program: &'static str,
    package: &str,
    ldflags: &str,
    into: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let started = Instant::now();
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .args(["build", "-v", "-mod=readonly", "-ldflags", ldflags, "-o"])
        .arg(into)
        .arg(package)
        // Ignore a go.work file in a folder above.
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let leash = Leash::new()?;
    let mut go = leash.spawn(&mut command).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NoGo,
        _ => Error::io("starting go")(error),
    })?;
    let (lines, heard) = mpsc::channel();
    if let Some(stderr) = go.stderr.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let (mut output, mut said) = (Vec::new(), Instant::now());
    loop {
        match heard.recv_timeout(HEARTBEAT.saturating_sub(said.elapsed())) {
            Ok(line) => output.push(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        if said.elapsed() >= HEARTBEAT {
            said = Instant::now();
            let (packages, seconds) = (output.len(), started.elapsed().as_secs());
            let last = output.last().map_or("", String::as_str);
            say(&format!("  {program}: {packages} packages, {seconds} s, at {last}"));
        }
    }
    let status = go.wait().map_err(Error::io("waiting for go"))?;
    if status.success() {
        return Ok(());
    }
    let tail = output.get(output.len().saturating_sub(20)..).unwrap_or_default().join("\n");
    Err(Error::Build { program, output: tail })
}

/// The folder with the sources of a dependency of a module. Go fetches them if they are missing.
pub(crate) fn source(module: &Path, dependency: &str) -> Result<PathBuf, Error> {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .args(["list", "-m", "-mod=readonly", "-f", "{{.Dir}}", dependency])
        .env("GOWORK", "off");
    let output = command.output().map_err(Error::io("running go list"))?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || folder.is_empty() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Source { dependency: dependency.to_owned(), output });
    }
    Ok(PathBuf::from(folder))
}

#[cfg(test)]
mod tests {
    use super::ldflags;

    #[test]
    fn the_version_is_that_of_the_module() {
        assert_eq!(
            ldflags("require (\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n"),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
        );
    }

    /// An update of one module and not of the others would build a mixture.
    #[test]
    fn every_staging_module_is_of_the_same_release() {
        let go_mod = include_str!("../programs/go.mod");
        let version = go_mod.lines().find_map(|l| l.trim().strip_prefix("k8s.io/kubernetes v1.")).unwrap();
        let staging = format!("v0.{}", version.split_whitespace().next().unwrap());
        let (_, replaced) = go_mod.split_once("\nreplace (\n").unwrap();
        let lines: Vec<&str> = replaced.lines().take_while(|line| *line != ")").collect();
        assert!(lines.len() > 30, "{lines:?}");
        for line in lines {
            let (old, new) = line.trim().split_once(" => ").unwrap();
            assert_eq!(new, format!("{old} {staging}"));
        }
    }
}
