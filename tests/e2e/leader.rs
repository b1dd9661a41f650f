//! Two replicas, one of them leads: the leader is killed, stopped, asked to end, or loses its lease.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use control_plane::Signal;
use harness::{Controller, Manifest, PROJECT, Stage, until};
use serde_json::{Value, json};

use crate::{
    gateway::{Asked, Gateway, Rule, intents, lists},
    process::http_get,
    support::{assert_monotone, assert_succeeded, count, each_once, instances, options, stage, stage_with},
};

const SOON: Duration = Duration::from_mins(1);
const ELECT: [&str; 4] = ["--leader-elect", "true", "--parallel-calls", "1"];

/// A replica, under the ServiceAccount of `deploy/base`.
pub fn replica(stage: &Stage, flags: &[&str]) -> Controller {
    stage.controller(&[&ELECT[..], flags].concat()).unwrap()
}

fn replica_behind(stage: &Stage, gateway: &Gateway) -> Controller {
    stage.controller_through(&gateway.kubeconfig, &ELECT).unwrap()
}

pub fn wait_leads(controller: &Controller) {
    until("it leads", || controller.log().contains(" leading ").then_some(()));
}

fn wait_stands_by(controller: &Controller) {
    until("it stands by", || controller.log().contains("standing by").then_some(()));
}

fn sent(controller: &Controller) -> usize {
    controller.log().matches("sending a delete call").count()
}

