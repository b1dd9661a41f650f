//! Many objects that want to be read: ten thousand at the start of a controller, of which a hundred are unfinished, and some
//! that the API server does not bring.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clouddc_simulator::{Entry, Fault, Operation, Projects, Stage as Moment};
use futures::{StreamExt, TryStreamExt, stream};
use harness::{Controller, Manifest, Stage, condition, until};
use instance_deletion_controller::api::InstanceDeletion;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    gateway::{Rule, behind_gateway, gets},
    process::http_get,
    support::{assert_succeeded, binary, each_once, instances, loosen_schema, minor_version, options},
};

const OBJECTS: usize = 10_000;
const UNFINISHED: usize = 100;
/// Of each object.
const IDS: usize = 10;
/// Requests under way at once: the API server is kept busy.
const AT_ONCE: usize = 16;

async fn api(stage: &Stage) -> Api<InstanceDeletion> {
    let kubeconfig = Kubeconfig::read_from(stage.control_plane.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Api::namespaced(Client::try_from(config).unwrap(), &stage.namespace)
}

async fn create(api: &Api<InstanceDeletion>, manifests: Vec<Manifest>) -> Vec<InstanceDeletion> {
    let parameters = PostParams::default();
    let created = stream::iter(manifests).map(|manifest| {
        let (api, parameters) = (api.clone(), &parameters);
        async move { api.create(parameters, &serde_json::from_value(manifest.value).unwrap()).await }
    });
    created.buffer_unordered(AT_ONCE).try_collect().await.unwrap()
}

/// Makes finished objects: the status of one that was finished by a controller, on all.
async fn create_finished(api: &Api<InstanceDeletion>, finished: &Value, count: usize) {
    let ids: Vec<String> = serde_json::from_value(finished["spec"]["instanceIDs"].clone()).unwrap();
    let manifests = (0..count).map(|number| Manifest::new(&format!("m-{number:05}"), &ids)).collect();
    let status = serde_json::from_value(finished["status"].clone()).unwrap();
    let stored = create(api, manifests).await.into_iter().map(|mut object| {
        object.status = Some(Clone::clone(&status));
        let api = api.clone();
        async move { api.replace_status(&object.name_any(), &PostParams::default(), &object).await }
    });
    stream::iter(stored).buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await.unwrap();
}

/// An object whose record no version of this program wrote: an older, looser schema let it in.
fn create_undecodable(stage: &Stage, name: &str, ids: &[String]) {
    stage.apply(&Manifest::new(name, ids)).unwrap();
    loosen_schema(stage, &["status"]);
    let odd = json!({"status": {"phase": "Exploding"}}).to_string();
    // The schema is in force a moment after the patch.
    until("the loose schema admits it", || {
        stage.kubectl(&["patch", "idel", name, "--subresource=status", "--type=merge", "-p", &odd]).ok()
    });
    stage.control_plane.kubectl(&["apply", "-k", &harness::cluster_wide()]).ok().unwrap();
}

/// On the object, where the API server takes a status with a value that the schema refuses, though it was there before; in the
/// log where it does not, as that of Kubernetes 1.30.
fn undecodable_is_said(stage: &Stage, controller: &Controller, name: &str) {
    let mut status = if minor_version(stage) < 31 {
        let said = |line: &str| line.contains(name) && line.contains("the object can't be decoded");
        until("it is said", || controller.log().lines().any(said).then_some(()));
        stage.get(name)["status"].take()
    } else {
        stage.wait_reason(name, "Undecodable")["status"].take()
    };
    status.as_object_mut().unwrap().remove("conditions");
    assert_eq!(status, json!({"phase": "Exploding"}), "all else is left as it is");
}

/// resourceVersion of each object that is finished.
async fn versions(api: &Api<InstanceDeletion>) -> BTreeMap<String, String> {
    let all = api.list_metadata(&ListParams::default()).await.unwrap();
    let finished = all.items.into_iter().filter(|object| object.name_any().starts_with("m-"));
    finished.map(|object| (object.name_any(), object.resource_version().unwrap())).collect()
}

/// How long objects with calls to make waited for a worker, by the controller's own histogram.
fn waits(controller: &Controller) -> String {
    let metrics = http_get(controller.metrics(), "/metrics");
    let name = "instance_deletion_workqueue_queue_duration_seconds_bucket{";
    let rows =
        metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|row| row.contains("\"calls\""));
    let rows: Vec<(f64, u32)> = rows
        .map(|row| {
            let bound = row.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
            (bound.parse().unwrap(), row.rsplit(' ').next().unwrap().parse().unwrap())
        })
        .collect();
    let all = rows.iter().map(|(_, count)| *count).max().unwrap();
    let within = |share: f64| {
        let bounds = rows.iter().filter(|(_, count)| f64::from(*count) >= share * f64::from(all));
        bounds.map(|(bound, _)| *bound).fold(f64::INFINITY, f64::min)
    };
    format!(
        "{all} waits: half within {} s, 99 % within {} s, all within {} s",
        within(0.5),
        within(0.99),
        within(1.0)
    )
}

