//! One run: chaos, healing, the end, silence, judgement.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clouddc_simulator::EndTime;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    faults::Faults,
    guards, judge,
    judge::Violation,
    machines,
    plan::{Act, Course, GuardAct, NAMESPACES, NameAct, PROJECT, Plan, SecretAct, TOKENS},
    process::start,
    record::text,
    recorded,
    sim::{PLURAL, Sim},
    users,
};

/// Every object ends within this time after the last fault.
const L1_BOUND: Duration = Duration::from_hours(6);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_mins(20);

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash of the whole log.
    pub hash: u64,
    /// Properties that did not hold.
    pub violations: Vec<Violation>,
    /// The log, if it was kept.
    pub lines: Vec<String>,
    /// Calls that left and delete or power off.
    pub delete_calls: u64,
    /// Calls to the cloud.
    pub calls: u64,
    /// Versions of objects.
    pub versions: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Effects of processes.
    pub effects: u64,
    /// Virtual time.
    pub virtual_time: Duration,
    /// How often each kind of fault came.
    pub faults: Vec<u64>,
    /// How each object ended.
    pub ends: Vec<(String, String)>,
}

/// Runs what a seed draws.
#[must_use]
pub fn run_seed(seed: u64, keep_trace: bool) -> Outcome {
    let (plan, faults) = Plan::drawn(seed);
    run(plan, faults, None, keep_trace)
}

/// Runs a plan. The process that has the effect `crash_after` dies of it.
///
/// # Panics
/// If there is no runtime to be had.
#[must_use]
pub fn run(plan: Plan, faults: Faults, crash_after: Option<u64>, keep_trace: bool) -> Outcome {
    let builder = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    #[expect(clippy::expect_used, reason = "a runtime without drivers needs nothing that could be missing")]
    let runtime = builder.expect("a runtime");
    runtime.block_on(simulate(plan, faults, crash_after, keep_trace))
}

async fn simulate(plan: Plan, faults: Faults, crash_after: Option<u64>, keep_trace: bool) -> Outcome {
    let seed = plan.seed;
    let sim = Sim::new(plan, faults, keep_trace);
    sim.with(|state| state.crash_after = crash_after);
    populate(&sim);
    for _ in 0..sim.plan.processes {
        start(&sim);
    }
    chaos(&sim).await;
    heal(&sim);
    ended(&sim).await;
    silence(&sim).await;
    let ends = sim.with(|state| {
        let all = state.api.list(PLURAL);
        all.map(|(place, object)| (place.name.clone(), text(object, "/status/phase").to_owned())).collect()
    });
    let virtual_time = sim.now();
    sim.with(|state| recorded::keep(&state.record));
    sim.with(|state| Outcome {
        seed,
        hash: state.trace.hash(),
        violations: judge::judge(&state.record, &sim.plan),
        lines: state.trace.lines().to_vec(),
        delete_calls: state
            .record
            .calls
            .iter()
            .filter(|c| judge::view::changes(c.operation) && c.left.is_some())
            .count() as u64,
        calls: state.record.calls.len() as u64,
        versions: state.record.versions.len() as u64,
        crashes: state.record.processes.iter().filter(|p| p.died.is_some()).count() as u64,
        effects: state.effects,
        virtual_time,
        faults: state.faults.counts().to_vec(),
        ends,
    })
}

fn populate(sim: &Arc<Sim>) {
    let now = sim.now();
    sim.with(|state| {
        for (n, namespace) in NAMESPACES.iter().enumerate() {
            state.cloud.add_token(namespace, TOKENS[n]);
        }
        for id in sim.plan.objects.iter().flat_map(|o| &o.ids) {
            state.cloud.set_state(PROJECT, id, "running", now);
        }
        for (id, course) in &sim.plan.courses {
            match course {
                Course::FallsToError(times) => state.cloud.set_course(PROJECT, id, None, Some(*times), now),
                Course::NeverEnds => state.cloud.set_course(PROJECT, id, Some(EndTime::Never), None, now),
                Course::UnknownState => state.cloud.set_state(PROJECT, id, "hibernating", now),
                Course::StateRefuses => state.cloud.set_state(PROJECT, id, "stopping", now),
                Course::NotFound => state.cloud.remove(PROJECT, id),
                Course::DeletedElsewhere(_) => {}
                Course::FoundOff => drop(state.cloud.switch(PROJECT, id, false, now)),
                Course::PowerOffFails(times) => {
                    state.cloud.set_power_course(PROJECT, id, None, Some(*times), now);
                }
            }
        }
    });
    sim.plan.objects.iter().flat_map(|o| &o.ids).for_each(|id| guards::christen(sim, id));
    guards::populate(sim);
    for namespace in 0..NAMESPACES.len() {
        users::secret(sim, namespace, SecretAct::Restore);
    }
    for object in &sim.plan.objects {
        let (sim, object) = (sim.clone(), object.clone());
        tokio::spawn(async move {
            sleep(object.created).await;
            users::create(&sim, &object);
        });
    }
    for (id, course) in &sim.plan.courses {
        if let Course::DeletedElsewhere(at) = course {
            let (sim, id, at) = (sim.clone(), id.clone(), *at);
            tokio::spawn(async move {
                for state in ["shutting-down", "terminated"] {
                    sleep(at).await;
                    let now = sim.now();
                    sim.with(|s| s.cloud.set_state(PROJECT, &id, state, now));
                    sim.say(format_args!("cloud: {id} is {state}, by someone else"));
                }
            });
        }
    }
}

