//! `make bench`: measures, and prints Markdown that can be committed as a dated result.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bench::{
    BenchError, baseline,
    report::{Outcome, all_hold, summary},
    run::run,
    scenario::Scenario,
};
use clap::{Parser, Subcommand};
use harness::Stage;
use k8s_openapi::jiff::Timestamp;

/// Measures the controller beside a plain baseline and the least possible.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Seeds of each scenario, from 1 on.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// One scenario instead of all.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Carries out what a file says, as a script would; for the benchmark itself.
    #[command(hide = true)]
    Baseline {
        /// The file.
        task: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(Command::Baseline { task }) => as_baseline(task).map(|()| true),
        None => bench(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn as_baseline(task: &Path) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| BenchError::System { what: "making a runtime", source })?;
    runtime.block_on(baseline::main(task))
}

/// Whether all musts hold.
fn bench(args: &Args) -> Result<bool, BenchError> {
    let scenarios = chosen(args.only.as_deref())?;
    let binary = Stage::binary_beside_this()?;
    println!("# Fast and polite at the cloud, {}\n", today());
    println!("{}\n", about(args));
    let mut outcomes = Vec::new();
    // One after the other: thirty controllers on one API server would measure that server.
    for scenario in &scenarios {
        let outcome = all_seeds(scenario, args.seeds, &binary)?;
        println!("{}", outcome.table());
        outcomes.push(outcome);
    }
    println!("{}", summary(&outcomes));
    Ok(all_hold(&outcomes))
}

fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = Timestamp::from_second(i64::try_from(seconds).unwrap_or(0)).unwrap_or_default();
    now.strftime("%Y-%m-%d").to_string()
}

fn chosen(only: Option<&str>) -> Result<Vec<Scenario>, BenchError> {
    let all = Scenario::all();
    let Some(name) = only else { return Ok(all) };
    let known = all.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let found: Vec<Scenario> = all.into_iter().filter(|scenario| scenario.name == name).collect();
    if found.is_empty() { Err(BenchError::NoScenario { name: name.to_owned(), known }) } else { Ok(found) }
}

/// How the figures were made, and what their words mean.
fn about(args: &Args) -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let only = args.only.as_ref().map_or_else(String::new, |name| format!(" ONLY={name}"));
    format!(
        "`make bench SEEDS={}{only}` on {processors} processors. Means over the seeds. Controller (release build, defaults but for \
         the rates), kube-apiserver, simulated cloud and baseline run on this machine in real time, seeds side by side; a \
         reply of the cloud takes less than a millisecond, which flatters the baseline most. *Baseline*: a loop as people \
         script it, in one process: batches of 50 one after the other, then the status of each open id in turn, 10 s of \
         sleep, and again; a second of sleep after a 429. *Reads before the calls* are those of which no id had been \
         accepted; all others count as *reads after that*, refused ones too. The least memory is that of a controller with nothing \
         to do.",
        args.seeds
    )
}

/// Each in a thread.
fn side_by_side<T: Sync, R: Send>(
    all: &[T],
    work: impl Fn(&T) -> Result<R, BenchError> + Sync,
) -> Result<Vec<R>, BenchError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(BenchError::Panicked))).collect()
    })
}

fn all_seeds(scenario: &Scenario, seeds: u64, binary: &Path) -> Result<Outcome, BenchError> {
    let next = AtomicU64::new(1);
    let lanes = vec![(); scenario.at_once.min(usize::try_from(seeds).unwrap_or(usize::MAX))];
    let lane = |(): &()| {
        let mut runs = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed > seeds {
                return Ok(runs);
            }
            let started = Instant::now();
            let measured = run(scenario, seed, binary)?;
            let seconds = started.elapsed().as_secs();
            eprintln!("{} seed {seed}: {seconds} s, {:?}", scenario.name, measured.controller);
            runs.push(measured);
        }
    };
    let runs = side_by_side(&lanes, lane)?.into_iter().flatten().collect();
    Ok(Outcome { scenario: scenario.clone(), runs })
}
