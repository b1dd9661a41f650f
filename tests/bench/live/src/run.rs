//! One seed of one scenario: the controller and, beside it and against a cloud of its own with the same seed, the baseline.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clouddc_simulator::{Projects, Simulator};
use harness::{Manifest, PROJECT, Stage, TOKEN};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    BenchError, baseline,
    baseline::Task,
    cloud_log, ends,
    figure::{Figure, Sample, number},
    finish::{wait_finished, wait_ready},
    process::Usage,
    scenario::{MEASURED, SETTLING, Scenario},
    stored::Writes,
};

/// No run to the end of all takes as long: the slowest of 100,000 deletions takes eight times the median.
const LIMIT: Duration = Duration::from_mins(15);
/// A throttled run goes on for so long: its first call leaves a while after its start.
const CUT_OFF: Duration = SETTLING.saturating_add(MEASURED).saturating_add(Duration::from_secs(15));
/// Creating a thousand objects takes kubectl most of a minute on an idle machine.
const APPLIED_WITHIN: Duration = Duration::from_mins(10);

const READY_WITHIN: Duration = Duration::from_mins(1);

/// Figures of one seed.
#[derive(Debug)]
pub struct Measured {
    /// The least possible.
    pub least: Sample,
    /// Of the controller.
    pub controller: Sample,
    /// Of the baseline.
    pub baseline: Sample,
}

/// Runs both, side by side, with the binary of the controller.
pub fn run(scenario: &Scenario, seed: u64, binary: &Path) -> Result<Measured, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::system("making a runtime"))?;
    // Both serve on threads of their own.
    let stage = runtime.block_on(Stage::new(scenario.name, binary, scenario.cloud(seed)))?;
    let cloud = runtime.block_on(Simulator::start(scenario.cloud(seed)));
    let cloud = cloud.map_err(BenchError::system("starting the simulator"))?;
    cloud.add_token("user", TOKEN, Projects::All);
    std::thread::scope(|threads| {
        let idle = idle(&stage)?;
        let beside = threads.spawn(|| baseline_figures(scenario, &cloud, &stage));
        let controller = controller_figures(scenario, &stage, &runtime);
        let baseline = beside.join().map_err(|_| BenchError::Panicked)??;
        let mut least = scenario.least();
        least.insert(Figure::PeakMemory, megabytes(idle.peak_bytes));
        if scenario.runs_to_the_end() {
            least.insert(Figure::Wall, ends::slowest(&cloud.courses(PROJECT)).as_secs_f64());
        }
        Ok(Measured { least, controller: controller?, baseline })
    })
}

/// Memory and processor time of a controller without work, after its first list.
fn idle(stage: &Stage) -> Result<Usage, BenchError> {
    let controller = stage.controller_by_default(&[])?;
    wait_ready(|| controller.log(), READY_WITHIN)?;
    Usage::of(&controller.pid().to_string())
}

fn instances(scenario: &Scenario, cloud: &Simulator) -> Vec<Vec<String>> {
    if let Some(fault) = scenario.fault() {
        cloud.script(fault);
    }
    cloud.ids(PROJECT, scenario.total()).chunks(scenario.ids).map(<[String]>::to_vec).collect()
}

fn controller_figures(scenario: &Scenario, stage: &Stage, runtime: &Runtime) -> Result<Sample, BenchError> {
    let objects = instances(scenario, &stage.cloud);
    let start = Instant::now();
    apply(scenario, stage, &objects)?;
    progress(stage, "objects are there", start);
    let start = Instant::now();
    let controller = stage.controller_by_default(scenario.flags)?;
    if scenario.runs_to_the_end() {
        let finished = wait_finished(scenario, stage, LIMIT);
        finished.inspect_err(|_| keep(&stage.namespace, &controller.log()))?;
    } else {
        std::thread::sleep(CUT_OFF);
    }
    let wall = start.elapsed();
    progress(stage, "the controller is done", start);
    let usage = Usage::of(&controller.pid().to_string())?;
    let mut sample = figures(scenario, &stage.cloud, &objects, wall, usage)?;
    if scenario.runs_to_the_end() {
        let (writes, objects) = (runtime.block_on(Writes::of(stage))?, number(scenario.objects));
        sample.insert(Figure::Writes, number(writes.objects) / objects);
        sample.insert(Figure::Events, number(writes.events) / objects);
    }
    Ok(sample)
}

fn baseline_figures(scenario: &Scenario, cloud: &Simulator, stage: &Stage) -> Result<Sample, BenchError> {
    let objects = instances(scenario, cloud);
    let limit = if scenario.runs_to_the_end() { LIMIT } else { CUT_OFF };
    let task = Task {
        url: cloud.url().to_owned(),
        objects,
        seconds: limit.as_secs(),
        cut_off: !scenario.runs_to_the_end(),
    };
    let start = Instant::now();
    let usage = baseline::run(&task, stage.control_plane.folder(), &stage.namespace)?;
    progress(stage, "the baseline is done", start);
    figures(scenario, cloud, &task.objects, start.elapsed(), usage)
}

/// What is measured of both in the same way.
fn figures(
    scenario: &Scenario,
    cloud: &Simulator,
    objects: &[Vec<String>],
    wall: Duration,
    usage: Usage,
) -> Result<Sample, BenchError> {
    let log = cloud.log();
    let mut sample = cloud_log::figures(&log, scenario);
    sample.insert(Figure::PeakMemory, megabytes(usage.peak_bytes));
    sample.insert(Figure::Processor, usage.processor_seconds);
    if scenario.runs_to_the_end() {
        let courses = cloud.courses(PROJECT);
        sample.extend(ends::figures(&log, &courses, objects)?);
        sample.insert(Figure::Wall, wall.as_secs_f64());
        sample.insert(Figure::WallRatio, wall.as_secs_f64() / ends::slowest(&courses).as_secs_f64());
    }
    Ok(sample)
}

fn megabytes(bytes: u64) -> f64 {
    number(usize::try_from(bytes).unwrap_or(usize::MAX)) / 1e6
}

/// What the controller has logged, where a person can read it after the control plane's folder is gone.
fn keep(namespace: &str, log: &str) {
    let path = std::env::temp_dir().join(format!("bench-{}-{namespace}.log", std::process::id()));
    match std::fs::write(&path, log) {
        Ok(()) => eprintln!("{namespace}: the controller's log is in {}", path.display()),
        Err(error) => eprintln!("{namespace}: the controller's log is lost: {error}"),
    }
}

/// Prints progress to standard error.
fn progress(stage: &Stage, what: &str, since: Instant) {
    eprintln!("{}: {what}, {:.0} s", stage.namespace, since.elapsed().as_secs_f64());
}

/// All at once, as from one file.
fn apply(scenario: &Scenario, stage: &Stage, objects: &[Vec<String>]) -> Result<(), BenchError> {
    let manifests = objects.iter().enumerate();
    let manifests = manifests.map(|(number, ids)| {
        let manifest = Manifest::new(&format!("retire-{number}"), ids);
        let always = json!({"when": "Always"});
        let manifest = if scenario.power_off { manifest.with("powerOff", always) } else { manifest };
        manifest.value
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests.collect::<Vec<_>>()});
    let kubectl = stage.control_plane.kubectl(&["-n", &stage.namespace, "apply", "-f", "-"]);
    kubectl.stdin(list.to_string()).limit(APPLIED_WITHIN).ok()?;
    Ok(())
}
