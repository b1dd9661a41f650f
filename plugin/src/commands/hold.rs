//! `hold` and `release`: the annotation that stops new calls at once, whatever git says.

use clap::Args;
use futures::{StreamExt, stream};
use instance_deletion_controller::{api::InstanceDeletion, engine::object::state::spec::HOLD};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PartialObjectMeta, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    args::ClusterArgs,
    cluster::Cluster,
    failure::Failure,
    output::{self, print},
    ownership::{is_tool, writers},
    table::printable,
    targets::Targets,
};

/// Field manager of the annotation. Flux takes back what managers write whose names begin with `kubectl`.
const MANAGER: &str = "idel-hold";
/// Patches at a time: a hundred objects are held within a second.
const AT_ONCE: usize = 16;
/// Objects of a page; only their metadata is read.
const PAGE: u32 = 500;
/// Objects that have ended: a hold means nothing to them.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=DeadlineExceeded,status.phase!=Expired,status.phase!=InvalidSpec";

type Meta = PartialObjectMeta<InstanceDeletion>;

/// Arguments of `hold`.
#[derive(Args, Debug)]
pub struct HoldArgs {
    #[command(flatten)]
    targets: Targets,

    /// Why, and until when: people who wait read it.
    #[arg(long)]
    reason: String,
}

/// Arguments of `release`.
#[derive(Args, Debug)]
pub struct ReleaseArgs {
    #[command(flatten)]
    targets: Targets,
}

/// Sets the annotation.
pub async fn hold(cluster: &ClusterArgs, args: HoldArgs) -> Result<(), Failure> {
    if args.reason.trim().is_empty() {
        return Err(Failure::usage("--reason is empty; say why, and until when"));
    }
    let reason = args.reason;
    each(cluster, &args.targets, "no object is unfinished", async |cluster: Cluster, meta: Meta| {
        hold_one(&cluster, &meta, &reason).await
    })
    .await
}

/// Removes the annotation.
pub async fn release(cluster: &ClusterArgs, args: ReleaseArgs) -> Result<(), Failure> {
    each(cluster, &args.targets, "no object is held", async |cluster: Cluster, meta: Meta| {
        release_one(&cluster, &meta).await
    })
    .await
}

/// Calls `act` for each object that is meant, some at a time, and prints what it says. An error of one stops no other.
async fn each(
    cluster: &ClusterArgs,
    targets: &Targets,
    nothing: &str,
    act: impl AsyncFn(Cluster, Meta) -> Result<Option<String>, Failure>,
) -> Result<(), Failure> {
    targets.check()?;
    let cluster = Cluster::connect(cluster).await?;
    let metas = metadata(&cluster, targets).await?;
    let answers: Vec<_> =
        stream::iter(metas).map(|meta| act(cluster.clone(), meta)).buffer_unordered(AT_ONCE).collect().await;
    let (mut lines, mut failures) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(line) => lines.extend(line),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    lines.sort();
    if lines.is_empty() && failures.is_empty() {
        eprintln!("{nothing}");
    }
    print(&output::lines(lines))?;
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures.join("; "))) }
}

/// The metadata of the objects that are meant: of a choice only the unfinished ones.
async fn metadata(cluster: &Cluster, targets: &Targets) -> Result<Vec<Meta>, Failure> {
    let api: Api<InstanceDeletion> = targets.api(cluster);
    let mut found = Vec::new();
    for name in &targets.names {
        let read = api.get_metadata(name).await;
        found.push(
            read.map_err(|error| cluster.failure(&format!("reading {}/{name}", cluster.namespace), &error))?,
        );
    }
    if !targets.is_choice() {
        return Ok(found);
    }
    let mut page = ListParams::default().limit(PAGE).fields(UNFINISHED);
    page.label_selector.clone_from(&targets.selector);
    loop {
        let list = match api.list_metadata(&page).await {
            // Kubernetes 1.30 serves no selector of a field of the status: ended objects are held too.
            Err(kube::Error::Api(status)) if status.code == 400 && page.field_selector.is_some() => {
                page.field_selector = None;
                continue;
            }
            list => list.map_err(|error| cluster.failure("listing objects", &error))?,
        };
        found.extend(list.items);
        page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            return Ok(found);
        }
    }
}

fn name_of(meta: &Meta) -> (String, String) {
    (meta.namespace().unwrap_or_default(), meta.name_any())
}

async fn hold_one(cluster: &Cluster, meta: &Meta, reason: &str) -> Result<Option<String>, Failure> {
    let (namespace, name) = name_of(meta);
    let others =
        writers(&meta.metadata, HOLD).into_iter().map(|(manager, _)| manager).find(|by| by != MANAGER);
    if let (Some(before), Some(by)) = (meta.annotations().get(HOLD), others) {
        let before = printable(before);
        return Ok(Some(format!("{namespace}/{name} is held already, by {by}: {before}")));
    }
    let api: Api<InstanceDeletion> = cluster.in_namespace(&namespace);
    let patch = json!({
        "apiVersion": "clouddc.dev/v1alpha1",
        "kind": "InstanceDeletion",
        // With the uid nothing is created if the object was deleted meanwhile.
        "metadata": {"name": name, "uid": meta.uid(), "annotations": {HOLD: reason}},
    });
    let held = api.patch_metadata(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await;
    held.map_err(|error| cluster.failure(&format!("holding {namespace}/{name}"), &error))?;
    Ok(Some(format!("{namespace}/{name} held")))
}

async fn release_one(cluster: &Cluster, meta: &Meta) -> Result<Option<String>, Failure> {
    let (namespace, name) = name_of(meta);
    if !meta.annotations().contains_key(HOLD) {
        return Ok(None);
    }
    let tool = writers(&meta.metadata, HOLD).into_iter().map(|(manager, _)| manager).find(|by| is_tool(by));
    if let Some(tool) = tool {
        return Err(Failure::failed(format!(
            "{namespace}/{name} is held by git ({tool}); remove the annotation {HOLD} there and commit"
        )));
    }
    // With the uid no object of the same name is released that was created meanwhile.
    let patch = Patch::Merge(json!({"metadata": {"uid": meta.uid(), "annotations": {HOLD: null}}}));
    let api: Api<InstanceDeletion> = cluster.in_namespace(&namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let released = api.patch_metadata(&name, &params, &patch).await;
    released.map_err(|error| cluster.failure(&format!("releasing {namespace}/{name}"), &error))?;
    Ok(Some(format!("{namespace}/{name} released")))
}
