//! The checks that are asked to find a mistake.

use std::{fmt, process::Command};

use crate::tree::Tree;

/// A check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The tables and scenarios beside the decision code.
    Tables,
    /// The exhaustive exploration of the decision code.
    Model,
    /// The whole controller in virtual time, with faults from seeds.
    Simulation,
    /// The unit tests of controller and cloud client, the latter over loopback HTTP.
    Client,
}

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These tests failed.
    Found(Vec<String>),
    /// All passed.
    Missed,
}

/// Names of failed tests that are printed, at most.
const NAMES: usize = 3;

/// What is built, and what is run.
struct Commands {
    build: &'static [&'static str],
    run: &'static [&'static str],
}

impl Check {
    /// All of them, the quickest first.
    pub const ALL: [Self; 4] = [Self::Tables, Self::Client, Self::Simulation, Self::Model];

    fn commands(self) -> Commands {
        match self {
            Self::Tables => Commands {
                build: &["test", "-p", "engine-purity", "--lib", "--no-run"],
                run: &["test", "-p", "engine-purity", "--lib"],
            },
            Self::Client => Commands {
                build: &["test", "--lib", "--no-run"],
                run: &["test", "--lib", "--", "--skip", "engine::"],
            },
            Self::Model => Commands {
                build: &["test", "-p", "model", "--test", "configurations", "--no-run"],
                run: &["test", "-p", "model", "--test", "configurations"],
            },
            Self::Simulation => Commands {
                build: &["build", "-p", "simulation", "--bin", "simulate"],
                run: &["run", "-p", "simulation", "--bin", "simulate", "--", "--seeds", "400"],
            },
        }
    }

    /// Builds and runs it in the tree.
    pub fn run(self, tree: &Tree) -> Result<Verdict, String> {
        let Commands { build, run } = self.commands();
        let built = cargo(tree, build)?;
        if !built.status.success() {
            let errors = String::from_utf8_lossy(&built.stderr);
            let first = errors.lines().find(|line| line.starts_with("error")).unwrap_or("no error said");
            return Err(format!("{self} does not compile, so it proves nothing: {first}"));
        }
        let ran = cargo(tree, run)?;
        if ran.status.success() {
            return Ok(Verdict::Missed);
        }
        let said = String::from_utf8_lossy(&ran.stdout);
        let mut failed: Vec<String> = Vec::new();
        for name in said.lines().filter_map(|line| self.failure(line)) {
            if failed.len() < NAMES && !failed.contains(&name) {
                failed.push(name);
            }
        }
        if failed.is_empty() {
            return Err(format!(
                "{self} failed without saying what: {}",
                said.lines().last().unwrap_or_default()
            ));
        }
        Ok(Verdict::Found(failed))
    }

    /// The test, or the property of the simulation, that a line says has failed.
    fn failure(self, line: &str) -> Option<String> {
        match self {
            Self::Tables | Self::Client | Self::Model => {
                line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned)
            }
            Self::Simulation => {
                let (property, _) = line.strip_prefix("  ")?.split_once(": ")?;
                (!property.contains(' ')).then(|| property.to_owned())
            }
        }
    }
}

fn cargo(tree: &Tree, arguments: &[&str]) -> Result<std::process::Output, String> {
    Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(&tree.root)
        .env("CARGO_TARGET_DIR", &tree.target)
        .output()
        .map_err(|e| format!("running cargo: {e}"))
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tables => "tables",
            Self::Model => "model check",
            Self::Simulation => "simulation",
            Self::Client => "unit tests",
        })
    }
}
