//! Scenarios that disturb Pods, containers and the node while a delete call runs.

use std::time::Duration;

use clouddc_simulator::{Fault, FaultHandle, Operation, Stage};
use harness::{PROJECT, until};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, FLEET, NAME, SYSTEM, is_ready, name, restarts},
    names::REGION,
};

/// An object of 120 ids whose first call has deleted its instances and is not answered.
struct Running {
    object: String,
    ids: Vec<String>,
    call: FaultHandle,
}

fn running(cluster: &mut Cluster) -> Running {
    let held = Fault::on(Operation::DeleteInstances).times(1).hold(Stage::AfterEffect);
    let call = cluster.cloud.script(held);
    let (object, ids) = cluster.deletion(REGION, 120);
    until("a call waits for its answer", || (call.held() == 1).then_some(()));
    Running { object, ids, call }
}

impl Running {
    /// The call is answered, and the object comes to its end.
    fn ends(self, cluster: &Cluster) {
        self.call.release();
        cluster.assert_deleted_once(&self.object, &self.ids);
    }
}

fn rollout_restart(cluster: &Cluster) {
    cluster.k(&["rollout", "restart", &format!("deployment/{NAME}"), "-n", SYSTEM]);
}

/// The rollout stops the process that waits for an answer: it records it before it ends.
pub fn rollout(cluster: &mut Cluster) {
    let running = running(cluster);
    let leader = cluster.leader();
    rollout_restart(cluster);
    until("the leader is asked to end", || {
        let pods = cluster.pods();
        pods.iter().any(|pod| name(pod) == name(&leader) && !is_ready(pod)).then_some(())
    });
    running.ends(cluster);
    cluster.wait_rolled_out();
    assert!(cluster.pods().iter().all(|pod| name(pod) != name(&leader)));
}

/// SIGKILL: nothing is recorded. The next leader finds what the call did.
pub fn killed_container(cluster: &mut Cluster) {
    let running = running(cluster);
    let leader = cluster.leader();
    let process = cluster.process(&leader);
    cluster.shell(&format!("kill -9 {process}"));
    running.ends(cluster);
    cluster.wait_rolled_out();
    let pods = cluster.pods();
    let killed = pods.iter().find(|pod| name(pod) == name(&leader)).unwrap();
    assert_eq!(restarts(killed), 1, "the container was started again in its Pod");
}

/// As a drain does: one replica may go, the second one only when another is ready.
pub fn eviction(cluster: &mut Cluster) {
    let running = running(cluster);
    let leader = cluster.leader();
    let pods = cluster.pods();
    let other = pods.iter().find(|pod| name(pod) != name(&leader)).unwrap();
    // No replica can come in its place: this is the only node.
    cluster.k(&["cordon", "node"]);
    assert!(evict(cluster, name(&leader)).is_ok());
    let refused = evict(cluster, name(other)).unwrap_err();
    assert!(refused.contains("disruption budget"), "{refused}");
    running.ends(cluster);
    let refused = evict(cluster, name(other)).unwrap_err();
    assert!(refused.contains("disruption budget"), "{refused}");
    cluster.k(&["uncordon", "node"]);
    cluster.wait_rolled_out();
    until("the other replica may go", || evict(cluster, name(other)).ok());
    cluster.wait_rolled_out();
}

fn evict(cluster: &Cluster, pod: &str) -> Result<(), String> {
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}/eviction");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": SYSTEM}});
    let answer =
        cluster.kubectl(&["create", "--raw", &path, "-f", "-"]).stdin(eviction.to_string()).run().unwrap();
    if answer.status.success() { Ok(()) } else { Err(answer.stderr) }
}

