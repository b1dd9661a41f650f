//! The commands of the documents about the plugin, run as they stand there; and what `make plugin` packs.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use clouddc_simulator::Options;
use harness::{PROJECT, Stage, project};
use serde_json::Value;

use crate::support::{id, ids, plugin, stage, stage_alone};

/// The blocks of a page in this language, each with the line before it.
fn blocks(page: &str, language: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(project().join(page)).unwrap();
    let (mut found, mut before, mut lines) = (Vec::new(), String::new(), text.lines());
    while let Some(line) = lines.next() {
        if let Some(is) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if is == language {
                found.push((before.clone(), block.join("\n") + "\n"));
            }
        } else if !line.is_empty() {
            line.clone_into(&mut before);
        }
    }
    found
}

/// Runs a script with kubectl and the plugin in its PATH, and the simulated cloud in place of the vendor's.
fn run(stage: &Stage, folder: &Path, script: &str) -> String {
    let bin = folder.join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(stage.control_plane.kubectl_path(), bin.join("kubectl")).unwrap();
        let wrapper = format!(
            "#!/bin/sh\n[ \"$1\" != generate ] || set -- \"$@\" --endpoint {} --allow-insecure-endpoint\nexec {} \"$@\"\n",
            stage.cloud.url(),
            plugin().display()
        );
        let path = bin.join("kubectl-idel");
        std::fs::write(&path, wrapper).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("PATH", path)
        .env("KUBECONFIG", stage.control_plane.kubeconfig())
        .env("HOME", folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}\n{told}\n{}", String::from_utf8_lossy(&output.stderr));
    told
}

