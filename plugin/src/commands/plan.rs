//! `plan`: waits for the plan of an object and prints it.

use std::time::Duration;

use clap::Args;
use instance_deletion_controller::api::{
    InstanceDeletion, NotFoundPolicy, Phase, PlanStatus, PlannedInstance,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp, Unit};
use kube::ResourceExt;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    args::{ClusterArgs, TextOrJson, duration},
    cluster::Cluster,
    failure::Failure,
    inventory::{CloudArgs, Servers, cloud_failure, servers},
    output::{count, json, print},
    table::{printable, table},
};

/// Time between two reads of an object.
const STEP: Duration = Duration::from_millis(500);

/// Arguments of `plan`.
#[derive(Args, Debug)]
#[command(after_help = "Exit code 0: every instance would be deleted, is on its way, or is gone.")]
pub struct PlanArgs {
    /// Name of the InstanceDeletion.
    name: String,

    /// Form of the output.
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: TextOrJson,

    /// How long to wait for the plan.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    timeout: Duration,

    /// Ask the cloud in which rack each server is.
    #[arg(long)]
    racks: bool,

    #[command(flatten)]
    cloud: CloudArgs,
}

/// A plan for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    namespace: String,
    name: String,
    good: bool,
    /// When the soak of the first instance would end, if the deletion were started now.
    #[serde(skip_serializing_if = "Option::is_none")]
    soak_until: Option<String>,
    plan: &'a PlanStatus,
}

/// Prints the plan.
pub async fn run(args: &ClusterArgs, plan: PlanArgs) -> Result<(), Failure> {
    let cluster = Cluster::connect(args).await?;
    let object = wait(&cluster, &plan.name, plan.timeout).await?;
    let nothing = PlanStatus::default();
    let made = plan_of(&object).unwrap_or(&nothing);
    let problem = problem(&object, made);
    print(&match plan.output {
        TextOrJson::Json => json(&Answer {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            good: problem.is_none(),
            soak_until: soak_until(&object).map(|at| at.to_string()),
            plan: made,
        })?,
        TextOrJson::Text => {
            let racks = if plan.racks { Some(racks(args, &plan.cloud, &object).await?) } else { None };
            format!("{}\n{}{}", rows(made, racks.as_ref()), summary(made), soak(&object))
        }
    })?;
    problem.map_or(Ok(()), |problem| Err(Failure::failed(problem)))
}

async fn racks(args: &ClusterArgs, cloud: &CloudArgs, object: &InstanceDeletion) -> Result<Servers, Failure> {
    let spec = &object.spec;
    let mut cloud = cloud.clone();
    if cloud.secret.is_none() && std::env::var_os("HUAWEICLOUD_SDK_AK").is_none() {
        cloud.secret = Some(spec.credentials_secret_ref.name.clone());
    }
    let inventory = cloud.inventory(args, &spec.region, &spec.project_id).await?;
    servers(&inventory).await.map_err(|error| cloud_failure("listing servers", &error))
}

/// Waits until the controller has made the plan of the present spec.
async fn wait(cluster: &Cluster, name: &str, limit: Duration) -> Result<InstanceDeletion, Failure> {
    let end = Instant::now() + limit;
    loop {
        let object = cluster.get(name).await?;
        if plan_of(&object).is_some() {
            return Ok(object);
        }
        if object.spec.dry_run != Some(true) {
            return Err(Failure::failed(format!(
                "{}/{name} has no plan: it was {}; `kubectl idel watch {name}` shows how far it is",
                cluster.namespace,
                if object.spec.dry_run.is_some() { "started" } else { "created without dryRun: true" },
            )));
        }
        let phase = object.status.as_ref().and_then(|status| status.phase);
        if phase.is_some_and(Phase::is_end) {
            let why = why_it_waits(&object).unwrap_or_default();
            return Err(Failure::failed(format!("{}/{name} has ended: {why}", cluster.namespace)));
        }
        if Instant::now() >= end {
            let why = why_it_waits(&object).unwrap_or_else(|| {
                "the controller has not looked at it; check that it runs and covers this namespace".to_owned()
            });
            return Err(Failure::still_running(format!(
                "{}/{name} has no plan after {} s: {why}",
                cluster.namespace,
                limit.as_secs()
            )));
        }
        sleep(STEP).await;
    }
}

