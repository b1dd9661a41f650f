//! The commands, one module each.

pub mod completion;
pub mod explain;
pub mod generate;
pub mod hold;
pub mod plan;
pub mod report;
pub mod retry;
pub mod start;
pub mod watch;

use crate::{
    cli::{Cli, Command},
    failure::Failure,
};

/// Carries a command out.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let cluster = cli.cluster;
    match cli.command {
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
            completion::script(shell);
            Ok(())
        }
        Command::Complete { words } => completion::answer(&cluster, &words).await,
    }
}

/// Writes to stdout. That a reader such as `head` has gone is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("writing the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Each item on a line of its own.
pub(crate) fn lines<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().fold(String::new(), |text, item| text + item.as_ref() + "\n")
}

/// JSON for stdout.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::failed(format!("writing JSON: {error}")))
}

/// `1 instance`, `2 instances`.
pub(crate) fn count(n: impl TryInto<u64>, thing: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}
