//! Runs seeds: one with its log, or many with figures.

use std::process::ExitCode;

use clap::Parser;
use simulation::{campaign::campaign, replay, run::run_seed};

/// Simulates the controller from seeds, and says which properties did not hold.
#[derive(Parser)]
struct Args {
    /// Replay this seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print the log of every message.
    #[arg(short, long, requires = "seed")]
    verbose: bool,
    /// Run so many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let good = if let Some(seed) = args.seed { one(seed, args.verbose) } else { many(&args) };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, verbose: bool) -> bool {
    let outcome = run_seed(seed, verbose);
    for line in &outcome.lines {
        println!("{line}");
    }
    println!(
        "seed {seed}, log {:016x}, {:.0} s of virtual time",
        outcome.hash,
        outcome.virtual_time.as_secs_f64()
    );
    for (name, phase) in &outcome.ends {
        println!("{name}: {phase}");
    }
    for violation in &outcome.violations {
        println!("{}: {}", violation.property, violation.what);
    }
    if !outcome.violations.is_empty() {
        println!("{}", replay(seed));
    }
    outcome.violations.is_empty()
}

fn many(args: &Args) -> bool {
    let figures = campaign(args.from..args.from.saturating_add(args.seeds), args.threads);
    println!("{}", figures.report());
    figures.failed.is_empty()
}
