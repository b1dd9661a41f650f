//! `report`: what was deleted, when, and by which call.

use std::collections::HashMap;

use clap::{Args, ValueEnum};
use instance_deletion_controller::api::{BatchStatus, CallKind, InstanceDeletion, InstanceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use crate::{
    args::ClusterArgs,
    cluster::Cluster,
    failure::Failure,
    output::{json, print},
    table::{markdown, table},
    targets::Targets,
};

/// Arguments of `report`.
#[derive(Args, Debug)]
#[command(
    after_help = "An object's record is deleted with the object: by kubectl delete, by a GitOps tool that prunes, or by \
    ttlSecondsAfterFinished. Keep the report before that."
)]
pub struct ReportArgs {
    #[command(flatten)]
    targets: Targets,

    /// Form of the report.
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Form,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// For people.
    #[default]
    Table,
    /// For programs: an array of objects.
    Json,
    /// For spreadsheets: a row for each instance, with the object in each.
    Csv,
    /// For tickets.
    Markdown,
}

/// The report of one object.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Report {
    namespace: String,
    name: String,
    uid: String,
    region: String,
    #[serde(rename = "projectID")]
    project_id: String,
    phase: Option<String>,
    start_time: Option<String>,
    completion_time: Option<String>,
    instances: Vec<Row>,
}

/// One instance.
#[derive(Serialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    phase: &'static str,
    /// Number of the last call that names it.
    batch: Option<u32>,
    /// The cloud's id of that call.
    #[serde(rename = "requestID")]
    request_id: Option<String>,
    /// When the intent of that call was stored, right before it was sent.
    sent: Option<String>,
    /// When its end was seen.
    ended: Option<String>,
    reason: Option<&'static str>,
    /// What that call asked for: to delete it, or to power it off.
    call: Option<&'static str>,
    /// Since when it has been off, of one that is not gone.
    powered_off_at: Option<String>,
    /// Attempts that were used to power it off, of one that is not gone.
    power_offs: Option<u32>,
}

/// Prints the report.
pub async fn run(cluster: &ClusterArgs, args: ReportArgs) -> Result<(), Failure> {
    args.targets.check()?;
    let cluster = Cluster::connect(cluster).await?;
    let mut reports = Vec::new();
    args.targets.for_each(&cluster, |object: InstanceDeletion| reports.push(Report::of(&object))).await?;
    print(&match args.output {
        Form::Table => in_words(&reports, false),
        Form::Markdown => in_words(&reports, true),
        Form::Json => json(&reports)?,
        Form::Csv => csv(&reports)?,
    })
}

impl Report {
    fn of(object: &InstanceDeletion) -> Self {
        let (spec, metadata) = (&object.spec, &object.metadata);
        let status = object.status.as_ref();
        let written: HashMap<&str, &InstanceStatus> =
            status.iter().flat_map(|status| &status.instances).map(|row| (row.id.as_str(), row)).collect();
        let batches: HashMap<u32, &BatchStatus> =
            status.iter().flat_map(|status| &status.batches).map(|batch| (batch.number, batch)).collect();
        let mut seen = std::collections::HashSet::new();
        let ids = spec.instance_ids.iter().filter(|id| seen.insert(id.as_str()));
        let rows = ids.map(|id| Row::of(id, written.get(id.as_str()).copied(), &batches)).collect();
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            region: spec.region.clone(),
            project_id: spec.project_id.clone(),
            phase: status.and_then(|status| status.phase).map(|phase| phase.to_string()),
            start_time: status.and_then(|status| time(status.start_time.as_ref())),
            completion_time: status.and_then(|status| time(status.completion_time.as_ref())),
            instances: rows,
        }
    }

    fn heading(&self) -> String {
        let times = match (&self.start_time, &self.completion_time) {
            (None, _) => "not started".to_owned(),
            (Some(start), None) => format!("started {start}, not ended"),
            (Some(start), Some(end)) => format!("started {start}, ended {end}"),
        };
        let phase = self.phase.as_deref().unwrap_or("Pending");
        format!(
            "{}/{}: {phase}, {times}; region {}, project {}, object {}",
            self.namespace, self.name, self.region, self.project_id, self.uid
        )
    }
}

