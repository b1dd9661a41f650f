//! Scenarios after an installation: readiness, the README's commands, the container's rights.

use std::process::Command;

use harness::condition;

use crate::cluster::{Cluster, FLEET, NAME, SYSTEM, file, name, restarts};

fn both_ready_and_one_leads(cluster: &Cluster) {
    let pods = cluster.pods();
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| condition(pod, "Ready").0 == "True" && restarts(pod) == 0), "{pods:#?}");
    let leader = cluster.leader();
    let metrics = |pod| cluster.get(pod, 8080, "/metrics");
    for pod in &pods {
        let leads = metrics(pod)
            .lines()
            .any(|line| line.starts_with("instance_deletion_leader") && line.ends_with(" 1"));
        assert_eq!(leads, name(pod) == name(&leader), "{}", name(pod));
    }
}

pub fn base(cluster: &mut Cluster) {
    both_ready_and_one_leads(cluster);
    let (object, ids) = cluster.deletion(crate::names::REGION, 120);
    cluster.assert_deleted_once(&object, &ids);
}

pub fn chart(cluster: &mut Cluster) {
    both_ready_and_one_leads(cluster);
    let test = ["test", NAME, "--namespace", SYSTEM, "--timeout=2m"];
    let said = cluster.node.helm(&test).unwrap().ok().unwrap();
    assert!(said.contains("Succeeded"), "{said}");
    let (object, ids) = cluster.deletion(crate::names::REGION, 120);
    cluster.assert_deleted_once(&object, &ids);
}

/// The blocks of the README that are written for a shell, under this heading.
fn documented(heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file("README.md")).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The README's lines after the installation, as a newcomer copies them, in a shell that has this cluster's kubectl.
pub fn readme(cluster: &mut Cluster) {
    let text = std::fs::read_to_string(file("README.md")).unwrap();
    let manifest = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = cluster.node.folder().join("newcomer");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("retire-rack-12.yaml"), manifest).unwrap();
    let ids: Vec<String> =
        manifest.lines().filter_map(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect();
    assert_eq!(ids.len(), 2, "{manifest}");
    cluster.cloud.add_instances(harness::PROJECT, ids.iter().cloned());
    cluster.cloud.add_access_key(clouddc_simulator::AccessKey::new(
        "readme",
        "AKEXAMPLE0123456789",
        "example-of-a-secret-access-key",
        clouddc_simulator::Projects::All,
    ));
    // The tests have made both already.
    cluster.k(&["delete", "namespace", FLEET]);
    for block in documented("Plan, start, wait") {
        let output = shell(cluster, &folder, &block);
        assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    cluster.assert_deleted_once("retire-rack-12", &ids);
    cluster.k(&["delete", "secret", "clouddc", "-n", FLEET]);
    let token = format!("--from-literal=token={}", harness::TOKEN);
    cluster.k(&["create", "secret", "generic", "clouddc", "-n", FLEET, &token]);
}

fn shell(cluster: &Cluster, folder: &std::path::Path, script: &str) -> std::process::Output {
    let kubectl = cluster.kubectl(&[] as &[&str]).into_command();
    let words: Vec<String> = std::iter::once(kubectl.get_program())
        .chain(kubectl.get_args())
        .map(|word| format!("'{}'", word.display()))
        .collect();
    let mut command = Command::new("bash");
    for (variable, value) in kubectl.get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    let script = format!("set -e\nkubectl() {{ {} \"$@\"; }}\n{script}", words.join(" "));
    command.current_dir(folder).args(["-c", &script]).output().unwrap()
}

/// Asserts the rights that the kernel gives the process, and that the API server refuses a Pod with more.
pub fn rights(cluster: &mut Cluster) {
    let pod = cluster.leader();
    let process = cluster.process(&pod);
    let status = cluster.shell(&format!("cat /proc/{process}/status"));
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65532"; 4]);
    assert_eq!(field("Gid:"), ["65532"; 4]);
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert_eq!(field("Seccomp:"), ["2"], "a filter");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    let mounts = cluster.shell(&format!("cat /proc/{process}/mounts"));
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"), "{root}");

    let deployment = cluster.read(&["deployment", NAME, "-n", SYSTEM]);
    let mut pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "more-rights"},
        "spec": deployment["spec"]["template"]["spec"],
    });
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    let create = cluster.kubectl(&["create", "-n", SYSTEM, "-f", "-"]).stdin(pod.to_string());
    let refused = create.run().unwrap();
    assert!(refused.stderr.contains("violates PodSecurity \"restricted"), "{}", refused.stderr);
}
