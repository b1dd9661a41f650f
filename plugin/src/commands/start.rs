//! `start`: writes `dryRun: false`, once a person has confirmed the plan.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use instance_deletion_controller::{
    api::{InstanceDeletion, PlanStatus},
    engine::object::state::spec::HOLD,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::plan::{plan_of, problem, soak, summary};
use crate::{
    args::ClusterArgs,
    cluster::Cluster,
    failure::Failure,
    output::{count, print},
    ownership::owner,
};

/// Field manager of `spec.dryRun`. Flux takes back what managers write whose names begin with `kubectl`.
const MANAGER: &str = "idel-start";
/// How often the write is repeated while only the status moves on.
const TRIES: usize = 5;

/// Arguments of `start`.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// Name of the InstanceDeletion.
    name: String,

    /// Do not ask. For scripts.
    #[arg(short = 'y', long)]
    yes: bool,
}

/// Starts the deletion.
pub async fn run(cluster: &ClusterArgs, args: StartArgs) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let object = cluster.get(&args.name).await?;
    let place = format!("{}/{}", cluster.namespace, args.name);
    refuse(&object, &place)?;
    let Some(plan) = plan_of(&object) else {
        return Err(Failure::failed(format!(
            "{place} has no plan yet; `kubectl idel plan {}` waits for it",
            args.name
        )));
    };
    if plan.not_as_expected > 0 {
        let problem = problem(&object, plan).unwrap_or_default();
        return Err(Failure::failed(format!("{place} would end at once: {problem}")));
    }
    eprint!("{place}\n{}{}", summary(plan), soak(&object));
    if object.annotations().contains_key(HOLD) {
        eprintln!("It is held: nothing is sent before `kubectl idel release {}`.", args.name);
    }
    if !args.yes {
        confirm(&args.name)?;
    }
    write(&cluster, &object, plan).await?;
    print(&format!(
        "{place} started: {} to delete; `kubectl idel watch {}` shows how far it is\n",
        count(plan.to_delete, "instance"),
        args.name
    ))
}

fn refuse(object: &InstanceDeletion, place: &str) -> Result<(), Failure> {
    match object.spec.dry_run {
        Some(true) => {}
        Some(false) => {
            return Err(Failure::failed(format!("{place} was started before; nothing was written")));
        }
        None => {
            return Err(Failure::failed(format!(
                "{place} was created without dryRun: true, so it started at once; nothing was written"
            )));
        }
    }
    match owner(&object.metadata) {
        None => Ok(()),
        Some(owner) => Err(Failure::failed(format!(
            "{place} is written from git by {owner}, which would take the change back; commit `dryRun: false` in place of `dryRun: true` in the object's spec there"
        ))),
    }
}

/// Asks for the object's name on the terminal.
fn confirm(name: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on; --yes starts without asking"));
    }
    eprint!("This cannot be undone. Type the object's name to start: ");
    let _ = std::io::stderr().flush();
    let mut typed = String::new();
    stdin
        .lock()
        .read_line(&mut typed)
        .map_err(|error| Failure::failed(format!("reading the answer: {error}")))?;
    if typed.trim() == name {
        return Ok(());
    }
    Err(Failure::failed(format!("that is not {name}; nothing was written")))
}

/// Writes `dryRun: false` to exactly what was shown: the same object, spec and plan.
async fn write(cluster: &Cluster, shown: &InstanceDeletion, plan: &PlanStatus) -> Result<(), Failure> {
    let (namespace, name) = (shown.namespace().unwrap_or_default(), shown.name_any());
    let api: Api<InstanceDeletion> = cluster.in_namespace(&namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let mut version = shown.resource_version();
    for _ in 0..TRIES {
        let metadata = json!({"uid": shown.uid(), "resourceVersion": version});
        let patch = Patch::Merge(json!({"metadata": metadata, "spec": {"dryRun": false}}));
        match api.patch_metadata(&name, &params, &patch).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(cluster.failure(&format!("starting {namespace}/{name}"), &error)),
        }
        let now = cluster.get(&name).await?;
        let same = now.uid() == shown.uid() && now.spec == shown.spec && plan_of(&now) == Some(plan);
        if !same {
            break;
        }
        version = now.resource_version();
    }
    Err(Failure::failed(format!(
        "{namespace}/{name} or its plan changed meanwhile; nothing was written; look at the plan again"
    )))
}
