//! Prints the time of one decision, as a table.

use std::process::ExitCode;

use bench_decisions::{CASES, HEAD, measure};
use clap::Parser;

/// Measures how the time of one decision grows with ids and with parts of a bisection
#[derive(Parser)]
struct Arguments {
    /// Decisions of each case; the shortest counts
    #[arg(long, default_value_t = 20)]
    runs: usize,
}

fn main() -> ExitCode {
    let Arguments { runs } = Arguments::parse();
    println!("{HEAD}");
    for case in CASES {
        match measure(case, runs) {
            Ok(measured) => println!("{measured}"),
            Err(error) => {
                eprintln!("{case:?}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
