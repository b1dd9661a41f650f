//! `retry`: a manifest of the failed instances, with the spec otherwise the same, under a new name.

use clap::Args;
use instance_deletion_controller::api::{
    FailureReason, InstanceDeletion, InstanceDeletionSpec, InstancePhase, Moment, Phase,
};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::{
    args::ClusterArgs,
    cluster::Cluster,
    failure::Failure,
    manifest::Manifest,
    output::{count, print},
};

/// Arguments of `retry`.
#[derive(Args, Debug)]
#[command(
    after_help = "Instances that are not as expected, or protected, are left out: they would not be sent again either. Instances that \
    somebody powered on again after they were powered off are left out too: somebody wants them, and the new object would power them \
    off and delete them."
)]
pub struct RetryArgs {
    /// Name of the InstanceDeletion that has ended.
    name: String,

    /// Name of the new object; else the first free one of NAME-retry-1, NAME-retry-2, …
    #[arg(long, value_name = "NAME")]
    new_name: Option<String>,

    /// List instances too that somebody powered on again after they were powered off.
    #[arg(long)]
    include_powered_on: bool,
}

/// Writes the manifest.
pub async fn run(cluster: &ClusterArgs, args: RetryArgs) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let object = cluster.get(&args.name).await?;
    let place = format!("{}/{}", cluster.namespace, args.name);
    let phase = object.status.as_ref().and_then(|status| status.phase);
    if !phase.is_some_and(Phase::is_end) {
        return Err(Failure::failed(format!(
            "{place} has not ended; `kubectl idel watch {}` waits for its end",
            args.name
        )));
    }
    let Failed { ids, comments, left_out } = failed(&object, args.include_powered_on);
    for (reason, n) in left_out {
        let why = match reason {
            FailureReason::PoweredOnAgain => {
                "and are wanted; --include-powered-on lists such instances, and they are powered off and deleted"
            }
            _ => "and would not be sent again",
        };
        eprintln!("left out: {}, which failed with {reason} {why}", count(n, "instance"));
    }
    if ids.is_empty() {
        return Err(Failure::failed(format!("no instance of {place} failed that could be tried again")));
    }
    let name = match args.new_name {
        Some(name) => name,
        None => free_name(&cluster, &args.name).await?,
    };
    let manifest = Manifest {
        about: vec![format!("{} of {place} that failed.", count(ids.len(), "instance"))],
        name,
        namespace: object.namespace(),
        labels: object
            .labels()
            .iter()
            .filter(|(key, _)| is_own(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        spec: again(&object.spec, ids),
        comments,
    };
    print(&manifest.text())
}

/// Whether a label is the author's: those of tools say who applied the old object.
fn is_own(label: &str) -> bool {
    !["toolkit.fluxcd.io/", "argocd.argoproj.io/", "app.kubernetes.io/managed-by"]
        .iter()
        .any(|tool| label.contains(tool))
}

/// The failed instances of an object.
#[derive(Default)]
struct Failed {
    /// Those that are tried again.
    ids: Vec<String>,
    /// A comment for each of them.
    comments: Vec<String>,
    /// How many were left out for which reason.
    left_out: Vec<(FailureReason, usize)>,
}

fn failed(object: &InstanceDeletion, include_powered_on: bool) -> Failed {
    let rows = object.status.iter().flat_map(|status| &status.instances);
    let mut failed = Failed::default();
    for row in rows.filter(|row| row.phase == InstancePhase::Failed) {
        let Some(reason) = row.reason.filter(|reason| is_left_out(*reason, include_powered_on)) else {
            failed.ids.push(row.id.clone());
            failed.comments.push(row.reason.map(|reason| reason.to_string()).unwrap_or_default());
            continue;
        };
        match failed.left_out.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, n)) => *n += 1,
            None => failed.left_out.push((reason, 1)),
        }
    }
    failed
}

/// Whether an instance that failed for this reason is not tried again.
fn is_left_out(reason: FailureReason, include_powered_on: bool) -> bool {
    match reason {
        FailureReason::NotAsExpected | FailureReason::Protected => true,
        FailureReason::PoweredOnAgain => !include_powered_on,
        FailureReason::Conflict
        | FailureReason::InstanceError
        | FailureReason::InvalidRequest
        | FailureReason::NotAccepted
        | FailureReason::NotFound
        | FailureReason::OutcomeUnknown
        | FailureReason::PowerOffFailed
        | FailureReason::NotSent
        | FailureReason::Expired
        | FailureReason::DeadlineExceeded => false,
    }
}

/// The spec of the new object. A moment that has passed is left out, or the object would end at once. A soak begins anew: the new
/// object has no record of the old one.
fn again(spec: &InstanceDeletionSpec, ids: Vec<String>) -> InstanceDeletionSpec {
    let not_after = spec.not_after.filter(|Moment(at)| *at > Timestamp::now());
    if spec.not_after.is_some() && not_after.is_none() {
        eprintln!("left out: notAfter, which has passed; write a later one if there is to be one");
    }
    if spec.power_off.is_some_and(|power_off| power_off.soak_seconds.is_some_and(|seconds| seconds > 0)) {
        eprintln!("spec.powerOff is kept: in the new object the soak of each instance begins anew");
    }
    InstanceDeletionSpec { instance_ids: ids, dry_run: Some(true), suspend: None, not_after, ..spec.clone() }
}

async fn free_name(cluster: &Cluster, name: &str) -> Result<String, Failure> {
    let api: Api<InstanceDeletion> = cluster.in_namespace(&cluster.namespace);
    let (base, first) = match name.rsplit_once("-retry-") {
        Some((base, n)) if n.parse::<u32>().is_ok() => (base, n.parse::<u32>().unwrap_or_default() + 1),
        _ => (name, 1),
    };
    for n in first..first + 1_000 {
        let name = format!("{base}-retry-{n}");
        let taken = api.get_metadata_opt(&name).await;
        if taken.map_err(|error| cluster.failure(&format!("looking for {name}"), &error))?.is_none() {
            return Ok(name);
        }
    }
    Err(Failure::usage("no name of the form NAME-retry-N is free; give one with --new-name"))
}
