//! Flux's own kustomize-controller applies the examples of `deploy/flux`, Argo CD's own program judges objects by
//! `deploy/argocd`, and Velero backs objects up and restores them.
//!
//! `make test-gitops` runs this, and builds those programs once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod argo_cd;
mod flux;
mod repository;
mod scenarios;
mod velero;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use control_plane::programs::{ARGO_CD, FLUX, Module, VELERO};
use libtest_mimic::{Arguments, Trial};

use crate::flux::Flux;

/// A scenario with Flux: its name, and what it does.
type WithFlux = (&'static str, fn(&Flux));
/// A scenario with another program, which it starts by itself.
type Alone = (&'static str, fn());

const WITH_FLUX: [WithFlux; 5] = [
    ("a_plan_then_five_then_the_rest_and_only_then_what_follows", scenarios::plan_canary_rest),
    ("what_people_add_stays_and_nothing_drifts", scenarios::hold_and_drift),
    ("a_file_that_leaves_git_stops_its_deletion", scenarios::pruned),
    ("a_failed_deletion_fails_its_kustomization", scenarios::failed),
    ("other_ids_are_refused_and_the_object_stays", scenarios::refused_change),
];
const WITH_ARGO_CD: [Alone; 3] = [
    ("argo_cd_takes_each_phase_as_the_documents_say", argo_cd::health),
    ("argo_cd_takes_a_failed_deletion_for_degraded", argo_cd::degraded),
    ("the_actions_of_argo_cd_stop_and_go_on", argo_cd::actions),
];

const WITH_VELERO: [Alone; 1] =
    [("velero_restores_objects_without_their_records_and_nothing_is_sent_twice", velero::restored)];

/// Whether the program of a module is missing, and says so.
fn is_missing(module: &Module) -> bool {
    let missing = module.find().is_err();
    if missing {
        println!("not run: the scenarios with {}: it is not built, run make test-gitops", module.name);
    }
    missing
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let no_flux = is_missing(&FLUX);
    let flux = Arc::new(OnceLock::new());
    let with_flux = WITH_FLUX.into_iter().map(|(name, scenario)| {
        let flux = flux.clone();
        let run = move || {
            scenario(flux.get_or_init(Flux::start));
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(no_flux)
    });
    let alone = |scenarios: &[Alone], module: &Module| -> Vec<Trial> {
        let missing = is_missing(module);
        let trial = |(name, scenario): &Alone| {
            let scenario = *scenario;
            let run = move || {
                scenario();
                Ok(())
            };
            Trial::test(*name, run).with_ignored_flag(missing)
        };
        scenarios.iter().map(trial).collect()
    };
    let others = alone(&WITH_ARGO_CD, &ARGO_CD).into_iter().chain(alone(&WITH_VELERO, &VELERO));
    let ended = libtest_mimic::run(&arguments, with_flux.chain(others).collect());
    // The controller ends before the process does.
    drop(flux);
    ended.exit_code()
}