/// The kernel kills the leader for its memory while it works: `kubectl describe` says so, and nothing is repeated.
pub fn out_of_memory(cluster: &mut Cluster) {
    let running = running(cluster);
    let leader = cluster.leader();
    let process = cluster.process(&leader);
    // The Pod's own limit leaves room for far more than a test needs: this one leaves next to none.
    cluster.shell(&format!(
        "group=/sys/fs/cgroup/memory$(awk -F: '/:memory:/ {{ print $3 }}' /proc/{process}/cgroup)
         echo $(($(cat $group/memory.usage_in_bytes) + 65536)) >$group/memory.limit_in_bytes"
    ));
    // More work than fits, whatever memory the process has kept for itself.
    let mut more = Vec::new();
    let killed = until("the leader is killed", || {
        more.push(cluster.deletion(REGION, 500));
        cluster.pods().into_iter().find(|pod| name(pod) == name(&leader) && restarts(pod) > 0)
    });
    running.ends(cluster);
    for (object, ids) in &more {
        cluster.assert_deleted_once(object, ids);
    }
    cluster.wait_rolled_out();
    let ended = &killed["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&ended["reason"], restarts(&killed)), (&json!("OOMKilled"), 1), "{ended}");
    let described = cluster.k(&["describe", "pod", name(&leader), "-n", SYSTEM]);
    assert!(described.contains("OOMKilled"), "{described}");
}

/// The programs that take the containers' logs stand still for a minute while every line is logged.
pub fn unread_logs(cluster: &mut Cluster) {
    let args = "/spec/template/spec/containers/0/args";
    let deployment = cluster.read(&["deployment", NAME, "-n", SYSTEM]);
    let before = deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    cluster.patch(&json!([{"op": "add", "path": format!("{args}/-"), "value": "--log-level=trace"}]));
    cluster.wait_rolled_out();
    let process = cluster.process(&cluster.leader());
    cluster.shell("kill -STOP $(pidof containerd containerd-shim-runc-v2)");
    let began = std::time::Instant::now();
    let mut deleted = 0;
    while began.elapsed() < Duration::from_mins(1) {
        let (object, ids) = cluster.deletion(REGION, 100);
        cluster.assert_deleted_once(&object, &ids);
        deleted += 1;
    }
    let waits = cluster.shell(&format!("cat /proc/{process}/task/*/wchan"));
    cluster.shell("kill -CONT $(pidof containerd containerd-shim-runc-v2)");
    assert!(waits.contains("pipe_write"), "no thread waits for a reader of the logs: {waits}");
    assert!(deleted > 1, "{deleted} objects");
    cluster.patch(&json!([{"op": "replace", "path": args, "value": before}]));
    cluster.wait_rolled_out();
}

/// The node ends at once and starts again with what it had on disk. The cloud went on in the meantime.
pub fn power_cut(cluster: &mut Cluster) {
    let running = running(cluster);
    let sent =
        cluster.cloud.delete_calls().iter().flat_map(|call| call.applied_ids.clone()).collect::<Vec<_>>();
    cluster.power_cut();
    for id in &running.ids {
        let state = if sent.contains(id) { "terminated" } else { "running" };
        cluster.cloud.set_state(PROJECT, id, state);
    }
    let object = until("the object ends", || {
        let answer =
            cluster.kubectl(&["get", "idel", &running.object, "-n", FLEET, "-o", "json"]).run().unwrap();
        let object: Value = serde_json::from_str(&answer.stdout).ok()?;
        (harness::condition(&object, "Finished").0 == "True").then_some(object)
    });
    assert_eq!(object["status"]["phase"], "Succeeded", "{:#}", object["status"]["conditions"]);
    let called: Vec<String> = cluster.cloud.delete_calls().into_iter().flat_map(|call| call.ids).collect();
    for id in &running.ids {
        let expected = usize::from(!sent.contains(id));
        assert_eq!(
            called.iter().filter(|other| *other == id).count(),
            expected,
            "calls with {id} after the restart"
        );
    }
    cluster.wait_rolled_out();
}

/// Rollouts without any load: no probe of a replica that starts fails, and none waits for a second probe.
pub fn quiet_restart(cluster: &mut Cluster) {
    for _ in 0..3 {
        rollout_restart(cluster);
        cluster.wait_rolled_out();
        let events = cluster.read(&["events", "-n", SYSTEM, "--field-selector", "type=Warning"]);
        for pod in cluster.pods() {
            let of_pod = |event: &&Value| event["involvedObject"]["uid"] == pod["metadata"]["uid"];
            let warnings: Vec<_> = events["items"].as_array().unwrap().iter().filter(of_pod).collect();
            assert!(warnings.is_empty(), "{}: {warnings:#?}", name(&pod));
        }
    }
}

/// A token of ten minutes, which the kubelet renews after eight: when the first one has expired, the process has read another.
pub fn expiring_token(cluster: &mut Cluster) {
    let deployment = cluster.read(&["deployment", NAME, "-n", SYSTEM]);
    let before = deployment["spec"]["template"]["spec"].clone();
    let mut spec = before.clone();
    spec["automountServiceAccountToken"] = false.into();
    spec["volumes"] = json!([{"name": "token", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}}]);
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    spec["containers"][0]["volumeMounts"] = json!([{"name": "token", "mountPath": folder, "readOnly": true}]);
    cluster.patch(&json!([{"op": "replace", "path": "/spec/template/spec", "value": spec}]));
    cluster.wait_rolled_out();
    let leader = cluster.leader();
    let process = cluster.process(&leader);
    let token = |cluster: &Cluster| cluster.shell(&format!("cat /proc/{process}/root{folder}/token"));
    let first = token(cluster);
    let review = |cluster: &Cluster| {
        let kubeconfig = ["--token", first.trim(), "auth", "whoami", "-o", "json"];
        cluster.kubectl_without_certificate(&kubeconfig).run().unwrap()
    };
    assert!(review(cluster).status.success(), "the first token is good at first");
    let began = std::time::Instant::now();
    while review(cluster).status.success() {
        assert!(began.elapsed() < Duration::from_mins(15), "the first token does not expire");
        std::thread::sleep(Duration::from_secs(5));
    }
    assert_ne!(token(cluster), first, "the kubelet has renewed it");
    let (object, ids) = cluster.deletion(REGION, 120);
    cluster.assert_deleted_once(&object, &ids);
    let now = cluster.leader();
    assert_eq!((name(&now), restarts(&now)), (name(&leader), 0), "the same process leads");
    cluster.patch(&json!([{"op": "replace", "path": "/spec/template/spec", "value": before}]));
    cluster.wait_rolled_out();
}
