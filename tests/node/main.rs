//! The image and the ways to install it, on a real node: what kubelet, containerd, kube-proxy and the node's network make of them.
//!
//! `make test-node` runs this. Each scenario leaves the node as it found it: both replicas ready, and no object open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cluster;
mod disturbances;
mod installed;
mod names;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Trial};
use node::{Network, obstacle};

use crate::cluster::{Cluster, Way};

/// A scenario: its name, and what it does.
type Scenario = (&'static str, fn(&mut Cluster));

/// On a node with IPv4, where deploy/base is installed.
const ON_BASE: [Scenario; 11] = [
    ("base_is_installed_and_one_replica_leads", installed::base),
    ("the_commands_of_the_readme_delete_instances", installed::readme),
    ("a_container_has_no_more_rights_than_the_manifest_says", installed::rights),
    ("every_answer_of_dns_leads_to_the_cloud_or_to_the_right_reason", names::every_answer),
    ("a_rollout_in_the_middle_of_a_call_repeats_nothing", disturbances::rollout),
    ("a_killed_container_repeats_nothing", disturbances::killed_container),
    ("an_eviction_waits_for_the_other_replica", disturbances::eviction),
    ("a_leader_killed_for_its_memory_repeats_nothing", disturbances::out_of_memory),
    ("logs_that_nobody_reads_hold_nothing_up", disturbances::unread_logs),
    ("a_node_without_power_repeats_nothing", disturbances::power_cut),
    ("a_restart_leaves_no_warning", disturbances::quiet_restart),
];
/// On the same node, with SLOW=1: it takes longer than the shortest life of a token, ten minutes.
const SLOW: [Scenario; 1] = [("a_token_that_expires_is_read_again", disturbances::expiring_token)];
/// On a node with IPv6 alone, where the chart is installed.
const ON_CHART: [Scenario; 3] = [
    ("the_chart_is_installed_and_its_test_passes", installed::chart),
    ("a_rollout_of_the_chart_repeats_nothing", disturbances::rollout),
    ("every_answer_of_dns_leads_to_the_cloud_by_ipv6", names::every_answer),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The scenarios of a node change what the others would see.
    arguments.test_threads = Some(1);
    let obstacle = obstacle();
    let clusters = [
        Arc::new(Shared::new(|| Cluster::start(Network::v4(), Way::Base))),
        Arc::new(Shared::new(|| Cluster::start(Network::v6(), Way::Chart))),
    ];
    if let Some(obstacle) = &obstacle {
        println!("not run: the scenarios of the node: {obstacle}");
    }
    let slow = std::env::var_os("SLOW").is_some_and(|asked| !asked.is_empty());
    let on_base = ON_BASE.iter().chain(SLOW.iter().filter(|_| slow));
    let mut trials = Vec::new();
    for (cluster, scenarios) in clusters.iter().zip([on_base.collect::<Vec<_>>(), ON_CHART.iter().collect()])
    {
        for &(name, scenario) in scenarios {
            let cluster = cluster.clone();
            let trial = Trial::test(name, move || {
                cluster.run(scenario);
                Ok(())
            });
            // Counted as skipped.
            trials.push(trial.with_ignored_flag(obstacle.is_some()));
        }
    }
    let ended = libtest_mimic::run(&arguments, trials);
    // The nodes end before the process does.
    drop(clusters);
    ended.exit_code()
}

/// A cluster that the first scenario starts and the others find.
struct Shared {
    state: Mutex<State>,
    start: fn() -> Cluster,
}

enum State {
    NotTried,
    Failed,
    Runs(Box<Cluster>),
}

impl Shared {
    fn new(start: fn() -> Cluster) -> Self {
        Self { state: Mutex::new(State::NotTried), start }
    }

    fn run(&self, scenario: fn(&mut Cluster)) {
        // A scenario that failed leaves the cluster to the next one as it is.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::NotTried) {
            // Kept if the start panics: each further scenario would wait for the same failure.
            *state = State::Failed;
            *state = State::Runs(Box::new((self.start)()));
        }
        match &mut *state {
            State::Runs(cluster) => scenario(cluster),
            State::NotTried | State::Failed => panic!("the node did not start: see the first scenario"),
        }
    }
}