fn why_it_waits(object: &InstanceDeletion) -> Option<String> {
    let ready = object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(format!("{}: {}", ready.reason, ready.message))
}

/// The plan of the present spec, if it has been made.
#[must_use]
pub fn plan_of(object: &InstanceDeletion) -> Option<&PlanStatus> {
    let status = object.status.as_ref()?;
    let present = status.observed_generation >= object.metadata.generation;
    status.plan.as_ref().filter(|_| present && object.spec.dry_run == Some(true))
}

/// Why the plan is not what one wants; `None` if every instance would be deleted, is on its way or is gone.
#[must_use]
pub fn problem(object: &InstanceDeletion, plan: &PlanStatus) -> Option<String> {
    let strict = object.spec.not_found_policy == Some(NotFoundPolicy::Fail);
    let found = [
        (plan.not_as_expected, "not as expected, so nothing would be sent for any"),
        (plan.protected, "protected"),
        (plan.unreadable, "waiting to be readable"),
        (if strict { plan.not_found } else { 0 }, "unknown to the cloud"),
    ];
    let found: Vec<String> =
        found.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let of = count(plan.total, "instance");
    (!found.is_empty()).then(|| format!("of {of}, {}; see the rows above", found.join(", ")))
}

/// When the soak of the first instance would end, if the deletion were started now; none without a soak.
fn soak_until(object: &InstanceDeletion) -> Option<Timestamp> {
    let soak = object.spec.power_off?.soak_seconds.filter(|seconds| *seconds > 0)?;
    let until = Timestamp::now().checked_add(SignedDuration::from_secs(soak.into())).ok()?;
    until.round(Unit::Second).ok()
}

/// A line about the soak, if there is to be one.
#[must_use]
pub fn soak(object: &InstanceDeletion) -> String {
    let Some(until) = soak_until(object) else { return String::new() };
    format!(
        "If you start it now, the controller deletes running and stopped instances from {until} on; somebody who powers one on before keeps it\n"
    )
}

/// What would happen, and the counts.
#[must_use]
pub fn summary(plan: &PlanStatus) -> String {
    let counts = [
        (plan.to_delete, "to delete"),
        (plan.to_power_off, "of them to power off first"),
        (plan.on_their_way, "on their way"),
        (plan.terminated, "terminated"),
        (plan.not_found, "not found"),
        (plan.not_as_expected, "not as expected"),
        (plan.protected, "protected"),
        (plan.unreadable, "unreadable"),
    ];
    let counts: Vec<String> =
        counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let listed = plan.instances.len();
    let more = usize::try_from(plan.total).unwrap_or(usize::MAX).saturating_sub(listed);
    let more = if more > 0 { format!(" ({more} more have no row)") } else { String::new() };
    let sentence = plan.message.as_ref().map(|message| printable(message) + "\n").unwrap_or_default();
    format!("{sentence}{}: {}{more}\n", count(plan.total, "instance"), counts.join(", "))
}

fn rows(plan: &PlanStatus, racks: Option<&Servers>) -> String {
    let mut header = vec!["INSTANCE", "NAME", "SERVER"];
    if racks.is_some() {
        header.push("RACK");
    }
    header.extend(["STATE", "VERDICT", "DETAIL"]);
    let cells = |row: &PlannedInstance| {
        let text = |value: &Option<String>| value.as_deref().map_or("-".to_owned(), printable);
        let mut cells = vec![row.id.clone(), text(&row.name), text(&row.server_id)];
        if let Some(servers) = racks {
            let server = row.server_id.as_ref().and_then(|id| servers.get(id));
            cells.push(text(&server.and_then(|server| server.rack.clone())));
        }
        let verdict = row.verdict.map_or("Delete".to_owned(), |verdict| verdict.to_string());
        cells.extend([text(&row.state), verdict, row.detail.as_deref().map(printable).unwrap_or_default()]);
        cells
    };
    table(&header, &plan.instances.iter().map(cells).collect::<Vec<_>>())
}
