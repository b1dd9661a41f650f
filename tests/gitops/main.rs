//! Flux's own kustomize-controller applies the examples of `deploy/flux`, as it does on a cluster.
//!
//! `make test-gitops` runs this, and builds that program once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod flux;
mod repository;
mod scenarios;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use control_plane::programs::FLUX;
use libtest_mimic::{Arguments, Trial};

use crate::flux::Flux;

/// A scenario: its name, and what it does.
type Scenario = (&'static str, fn(&Flux));

const SCENARIOS: [Scenario; 5] = [
    ("a_plan_then_five_then_the_rest_and_only_then_what_follows", scenarios::plan_canary_rest),
    ("what_people_add_stays_and_nothing_drifts", scenarios::hold_and_drift),
    ("a_file_that_leaves_git_stops_its_deletion", scenarios::pruned),
    ("a_failed_deletion_fails_its_kustomization", scenarios::failed),
    ("other_ids_are_refused_and_the_object_stays", scenarios::refused_change),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = FLUX.find().err();
    if missing.is_some() {
        println!("not run: the scenarios with Flux: its program is not built, run make test-gitops");
    }
    let flux = Arc::new(OnceLock::new());
    let trial = |(name, scenario): Scenario| {
        let flux = flux.clone();
        let run = move || {
            scenario(flux.get_or_init(Flux::start));
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing.is_some())
    };
    let ended = libtest_mimic::run(&arguments, SCENARIOS.into_iter().map(trial).collect());
    // The controller ends before the process does.
    drop(flux);
    ended.exit_code()
}
