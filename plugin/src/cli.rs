//! The command line. The completion and the reference page are made from it.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::commands::{explain, generate, hold, plan, report, retry, start, watch};

const EXIT_CODES: &str = "Exit codes:
  0  good
  1  it failed, or what was asked is not so; stderr says why, and what to do
  2  the command line can't be carried out
  3  the time limit passed first

NO_COLOR turns colours off. Progress bars are drawn on a terminal only.";

/// Retire CloudDC machines from the terminal: find them, plan, start, watch, stop, report.
///
/// It works on InstanceDeletion objects, and reads the cloud for `generate` and `plan --racks`. It never calls an operation of the
/// cloud that changes anything: only the controller deletes.
#[derive(Parser, Debug)]
#[command(name = "kubectl-idel", bin_name = "kubectl idel", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, as kubectl has it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// File that says where the cluster is; else KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; else its current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace; else that of the context.
    #[arg(short = 'n', long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// A command.
#[derive(Subcommand, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Command {
    /// List instances at the cloud by rack, tag and more, and write manifests that delete them.
    Generate(generate::GenerateArgs),
    /// Wait for the plan of an object and print it.
    Plan(plan::PlanArgs),
    /// Start the deletion of a planned object.
    Start(start::StartArgs),
    /// Show how far deletions are, until they have ended.
    Watch(watch::WatchArgs),
    /// Say why an object waits, what to do, and who holds it.
    Explain(explain::ExplainArgs),
    /// Stop: no new call is made for the objects, whatever git says.
    Hold(hold::HoldArgs),
    /// Take the hold away.
    Release(hold::ReleaseArgs),
    /// Say what was deleted, when, and by which call: one row for each instance.
    Report(report::ReportArgs),
    /// Write a manifest of the failed instances under a new name.
    Retry(retry::RetryArgs),
    /// Write a script of completions for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Answers kubectl's questions for completions.
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete {
        /// The words that follow `kubectl idel` on the command line. The shell completes the last of them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Form of an output.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Cli {
    /// Parses the arguments of this process. The error is what clap answers instead: a help text, or a refusal.
    pub fn parse_arguments() -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::try_parse_from(arguments)
    }
}

/// The command line, for completions and the reference page.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses a duration such as 90s, 30m, 2h or 3d.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 90s, 30m, 2h or 3d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match text.strip_prefix(digits) {
        Some("s") => number,
        Some("m") => number.saturating_mul(60),
        Some("h") => number.saturating_mul(3_600),
        Some("d") => number.saturating_mul(86_400),
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(seconds))
}

/// A label or tag `key=value`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_agree_with_one_another() {
        command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(duration("3d"), Ok(Duration::from_hours(72)));
        for bad in ["", "5", "s", "1w", "-1s", "1.5h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
