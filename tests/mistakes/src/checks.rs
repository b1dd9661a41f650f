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

impl Check {
    /// All of them, the quickest first.
    pub const ALL: [Self; 4] = [Self::Tables, Self::Client, Self::Model, Self::Simulation];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Tables => &["-p", "engine-alone", "--lib"],
            Self::Model => &["-p", "model"],
            Self::Simulation => &["-p", "simulation"],
            Self::Client => &["-p", "instance-deletion-controller", "--lib"],
        }
    }

    fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Client => &["--skip", "engine::"],
            Self::Tables | Self::Model | Self::Simulation => &[],
        }
    }

    /// Builds and runs it in the tree.
    pub fn run(self, tree: &Tree) -> Result<Verdict, String> {
        let built = self.cargo(tree, &["--no-run"])?;
        if !built.status.success() {
            let errors = String::from_utf8_lossy(&built.stderr);
            let first =
                errors.lines().find(|line| line.starts_with("error")).unwrap_or("no error said").to_owned();
            return Err(format!("{self} does not compile, so it proves nothing: {first}"));
        }
        let arguments = [&["--no-fail-fast", "--"], self.filters()].concat();
        let ran = self.cargo(tree, &arguments)?;
        if ran.status.success() {
            return Ok(Verdict::Missed);
        }
        let said = String::from_utf8_lossy(&ran.stdout);
        let failed = said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        let failed: Vec<String> = failed.take(NAMES).map(str::to_owned).collect();
        if failed.is_empty() {
            return Err(format!(
                "{self} failed without a failed test: {}",
                said.lines().last().unwrap_or_default()
            ));
        }
        Ok(Verdict::Found(failed))
    }

    fn cargo(self, tree: &Tree, more: &[&str]) -> Result<std::process::Output, String> {
        Command::new(env!("CARGO"))
            .arg("test")
            .args(self.arguments())
            .args(more)
            .current_dir(&tree.root)
            .env("CARGO_TARGET_DIR", &tree.target)
            .output()
            .map_err(|e| format!("running cargo: {e}"))
    }
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