/// A cluster of one's own with the namespace of the documents, and three machines in rack 12.
async fn fleet() -> Stage {
    let stage = stage_alone("docs", Options::default()).await;
    let cluster = |arguments: &[&str]| stage.control_plane.kubectl(arguments).ok().unwrap();
    cluster(&["create", "namespace", "fleet"]);
    let token = format!("--from-literal=token={}", harness::TOKEN);
    cluster(&["create", "secret", "generic", "clouddc", "-n", "fleet", &token]);
    stage.cloud.add_instances(PROJECT, ids(3));
    for n in 0..3 {
        assert!(stage.cloud.change_facts(PROJECT, &id(n), |facts| {
            facts.server.rack = "12".into();
            facts.name = format!("rack-12-node-{n}");
        }));
    }
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_leads_from_the_rack_to_the_report() {
    let stage = fleet().await;
    stage.cloud.set_end(clouddc_simulator::EndTime::Fixed(std::time::Duration::from_secs(1)));
    let _controller = stage.controller(&["--namespace", "fleet"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut said = String::new();
    for (_, script) in blocks("docs/tutorial/retire-a-rack.md", "sh") {
        said += &run(&stage, folder.path(), &script);
    }
    let report = std::fs::read_to_string(folder.path().join("retire-rack-12.csv")).unwrap();
    assert_eq!(report.matches(",Terminated,").count(), 3, "{report}");
    for line in
        ["started: 3 instances", "held\n", "Suspended", "released\n", "retire-rack-12 Succeeded 3/3 gone"]
    {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(ids(3).iter().all(|id| stage.cloud.state(PROJECT, id).as_deref() == Some("terminated")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_kept_as_the_page_says() {
    let stage = fleet().await;
    let folder = tempfile::tempdir().unwrap();
    let manifest = harness::Manifest::new("retire-rack-12", &ids(3)).text();
    stage.control_plane.kubectl(&["apply", "-n", "fleet", "-f", "-"]).stdin(manifest).ok().unwrap();
    for (before, text) in blocks("docs/how-to/keep-the-record.md", "yaml") {
        let file = before.split('`').find(|part| part.contains(".yaml")).unwrap().to_owned();
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    for (_, script) in blocks("docs/how-to/keep-the-record.md", "sh") {
        run(&stage, folder.path(), &script);
    }
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("retire-rack-12.csv").lines().count(), 4);
    assert!(read("retire-rack-12.md").starts_with("## fleet/retire-rack-12\n"));
    assert_eq!(serde_json::from_str::<Value>(&read("deletions.json")).unwrap()[0]["name"], "retire-rack-12");
    // What the job runs, with the rights of its account.
    let job =
        stage.control_plane.kubectl(&["get", "cronjob", "-n", "fleet", "deletion-records", "-o", "json"]);
    let job: Value = serde_json::from_str(&job.ok().unwrap()).unwrap();
    let command = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"][2];
    let command = command.as_str().unwrap().replace("/records/", &format!("{}/", folder.path().display()));
    let account = stage.control_plane.service_account_kubeconfig("fleet", "deletion-records").unwrap();
    run(&stage, folder.path(), &format!("export KUBECONFIG={}; {command}", account.display()));
    let dated = std::fs::read_dir(folder.path()).unwrap().flatten();
    let dated: Vec<_> = dated.filter(|file| file.file_name().to_string_lossy().starts_with("20")).collect();
    assert_eq!(std::fs::read_to_string(dated[0].path()).unwrap().lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_packed_is_what_krew_installs() {
    let stage = stage("packed").await;
    let folder = tempfile::tempdir().unwrap();
    let (binaries, out) = (folder.path().join("binaries"), folder.path().join("out"));
    std::fs::create_dir_all(binaries.join("amd64")).unwrap();
    std::os::unix::fs::symlink(plugin(), binaries.join("amd64/kubectl-idel")).unwrap();
    let pack = |out: &Path| {
        let packed = Command::new(project().join("deploy/plugin.sh"))
            .args([binaries.as_path(), out])
            .envs([
                ("VERSION", "1.2.3"),
                ("URL", "https://x.example/a"),
                ("ARCHITECTURES", "amd64"),
                ("SOURCE_DATE_EPOCH", "1"),
            ])
            .output()
            .unwrap();
        assert!(packed.status.success(), "{packed:?}");
    };
    pack(&out);
    let manifest = std::fs::read_to_string(out.join("idel.yaml")).unwrap();
    let manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
    assert_eq!(
        (&manifest["metadata"]["name"], &manifest["spec"]["version"]),
        (&"idel".into(), &"v1.2.3".into())
    );
    let platform = &manifest["spec"]["platforms"][0];
    let archive = "kubectl-idel-1.2.3-linux-amd64.tar.gz";
    assert_eq!(platform["uri"], format!("https://x.example/a/{archive}"));
    assert_eq!(platform["selector"]["matchLabels"], serde_json::json!({"os": "linux", "arch": "amd64"}));
    let sum = Command::new("sha256sum").arg(out.join(archive)).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(platform["sha256"], sum.split(' ').next().unwrap());
    // Installed where kubectl finds it.
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let unpacked =
        Command::new("tar").arg("xzf").arg(out.join(archive)).arg("-C").arg(&bin).status().unwrap();
    assert!(unpacked.success() && bin.join("kubectl_complete-idel").exists() && bin.join("LICENSE").exists());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let kubectl = Command::new(stage.control_plane.kubectl_path())
        .args(["idel", "--version"])
        .env("PATH", path)
        .output();
    let version = String::from_utf8(kubectl.unwrap().stdout).unwrap();
    assert_eq!(version, format!("kubectl-idel {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_pages_about_the_plugin_are_run_here() {
    // Every other page with a command of the plugin would need a test of its own.
    let known = [
        "docs/tutorial/retire-a-rack.md",
        "docs/how-to/keep-the-record.md",
        "docs/how-to/install-the-plugin.md",
    ];
    for folder in ["docs/tutorial", "docs/how-to", "."] {
        for file in std::fs::read_dir(project().join(folder)).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            let page = if folder == "." { name } else { format!("{folder}/{name}") };
            let uses = page.contains(".md")
                && blocks(&page, "sh").iter().any(|(_, script)| script.contains("kubectl idel"));
            assert!(!uses || known.contains(&page.as_str()), "{page}");
        }
    }
}
