//! Prints what the account's schedule needs, as a table; status 1 if a bound is not kept.

use std::process::ExitCode;

use bench_schedule::{
    fleets::{REQUIRED, others},
    summary::{HEAD, measure},
};
use clap::Parser;

/// Runs the account's schedule in virtual time, and prints a table of what it needs
#[derive(Parser)]
struct Arguments {
    /// Runs of each kind
    #[arg(long, default_value_t = 10)]
    seeds: u64,
}

fn main() -> ExitCode {
    let Arguments { seeds } = Arguments::parse();
    println!("{HEAD}");
    let mut all_hold = true;
    for measured in REQUIRED.into_iter().chain(others()) {
        let summary = measure(&measured, 0..seeds);
        all_hold &= summary.holds();
        println!("{summary}");
    }
    let kept =
        if all_hold { "Every bound in brackets is kept." } else { "Not every bound in brackets is kept." };
    println!("\nMeans over {seeds} seeds; the worst of all seeds. {kept}");
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