/// The value after `name="` in its log.
fn logged(controller: &Controller, name: &str) -> String {
    let log = controller.log();
    let (_, rest) = log.split_once(&format!("{name}=\"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// The Lease, read by an administrator.
pub fn lease(stage: &Stage, controller: &Controller) -> Value {
    let (namespace, name) = (logged(controller, "namespace"), logged(controller, "lease"));
    let get = ["get", "lease", &name, "-n", &namespace, "-o", "json"];
    let text = stage.control_plane.kubectl(&get).ok().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Writes a holder into the Lease, as another client.
fn give(stage: &Stage, controller: &Controller, holder: Option<&str>) {
    let (namespace, name) = (logged(controller, "namespace"), logged(controller, "lease"));
    let patch = json!({"spec": {"holderIdentity": holder}}).to_string();
    let patch = ["patch", "lease", &name, "-n", &namespace, "--type=merge", "-p", &patch];
    stage.control_plane.kubectl(&patch).ok().unwrap();
}

/// Waits until a replica ends by itself because it no longer leads.
fn wait_lost(controller: Controller, why: &str) {
    let log = until("it says that the lease is lost", || {
        let log = controller.log();
        log.contains("lost the lease").then_some(log)
    });
    assert!(log.contains(why), "{log}");
    assert_eq!(controller.wait_exit(SOON).unwrap(), Some(1));
}

fn leases(asked: &Asked) -> bool {
    asked.path.contains("/leases")
}

#[tokio::test(flavor = "multi_thread")]
async fn l03_a_standby_is_ready_does_nothing_and_goes_on_when_the_leader_is_killed() {
    let stage = stage("killedleader").await;
    let history = stage.history().unwrap();
    let ids = instances(&stage, 320);
    let delay = Duration::from_millis(150);
    stage.cloud.script(Fault::on(Operation::DeleteInstances).delay_before(delay).delay_after(delay));
    let leader = replica(&stage, &[]);
    wait_leads(&leader);
    let gateway = Gateway::start(&stage).await;
    let standby = replica_behind(&stage, &gateway);
    wait_stands_by(&standby);
    assert_eq!(logged(&standby, "leader"), logged(&leader, "identity"), "it says who leads");
    for path in ["/healthz", "/readyz"] {
        until("it is ready", || http_get(standby.health(), path).starts_with("HTTP/1.1 200").then_some(()));
    }
    let held = lease(&stage, &leader);
    assert_eq!(held["spec"]["holderIdentity"], logged(&leader, "identity"));
    assert_eq!(held["metadata"]["namespace"], "clouddc-system", "its own, as the kubeconfig says");

    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.cloud.wait_calls(Operation::DeleteInstances, 3, SOON).await.unwrap();
    // Its only request beside those of the Lease is the check at its start whether it may list.
    assert_eq!((gateway.count(lists), gateway.count(|asked| !leases(asked))), (1, 1));
    let killed = Instant::now();
    leader.kill();
    wait_leads(&standby);
    let took = killed.elapsed();
    assert_succeeded(&stage.wait_finished("retire"), 320);
    println!("figure: after SIGKILL of the leader the standby led in {:.1} s", took.as_secs_f32());
    each_once(&stage.calls(), &ids);
    assert_monotone(&history.of("retire"));
    assert!(sent(&standby) > 0);
    let held = lease(&stage, &standby);
    assert_eq!(held["spec"]["holderIdentity"], logged(&standby, "identity"));
    assert_eq!(held["spec"]["leaseTransitions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_on_sigterm_a_leader_records_its_call_and_then_gives_the_lease_back() {
    let stage = stage("drainedleader").await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let gateway = Gateway::start(&stage).await;
    let flags = [&ELECT[..], &["--request-timeout", "30s"]].concat();
    let mut leader = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    wait_leads(&leader);
    let standby = replica(&stage, &[]);
    wait_stands_by(&standby);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    leader.signal(Signal::TERM).unwrap();
    until("it drains", || leader.log().contains("draining").then_some(()));
    // Longer than a lease is valid: the controller renews it during the drain.
    let renewals = gateway.count(|asked| leases(asked) && asked.method == "PUT");
    until("renewed", || {
        (gateway.count(|asked| leases(asked) && asked.method == "PUT") >= renewals + 8).then_some(())
    });
    assert_eq!(sent(&standby), 0);
    gate.release();
    let ended = Instant::now();
    assert_eq!(leader.wait_exit(SOON).unwrap(), Some(0));
    wait_leads(&standby);
    println!(
        "figure: after the drain of the leader the standby led in {:.1} s",
        ended.elapsed().as_secs_f32()
    );
    // The outcome of the call was recorded before the lease was released, and nothing came after.
    let asked = gateway.asked();
    let record = asked.iter().rposition(|a| a.method == "PUT" && a.path.ends_with("/status")).unwrap();
    let release = asked.iter().rposition(|a| leases(a) && a.method == "PUT").unwrap();
    assert!(record < release, "{record} {release}");
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
    let held = lease(&stage, &standby);
    assert_eq!(held["spec"]["holderIdentity"], logged(&standby, "identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_an_intent_whose_call_has_not_left_at_sigterm_delays_no_instance() {
    let stage = stage("drainedintent").await;
    let history = stage.history().unwrap();
    let ids = instances(&stage, 120);
    let gateway = Gateway::start(&stage).await;
    let intent = gateway.script(Rule::on(intents).times(1).hold());
    let flags = [&ELECT[..], &["--settle", "30s", "--request-timeout", "30s"]].concat();
    let mut leader = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    wait_leads(&leader);
    let standby = stage.controller(&flags).unwrap();
    wait_stands_by(&standby);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    intent.wait_hits(1);
    leader.signal(Signal::TERM).unwrap();
    until("it drains", || leader.log().contains("draining").then_some(()));
    intent.release();
    until("it says why", || leader.log().contains("this process is stopping").then_some(()));
    assert_eq!(leader.wait_exit(SOON).unwrap(), Some(0));
    assert!(stage.calls().is_empty());
    let stored = stage.get("retire")["status"]["batches"].clone();
    assert_eq!(stored.as_array().unwrap().len(), 1);
    assert_eq!(stored[0]["noEffect"], json!(true));
    let ended = Instant::now();
    // An intent of unknown outcome would wait for 5 s, --request-timeout and --settle: 65 s.
    stage.cloud.wait_calls(Operation::DeleteInstances, 1, Duration::from_secs(40)).await.unwrap();
    println!(
        "figure: after the leader had ended its successor called in {:.1} s",
        ended.elapsed().as_secs_f32()
    );
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
    assert_monotone(&history.of("retire"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_a_standby_ends_at_once_and_leaves_the_lease_alone() {
    let stage = stage("drainedstandby").await;
    let leader = replica(&stage, &[]);
    wait_leads(&leader);
    let standby = replica(&stage, &[]);
    wait_stands_by(&standby);
    assert_eq!(standby.terminate(Duration::from_secs(20)).unwrap(), Some(0));
    assert_eq!(lease(&stage, &leader)["spec"]["holderIdentity"], logged(&leader, "identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_leader_stopped_past_its_lease_while_its_call_runs_writes_nothing_any_more() {
    let stage = stage_with("stoppedleader", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let gateway = Gateway::start(&stage).await;
    let flags = [&ELECT[..], &["--request-timeout", "5m"]].concat();
    let mut leader = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    wait_leads(&leader);
    let standby = replica(&stage, &[]);
    wait_stands_by(&standby);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    leader.stop().unwrap();
    let asked = gateway.asked().len();
    let stopped = Instant::now();
    wait_leads(&standby);
    println!(
        "figure: after SIGSTOP of the leader the standby led in {:.1} s",
        stopped.elapsed().as_secs_f32()
    );
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 120);
    // The reply to its call waits in the socket of the stopped process.
    gate.release();
    let calls = stage.calls().len();
    leader.signal(Signal::CONT).unwrap();
    wait_lost(leader, "could not be renewed in time");
    assert_eq!(stage.calls().len(), calls);
    let writes = |asked: &&Asked| asked.method != "GET" && !leases(asked);
    assert_eq!(gateway.asked()[asked..].iter().filter(writes).count(), 0, "no write after it went on");
    stage.cloud.set_end(EndTime::Fixed(Duration::ZERO));
    for id in &ids {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_leader_stopped_past_its_lease_between_intent_and_call_makes_no_call() {
    let stage = stage("stoppedbefore").await;
    let ids = instances(&stage, 120);
    let gateway = Gateway::start(&stage).await;
    let second = gateway.script(Rule::on(intents).skip(1).times(1).hold());
    let mut leader = replica_behind(&stage, &gateway);
    wait_leads(&leader);
    let standby = replica(&stage, &[]);
    wait_stands_by(&standby);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    second.wait_hits(1);
    leader.stop().unwrap();
    second.release();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    let (calls, version) = (stage.calls().len(), stage.get("retire")["metadata"]["resourceVersion"].clone());
    leader.signal(Signal::CONT).unwrap();
    wait_lost(leader, "could not be renewed in time");
    assert_eq!((stage.calls().len(), &stage.get("retire")["metadata"]["resourceVersion"]), (calls, &version));
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_lease_that_someone_takes_or_clears_ends_the_leader_before_its_next_call() {
    for (name, holder, why) in [
        ("takenlease", Some("someone"), "someone holds it now"),
        ("clearedlease", None, "someone cleared its holder"),
    ] {
        let stage = stage(name).await;
        let ids = instances(&stage, 120);
        let gate =
            stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
        let leader = stage.controller(&[&ELECT[..], &["--request-timeout", "30s"]].concat()).unwrap();
        wait_leads(&leader);
        stage.apply(&Manifest::new("retire", &ids)).unwrap();
        gate.wait_held(1, SOON).await.unwrap();
        give(&stage, &leader, holder);
        wait_lost(leader, why);
        gate.release();
        assert_eq!(stage.calls().len(), 1);
        // As a kubelet does.
        let _again = replica(&stage, &[]);
        assert_succeeded(&stage.wait_finished("retire"), 120);
        each_once(&stage.calls(), &ids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_lease_that_someone_deletes_is_made_again_by_its_leader() {
    let stage = stage("deletedlease").await;
    let leader = replica(&stage, &[]);
    wait_leads(&leader);
    let before = lease(&stage, &leader)["metadata"]["uid"].clone();
    let (namespace, name) = (logged(&leader, "namespace"), logged(&leader, "lease"));
    stage.control_plane.kubectl(&["delete", "lease", &name, "-n", &namespace]).ok().unwrap();
    let get =
        ["get", "lease", &name, "-n", &namespace, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"];
    until("it is made again", || {
        let uid = stage.control_plane.kubectl(&get).ok().ok()?;
        (!uid.is_empty() && before != uid.as_str()).then_some(())
    });
    assert_eq!(lease(&stage, &leader)["spec"]["holderIdentity"], logged(&leader, "identity"));
    let ids = instances(&stage, 1);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_two_live_processes_with_a_stolen_lease_do_no_harm() {
    let stage = stage("stolenlease").await;
    let history = stage.history().unwrap();
    let ids = instances(&stage, 320);
    let delay = Duration::from_millis(400);
    stage.cloud.script(Fault::on(Operation::DeleteInstances).delay_before(delay).delay_after(delay));
    let gateway = Gateway::start(&stage).await;
    let first = replica_behind(&stage, &gateway);
    wait_leads(&first);
    let thief = replica(&stage, &[]);
    wait_stands_by(&thief);
    // From now on its requests for the Lease are not answered. It goes on as long as its lease is valid.
    let _deaf = gateway.script(Rule::on(leases).hang());
    give(&stage, &first, None);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    wait_leads(&thief);
    until("both have called", || (sent(&first) > 0 && sent(&thief) > 0).then_some(()));
    wait_lost(first, "could not be renewed in time");
    assert_succeeded(&stage.wait_finished("retire"), 320);
    each_once(&stage.calls(), &ids);
    assert_monotone(&history.of("retire"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_leader_that_cannot_reach_the_api_server_ends_and_comes_back_with_it() {
    let stage = stage("unreachablelease").await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let gateway = Gateway::start(&stage).await;
    let flags = [&ELECT[..], &["--request-timeout", "30s"]].concat();
    let leader = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    wait_leads(&leader);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    let gone = Arc::new(AtomicBool::new(true));
    let is_gone = gone.clone();
    gateway.script(Rule::on(move |_| is_gone.load(Ordering::SeqCst)).unsent().close());
    gate.release();
    wait_lost(leader, "could not be renewed in time");
    assert_eq!(stage.calls().len(), 1);
    // Started again while the API server does not answer: it waits, alive and not ready.
    let again = replica_behind(&stage, &gateway);
    until("it waits", || again.log().contains("can't be listed").then_some(()));
    assert!(http_get(again.health(), "/healthz").starts_with("HTTP/1.1 200"));
    assert!(http_get(again.health(), "/readyz").starts_with("HTTP/1.1 503"));
    gone.store(false, Ordering::SeqCst);
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}