async fn chaos(sim: &Arc<Sim>) {
    for (at, act) in sim.plan.acts.clone() {
        sleep(at.saturating_sub(sim.now())).await;
        let living = machines::living(sim);
        let process = sim.with(|s| living.get(s.random.below(living.len())).copied());
        match (act, process) {
            (Act::User(object, what), _) => {
                if let Some(object) = sim.plan.objects.get(object) {
                    users::act(sim, object, what);
                }
            }
            (Act::Secret(namespace, what), _) => users::secret(sim, namespace, what),
            (Act::Guard(what), _) => guards::act(sim, &what),
            (Act::Name(id, what), _) => guards::name(sim, &id, what),
            (Act::Power(id, on), _) => power(sim, &id, on),
            (Act::Reuse(id), _) => reuse(sim, &id),
            (Act::Crash(restart), Some(process)) => machines::crash(sim, process, restart),
            (Act::Freeze(time), Some(process)) => machines::freeze(sim, process, time),
            (Act::Jump(seconds), Some(process)) => machines::jump(sim, process, seconds),
            (Act::Crash(_) | Act::Freeze(_) | Act::Jump(_), None) => {}
        }
    }
    // Every object is there before the faults end.
    let last = sim.plan.objects.iter().map(|o| o.created).max().unwrap_or_default() + Duration::from_secs(1);
    sleep(sim.plan.chaos.max(last).saturating_sub(sim.now())).await;
}

/// Someone powers an instance on or off.
fn power(sim: &Sim, id: &str, on: bool) {
    let now = sim.now();
    let done = sim.with(|state| state.cloud.switch(PROJECT, id, on, now));
    sim.say(format_args!("operator: powers {id} {}: {done}", if on { "on" } else { "off" }));
}

/// Puts another instance on the server of one that has ended.
fn reuse(sim: &Sim, id: &str) {
    let now = sim.now();
    sim.at(|state, moment| {
        let Some(server) = state.cloud.power(PROJECT, id, now).map(|power| power.server) else { return };
        let other = format!("0198170e-eeee-7eee-8eee-{:012x}", state.record.reused.len());
        if state.cloud.reuse_server(PROJECT, id, &other, now) {
            state.trace.add(moment.at, format_args!("cloud: {other} is on the server of {id}"));
            state.record.reused.push((moment, server));
        }
    });
}

/// Faults stop, and whatever stood in the way of an end is gone.
fn heal(sim: &Arc<Sim>) {
    let now = sim.now();
    sim.say(format_args!("everything heals"));
    sim.at(|state, moment| {
        state.record.healed = Some(moment);
        state.faults.on = false;
        // While a process's clock says that a deadline has not passed, nothing ends for it: one that is behind is set right.
        for process in &state.processes {
            process.wall_off.fetch_max(0, Ordering::SeqCst);
        }
    });
    for namespace in 0..NAMESPACES.len() {
        users::secret(sim, namespace, SecretAct::Restore);
    }
    guards::act(sim, &GuardAct::LetGo);
    for object in &sim.plan.objects {
        users::let_go(sim, object);
        object.ids.iter().for_each(|id| guards::name(sim, id, NameAct::Tell));
    }
    sim.with(|state| {
        state.cloud.set_running_deletable(true);
        for (id, course) in &sim.plan.courses {
            let is = state.cloud.state(PROJECT, id, now);
            match (course, is.as_deref()) {
                (Course::UnknownState, Some("hibernating")) | (Course::StateRefuses, Some("stopping")) => {
                    state.cloud.set_state(PROJECT, id, "running", now);
                }
                (Course::NeverEnds, Some("shutting-down")) => {
                    state.cloud.set_state(PROJECT, id, "terminated", now);
                }
                (Course::NeverEnds, Some(_)) => state.cloud.set_course(
                    PROJECT,
                    id,
                    Some(EndTime::Fixed(Duration::from_mins(1))),
                    None,
                    now,
                ),
                _ => {}
            }
        }
    });
}

fn is_over(object: &Value) -> bool {
    let conditions = crate::record::list(object, "/status/conditions");
    let finished = conditions.iter().any(|c| c["type"] == "Finished" && c["status"] == "True");
    let planned = object["spec"]["dryRun"] == true && object["status"]["phase"] == "Planned";
    finished || planned
}

async fn ended(sim: &Arc<Sim>) {
    let limit = sim.now() + L1_BOUND;
    loop {
        let open: Vec<String> = sim.with(|state| {
            let all = state.api.list(PLURAL);
            all.filter(|(_, object)| !is_over(object)).map(|(place, _)| place.name.clone()).collect()
        });
        if open.is_empty() {
            return;
        }
        if sim.now() > limit {
            sim.with(|state| state.record.open = open);
            return;
        }
        sleep(Duration::from_secs(20)).await;
    }
}

/// After the end nothing is heard any more, not even of processes that start anew.
async fn silence(sim: &Arc<Sim>) {
    // By then a lost watch event has been made up for.
    sleep(Duration::from_mins(5)).await;
    sim.at(|state, moment| {
        state.record.quiet = Some(moment);
        state.trace.add(moment.at, format_args!("silence"));
    });
    for process in machines::living(sim) {
        machines::crash(sim, process, Duration::from_secs(1));
    }
    sleep(SILENCE).await;
}
