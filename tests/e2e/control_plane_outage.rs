//! etcd and the API server stop under two replicas and start again: with their data, or with data from some time ago.

use std::time::{Duration, Instant};

use clouddc_simulator::{EndTime, Fault, Operation, Options};
use harness::{Controller, Manifest, PROJECT, Stage, condition, until};

use crate::{
    leader::{replica, wait_leads},
    support::{assert_monotone, assert_succeeded, binary, count, each_once, instances, options, phase_of},
};

const SOON: Duration = Duration::from_mins(1);

/// Longer than a lease is valid.
const OUTAGE: Duration = Duration::from_mins(1);

async fn alone(name: &str, options: Options) -> Stage {
    Stage::alone(name, binary(), options).await.unwrap()
}

/// Two replicas that are started again when they end, as by a kubelet.
struct Replicas<'a> {
    stage: &'a Stage,
    running: Vec<Controller>,
    /// How many replicas ended by themselves.
    ended: usize,
}

impl<'a> Replicas<'a> {
    fn start(stage: &'a Stage) -> Self {
        let running = vec![replica(stage, &[]), replica(stage, &[])];
        until("one leads", || running.iter().any(leads).then_some(()));
        Self { stage, running, ended: 0 }
    }

    /// Starts each replica again that has ended.
    fn look_after(&mut self) {
        for replica_here in &mut self.running {
            if replica_here.has_ended() {
                *replica_here = replica(self.stage, &[]);
                self.ended += 1;
            }
        }
    }
}

fn leads(controller: &Controller) -> bool {
    controller.log().contains(" leading ")
}

/// Eight objects of 500 ids, and a cloud that answers slowly: 80 calls.
fn under_load(stage: &Stage) -> Vec<Vec<String>> {
    let delay = Duration::from_millis(150);
    stage.cloud.script(Fault::on(Operation::DeleteInstances).delay_before(delay).delay_after(delay));
    let objects: Vec<_> = (0..8).map(|_| instances(stage, 500)).collect();
    for (number, ids) in objects.iter().enumerate() {
        stage.apply(&Manifest::new(&format!("retire-{number}"), ids)).unwrap();
    }
    objects
}

fn all_end(stage: &Stage, replicas: &mut Replicas<'_>, objects: &[Vec<String>]) {
    for (number, ids) in objects.iter().enumerate() {
        let name = format!("retire-{number}");
        until("it is finished", || {
            replicas.look_after();
            (condition(&stage.get(&name), "Finished").0 == "True").then_some(())
        });
        assert_succeeded(&stage.get(&name), ids.len());
    }
    each_once(&stage.calls(), &objects.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn l03_an_api_server_that_is_down_for_a_minute_under_two_replicas() {
    let stage = &alone("down", options()).await;
    let mut replicas = Replicas::start(stage);
    let objects = under_load(stage);
    stage.cloud.wait_calls(Operation::DeleteInstances, 3, SOON).await.unwrap();
    stage.control_plane.stop_api_server();
    let stopped = Instant::now();
    until("the leader has ended", || {
        replicas.look_after();
        (replicas.ended > 0).then_some(())
    });
    let calls = stage.calls().len();
    while stopped.elapsed() < OUTAGE {
        replicas.look_after();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(stage.calls().len(), calls, "nothing is sent that can't be recorded");
    let back = Instant::now();
    stage.control_plane.start_api_server().unwrap();
    let ready = back.elapsed().as_secs_f32();
    stage.cloud.wait_calls(Operation::DeleteInstances, calls + 1, SOON).await.unwrap();
    println!(
        "figure: after a minute without an API server it was ready {ready:.1} s after its start, and {:.1} s after that at the \
         latest the next delete call was made",
        back.elapsed().as_secs_f32() - ready
    );
    all_end(stage, &mut replicas, &objects);
}

#[tokio::test(flavor = "multi_thread")]
async fn l03_etcd_is_restarted_under_two_replicas() {
    let stage = &alone("etcd", options()).await;
    let mut replicas = Replicas::start(stage);
    let objects = under_load(stage);
    let history = stage.history().unwrap();
    stage.cloud.wait_calls(Operation::DeleteInstances, 3, SOON).await.unwrap();
    stage.control_plane.stop_etcd();
    let failed = |controller: &Controller| controller.log().contains("WARN");
    until("it is noticed", || replicas.running.iter().any(failed).then_some(()));
    let calls = stage.calls().len();
    stage.control_plane.start_etcd().unwrap();
    all_end(stage, &mut replicas, &objects);
    assert!(calls < stage.calls().len(), "it was stopped in the middle");
    assert_monotone(&history.of("retire-0"));
}

/// Resumes the object. An API server that has just started refuses that until its policies know the kind of the guards.
fn resume(stage: &Stage) {
    until("the policies are in force", || stage.patch("retire", &serde_json::json!({"suspend": false})).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn x01_an_api_server_that_comes_back_with_old_data_has_nothing_sent_twice() {
    let stage = &alone("olddata", Options { end: EndTime::Never, ..options() }).await;
    let control_plane = stage.control_plane;
    let ids = instances(stage, 120);
    stage.apply(&Manifest::new("retire", &ids).with("suspend", true)).unwrap();
    control_plane.stop_api_server();
    control_plane.stop_etcd();
    let backup = control_plane.back_up().unwrap();
    control_plane.start_etcd().unwrap();
    control_plane.start_api_server().unwrap();

    let leader = replica(stage, &["--parallel-calls", "4"]);
    wait_leads(&leader);
    stage.wait_reason("retire", "Suspended");
    resume(stage);
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 120);

    control_plane.stop_api_server();
    control_plane.stop_etcd();
    control_plane.set_back(&backup).unwrap();
    control_plane.start_etcd().unwrap();
    control_plane.start_api_server().unwrap();
    // The old data has no Lease either. The replica that led goes on or ends; in that case it is started again.
    assert_eq!(stage.get("retire")["spec"]["suspend"], true);
    let mut replicas = Replicas { stage, running: vec![leader], ended: 0 };
    resume(stage);
    until("what is on its way is seen", || {
        replicas.look_after();
        (count(&stage.get("retire"), "Accepted") == 120).then_some(())
    });
    // A new object is seen too, though the watch waits for a revision that etcd has not reached again.
    let others = instances(stage, 60);
    until("the policies admit it", || stage.apply(&Manifest::new("later", &others)).ok());
    stage.wait("later", "all accepted", |object| count(object, "Accepted") == 60);
    stage.cloud.set_end(EndTime::Fixed(Duration::ZERO));
    for id in ids.iter().chain(&others) {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    for (name, ids) in [("retire", &ids), ("later", &others)] {
        let object = stage.wait_finished(name);
        assert_succeeded(&object, ids.len());
        assert_eq!(phase_of(&object, &ids[0]), "Terminated");
    }
    each_once(&stage.calls(), &[ids, others].concat());
}
