//! Puts one mistake after the other into a copy of the sources and runs the checks that must find it.
//!
//! A mistake is a piece of source text with its replacement. If the text is not in its file exactly once, or the result does
//! not compile, the mistake proves nothing and the run fails.
//!
//!     cargo run -p protocol-mutants                  # all
//!     cargo run -p protocol-mutants -- NAME…         # some
//!     cargo run -p protocol-mutants -- --explore     # every check for every mistake: who finds what

mod checks;
mod list;
mod tree;

use std::{path::PathBuf, process::ExitCode};

use checks::{Check, Verdict};
use list::Mistake;
use tree::Tree;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let explore = arguments.iter().any(|a| a == "--explore");
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let chosen: Vec<&Mistake> = list::all()
        .filter(|mistake| names.is_empty() || names.iter().any(|name| *name == mistake.name))
        .collect();
    match run(&chosen, explore) {
        Ok(missed) if missed.is_empty() => {
            println!("protocol-mutants: {} of {} found", chosen.len(), chosen.len());
            ExitCode::SUCCESS
        }
        Ok(missed) => {
            println!("protocol-mutants: {} of {} found", chosen.len() - missed.len(), chosen.len());
            for name in missed {
                println!("not found as it should be: {name}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("protocol-mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the checks of each mistake. Returns the names of those that one of their checks did not find.
fn run(chosen: &[&Mistake], explore: bool) -> Result<Vec<&'static str>, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let tree = Tree::copy(&root)?;
    let used = |check: &Check| explore || chosen.iter().any(|mistake| mistake.found_by.contains(check));
    for check in Check::ALL.into_iter().filter(used) {
        if let Verdict::Found(by) = check.run(&tree)? {
            return Err(format!("{check} fails without any mistake: {}", by.join(", ")));
        }
    }
    let mut missed = Vec::new();
    for mistake in chosen {
        let planted = tree.plant(mistake)?;
        let checks = if explore { &Check::ALL[..] } else { mistake.found_by };
        let mut all = true;
        for check in checks {
            let verdict = check.run(&tree).map_err(|error| format!("{}: {error}", mistake.name))?;
            match verdict {
                Verdict::Found(by) => println!("{:<44} {check}: {}", mistake.name, by.join(", ")),
                Verdict::Missed => {
                    println!("{:<44} {check}: not found", mistake.name);
                    all = false;
                }
            }
        }
        if !all && !explore {
            missed.push(mistake.name);
        }
        drop(planted);
    }
    Ok(missed)
}
