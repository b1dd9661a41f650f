//! The command line. The completion and the reference page are made from it.

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    args::ClusterArgs,
    commands::{completion, explain, generate, hold, plan, report, retry, start, watch},
    failure::Failure,
};

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

impl Cli {
    /// Parses the arguments of this process. The error is what clap answers instead: a help text, or a refusal.
    pub fn parse_arguments() -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::try_parse_from(arguments)
    }

    /// Carries the command out.
    pub async fn run(self) -> Result<(), Failure> {
        let cluster = self.cluster;
        match self.command {
            Command::Generate(args) => generate::run(&cluster, args).await,
            Command::Plan(args) => plan::run(&cluster, args).await,
            Command::Start(args) => start::run(&cluster, args).await,
            Command::Watch(args) => watch::run(&cluster, args).await,
            Command::Explain(args) => explain::run(&cluster, args).await,
            Command::Hold(args) => hold::hold(&cluster, args).await,
            Command::Release(args) => hold::release(&cluster, args).await,
            Command::Report(args) => report::run(&cluster, args).await,
            Command::Retry(args) => retry::run(&cluster, args).await,
            Command::Completion { shell } => {
                completion::script(shell, &mut command());
                Ok(())
            }
            Command::Complete { words } => completion::answer(command(), &cluster, &words).await,
        }
    }
}

/// The command line, for completions and the reference page.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_agree_with_one_another() {
        command().debug_assert();
    }
}