/// Objects that a controller has read, by its own count.
fn counted(controller: &Controller) -> usize {
    let metrics = http_get(controller.metrics(), "/metrics");
    let objects = metrics.lines().filter(|line| line.starts_with("instance_deletion_objects{"));
    objects.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn k24_ten_thousand_objects_at_the_start_and_three_that_never_end_delay_nobody() {
    let stage = Stage::alone("loose", binary(), options()).await.unwrap();
    let api = api(&stage).await;
    let controller = stage.controller(&[]).unwrap();
    let ids = instances(&stage, IDS);
    stage.apply(&Manifest::new("pattern", &ids)).unwrap();
    let pattern = stage.wait_finished("pattern");
    controller.kill();
    create_finished(&api, &pattern, OBJECTS - UNFINISHED - 1).await;

    // Among the first that are listed: one whose calls always fail, one of an account that is always throttled, and one that
    // can't be decoded.
    let [failing, throttled, undecodable] = [(); 3].map(|()| instances(&stage, IDS));
    stage.cloud.script(Fault::on(Operation::DeleteInstances).with_id(&failing[0]).reply_error(
        500,
        "iMetal.0099",
        "no",
    ));
    stage.cloud.add_token("throttled", "throttled-token", Projects::All);
    stage.cloud.script(Fault::any().with_token("throttled").reply_error(429, "APIGW.0308", "slow down"));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "throttled"},
        "stringData": {"token": "throttled-token"},
    });
    assert!(stage.kubectl_in(&["create", "-f", "-"], &secret.to_string()).unwrap().status.success());
    let before = stage.calls().len();
    stage.apply(&Manifest::new("a-failing", &failing)).unwrap();
    let other = json!({"name": "throttled"});
    stage.apply(&Manifest::new("a-throttled", &throttled).with("credentialsSecretRef", other)).unwrap();
    create_undecodable(&stage, "a-undecodable", &undecodable);
    let good: Vec<_> = (0..UNFINISHED - 3).map(|_| instances(&stage, IDS)).collect();
    // Before, between and after those that are finished.
    let name = |number: usize| match number % 3 {
        0 => format!("b-{number}"),
        1 => format!("m-{:05}-unfinished", number * 100),
        _ => format!("z-{number}"),
    };
    create(&api, good.iter().enumerate().map(|(n, ids)| Manifest::new(&name(n), ids)).collect()).await;
    let stored: BTreeMap<_, _> =
        versions(&api).await.into_iter().filter(|(name, _)| !name.ends_with("unfinished")).collect();
    assert_eq!(stored.len(), OBJECTS - UNFINISHED - 1);

    let started = Instant::now();
    let controller = stage.controller(&[]).unwrap();
    // Any of them: what an object sends again it sends as it is ready, which may be without the first id.
    let useful = |call: &Entry| !call.ids.iter().any(|id| failing.contains(id));
    until("the first useful call", || stage.calls().split_off(before).iter().any(useful).then_some(()));
    let (first, read) = (started.elapsed(), counted(&controller));
    for (number, ids) in good.iter().enumerate() {
        assert_succeeded(&stage.wait_finished(&name(number)), ids.len());
    }
    let all = started.elapsed();
    let peak = controller.peak_memory().unwrap();
    println!(
        "figure: {OBJECTS} objects at the start, {UNFINISHED} unfinished: first useful delete call after {:.1} s, when \
         {read} were read, all that can end have ended after {:.1} s, {:.1} MB at most",
        first.as_secs_f32(),
        all.as_secs_f32(),
        f64::from(u32::try_from(peak / 1024).unwrap()) * 1024.0 / 1e6
    );
    println!("figure: objects with calls to make waited for a worker, {}", waits(&controller));
    let of_good: Vec<_> = stage.calls().split_off(before).into_iter().filter(useful).collect();
    each_once(&of_good, &good.concat());

    for (name, reason) in [("a-failing", "CloudUnreachable"), ("a-throttled", "Throttled")] {
        let object = stage.wait_reason(name, reason);
        assert_eq!(condition(&object, "Finished").0, "False", "{name} goes on trying");
    }
    undecodable_is_said(&stage, &controller, "a-undecodable");
    let after: BTreeMap<_, _> =
        versions(&api).await.into_iter().filter(|(name, _)| !name.ends_with("unfinished")).collect();
    assert_eq!(after, stored, "what is finished is not written");
    until("all are counted, the one that can't be decoded too", || {
        (counted(&controller) == OBJECTS).then_some(())
    });
    stage.control_plane.stop_api_server();
}

#[tokio::test(flavor = "multi_thread")]
async fn k24_objects_that_the_api_server_does_not_bring_delay_no_calls() {
    const UNREAD: usize = 12;
    let (stage, gateway, _controller) = behind_gateway("unread", &[]).await;
    let ids = instances(&stage, IDS);
    let look = Fault::on(Operation::ListInstances).with_id(&ids[0]).times(1).hold(Moment::AfterEffect);
    let look = stage.cloud.script(look);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    look.wait_held(1, Duration::from_mins(1)).await.unwrap();
    // It has been read, and goes on once its look is answered. Meanwhile others take every slot that they may have.
    let unread = gateway
        .script(Rule::on(|asked| gets(asked) && asked.path.contains("/instancedeletions/unread-")).hold());
    let others = (0..UNREAD).map(|n| Manifest::new(&format!("unread-{n}"), &instances(&stage, 1)).value);
    let others = json!({"apiVersion": "v1", "kind": "List", "items": others.collect::<Vec<_>>()});
    let output = stage.kubectl_in(&["create", "-f", "-"], &others.to_string()).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    unread.wait_hits(3);
    look.release();
    until("its call", || (!stage.calls().is_empty()).then_some(()));
    // Behind them in line, it would come once each of them had waited its ten seconds for an answer.
    assert!(unread.hits() < UNREAD, "{} of {UNREAD} had their turn before it", unread.hits());
    each_once(&stage.calls(), &ids);
    unread.release();
    for n in 0..UNREAD {
        assert_succeeded(&stage.wait_finished(&format!("unread-{n}")), 1);
    }
    assert_succeeded(&stage.wait_finished("retire"), IDS);
}