impl Row {
    fn of(id: &str, row: Option<&InstanceStatus>, batches: &HashMap<u32, &BatchStatus>) -> Self {
        let number = row.and_then(|row| row.batch);
        let batch = number.and_then(|number| batches.get(&number));
        Self {
            id: id.to_owned(),
            phase: row.map_or("Pending", |row| row.phase.as_str()),
            batch: number,
            request_id: batch.and_then(|batch| batch.request_id.clone()),
            sent: batch.and_then(|batch| time(Some(&batch.submitted_at))),
            ended: row.and_then(|row| time(row.ended_at.as_ref())),
            reason: row
                .and_then(|row| row.reason)
                .map(instance_deletion_controller::api::FailureReason::as_str),
            call: batch.map(|batch| batch.kind.unwrap_or(CallKind::Delete).as_str()),
            powered_off_at: row.and_then(|row| time(row.powered_off_at.as_ref())),
            power_offs: row.and_then(|row| row.power_offs),
        }
    }

    /// The cells of all columns, or of those without powering off.
    fn cells(&self, all: bool) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let number = |value: Option<u32>| value.map(|number| number.to_string()).unwrap_or_default();
        let mut cells = vec![
            self.id.clone(),
            self.phase.to_owned(),
            number(self.batch),
            text(&self.request_id),
            text(&self.sent),
            text(&self.ended),
            self.reason.unwrap_or_default().to_owned(),
        ];
        if all {
            let call = self.call.unwrap_or_default().to_owned();
            cells.extend([call, text(&self.powered_off_at), number(self.power_offs)]);
        }
        cells
    }

    /// Whether there is something to say about powering off.
    fn tells_of_power(&self) -> bool {
        let powers_off = self.call == Some(CallKind::PowerOff.as_str());
        powers_off || self.powered_off_at.is_some() || self.power_offs.is_some()
    }
}

fn time(time: Option<&Time>) -> Option<String> {
    time.map(|time| time.0.to_string())
}

const COLUMNS: [&str; 7] = ["INSTANCE", "PHASE", "BATCH", "REQUEST ID", "SENT", "ENDED", "REASON"];
/// Further columns, where an instance was powered off and is not gone.
const POWER: [&str; 3] = ["CALL", "OFF SINCE", "POWER-OFFS"];

fn in_words(reports: &[Report], as_markdown: bool) -> String {
    let each = reports.iter().map(|report| {
        let all = report.instances.iter().any(Row::tells_of_power);
        let header: Vec<&str> = COLUMNS.iter().chain(POWER.iter().filter(|_| all)).copied().collect();
        let rows: Vec<_> = report.instances.iter().map(|row| row.cells(all)).collect();
        if as_markdown {
            format!(
                "## {}/{}\n\n{}.\n\n{}",
                report.namespace,
                report.name,
                report.heading(),
                markdown(&header, &rows)
            )
        } else {
            format!("{}\n{}", report.heading(), table(&header, &rows))
        }
    });
    each.collect::<Vec<_>>().join("\n")
}

fn csv(reports: &[Report]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("writing CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "namespace",
        "name",
        "region",
        "projectID",
        "instance",
        "phase",
        "batch",
        "requestID",
        "sent",
        "ended",
        "reason",
        "call",
        "poweredOffAt",
        "powerOffs",
    ];
    writer.write_record(header).map_err(|error| failed(&error))?;
    for report in reports {
        for row in &report.instances {
            let object = [&report.namespace, &report.name, &report.region, &report.project_id];
            let cells = row.cells(true);
            writer.write_record(object.into_iter().chain(&cells)).map_err(|error| failed(&error))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}
