//! Explores configurations and prints the result of each.

use std::process::ExitCode;

use clap::Parser;
use model::{
    Model,
    configurations::{find, large, small},
    explore::Search,
};

/// Explores configurations of the model.
#[derive(Parser)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct Options {
    /// Name of a configuration; `all` for each of them, `small` for those of the tests, `large` for the others.
    #[arg(long, default_value = "all")]
    config: String,
    /// Another number of ids than the configuration's own.
    #[arg(long)]
    ids: Option<usize>,
    /// Another number of processes.
    #[arg(long)]
    processes: Option<usize>,
    /// Other bounds than the configuration's own, such as crashes=2; may be repeated.
    #[arg(long, value_name = "FAULT=N")]
    bound: Vec<String>,
    /// Fine steps, whatever the configuration says.
    #[arg(long)]
    fine: bool,
    /// Don't check L1.
    #[arg(long)]
    safety_only: bool,
    /// Find the shortest trace; keeps all states of one depth whole, which takes gigabytes where there are millions.
    #[arg(long)]
    breadth_first: bool,
    /// Stop at so many states.
    #[arg(long, default_value_t = 100_000_000)]
    limit: usize,
    /// Say how far it is.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut chosen = match options.config.as_str() {
        "all" => small().into_iter().chain(large()).collect(),
        "small" => small(),
        "large" => large(),
        name => find(name).into_iter().collect::<Vec<_>>(),
    };
    if chosen.is_empty() {
        eprintln!("no configuration is called {}", options.config);
        return ExitCode::FAILURE;
    }
    let mut code = ExitCode::SUCCESS;
    for configuration in &mut chosen {
        configuration.ids = options.ids.unwrap_or(configuration.ids);
        configuration.processes = options.processes.unwrap_or(configuration.processes);
        configuration.fine |= options.fine;
        configuration.liveness &= !options.safety_only;
        for bound in &options.bound {
            let set = bound.split_once('=').and_then(|(what, n)| Some((what, n.parse().ok()?)));
            if set.is_none_or(|(what, n)| !configuration.budget.set(what, n)) {
                eprintln!("--bound {bound}: not a fault and its bound");
                return ExitCode::FAILURE;
            }
        }
        let model = match Model::new(configuration.clone()) {
            Ok(model) => model,
            Err(why) => {
                eprintln!("{}: {why}", configuration.name);
                return ExitCode::FAILURE;
            }
        };
        let at_once = if options.breadth_first { usize::MAX } else { 1 };
        let search = Search::new(&model).newest_first(at_once);
        let report = search.run(options.limit, |waiting, states| {
            if options.verbose {
                eprintln!("{states} states, {waiting} to go on with");
            }
        });
        if report.found.is_some() {
            code = ExitCode::FAILURE;
            if !options.breadth_first {
                eprintln!("--breadth-first finds the shortest trace");
            }
        }
        println!("{report}");
    }
    code
}
