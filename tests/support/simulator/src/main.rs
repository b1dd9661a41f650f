//! The simulator as a program. `--help` says what it does.

mod cli;

use std::{io, io::Write, path::Path, process::ExitCode};

use clap::Parser;
use clouddc_simulator::Simulator;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    match run(&Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "clouddc-simulator");
            drop(writeln!(io::stderr(), "clouddc-simulator: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let simulator = Simulator::start(cli.options()).await?;
    for project in &cli.projects {
        simulator.ids(project, cli.instances);
    }
    let addresses = format!("cloud {}\nadmin {}\n", simulator.url(), simulator.admin_url());
    io::stdout().write_all(addresses.as_bytes())?;
    io::stdout().flush()?;
    if let Some(path) = &cli.ready_file {
        write_whole(path, &addresses)?;
    }
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}

/// A program that waits for the file never sees half of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(&partial, path)
}
