//! Runs seeds.

use clap::Parser;
use simulation::run::run_seed;

/// Simulates the controller.
#[derive(Parser)]
struct Args {
    /// One seed.
    #[arg(long)]
    seed: u64,
    /// Print the log.
    #[arg(short)]
    verbose: bool,
}

fn main() {
    let args = Args::parse();
    let outcome = run_seed(args.seed, args.verbose);
    for line in &outcome.lines {
        println!("{line}");
    }
    println!("{:016x} {:?} {:?}", outcome.hash, outcome.violations, outcome.ends);
}
