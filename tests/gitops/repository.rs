//! The example's repository, as Flux's source-controller would hand it on: each commit is an archive.

use std::{collections::BTreeMap, process::Command};

use harness::{PROJECT, Stage, condition, project, until};
use serde_json::{Value, json};

use crate::flux::Flux;

/// The folder of the deletion's manifest, and that of what follows it.
const FOLDERS: [&str; 2] = ["retire-rack-12", "after-rack-12"];
/// The manifest of the deletion.
pub const MANIFEST: &str = "retire-rack-12/instance-deletion.yaml";
/// Name of the object, and of the Kustomization that applies it.
pub const NAME: &str = "retire-rack-12";

/// The repository of `deploy/flux/example`, for one namespace.
pub struct Repository<'a> {
    flux: &'a Flux,
    stage: &'a Stage,
    files: BTreeMap<String, String>,
    commits: u32,
}

fn example(file: &str) -> String {
    std::fs::read_to_string(project().join("deploy/flux/example").join(file)).unwrap()
}

/// Replaces a text that must be there.
#[track_caller]
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?} in {text}");
    text.replace(from, to)
}

impl<'a> Repository<'a> {
    /// The example as it is, but for the namespace, the project, the ids and what the instances are called. Its Kustomizations
    /// are applied; nothing is committed.
    pub fn of(flux: &'a Flux, stage: &'a Stage, ids: &[String]) -> Self {
        for id in ids {
            let known = stage.cloud.change_facts(PROJECT, id, |facts| {
                facts.name = format!("rack-12-{}", &id[30..]);
                facts.tags.insert("env".to_owned(), "staging".to_owned());
            });
            assert!(known, "{id}");
        }
        let mut files = BTreeMap::new();
        for folder in FOLDERS {
            let listed = std::fs::read_dir(project().join("deploy/flux/example").join(folder)).unwrap();
            for file in listed {
                let name = format!("{folder}/{}", file.unwrap().file_name().to_string_lossy());
                let text =
                    example(&name).replace("namespace: fleet", &format!("namespace: {}", stage.namespace));
                files.insert(name, text);
            }
        }
        let mut this = Self { flux, stage, files, commits: 0 };
        this.edit(MANIFEST, "0123456789abcdef0123456789abcdef", PROJECT);
        this.list(ids);
        this.set_up();
        this
    }

    /// Puts these ids in place of those in the manifest.
    pub fn list(&mut self, ids: &[String]) {
        let text = &self.files[MANIFEST];
        let (before, rest) = text.split_once("  instanceIDs:\n").unwrap();
        let after: Vec<&str> = rest.lines().skip_while(|line| line.starts_with("  - ")).collect();
        let listed = ids.iter().fold(String::new(), |listed, id| listed + "  - " + id + "\n");
        let text = format!("{before}  instanceIDs:\n{listed}{}\n", after.join("\n"));
        self.files.insert(MANIFEST.to_owned(), text);
    }

    /// Changes a file, in which `from` must be.
    pub fn edit(&mut self, file: &str, from: &str, to: &str) {
        let text = replaced(&self.files[file], from, to);
        self.files.insert(file.to_owned(), text);
    }

    /// Removes the deletion's manifest, and leaves something else in its folder.
    pub fn remove_manifest(&mut self) {
        self.files.remove(MANIFEST).unwrap();
        self.files.insert(
            "retire-rack-12/note.yaml".to_owned(),
            self.files["after-rack-12/what-follows.yaml"].clone(),
        );
        self.edit("retire-rack-12/note.yaml", "name: after-rack-12", "name: note");
        self.edit("retire-rack-12/kustomization.yaml", "instance-deletion.yaml", "note.yaml");
    }

    /// The source and the Kustomizations of the example, with shorter times.
    fn set_up(&self) {
        let source = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "fleet"},
            "spec": {"url": "https://git.example/fleet", "interval": "1m"},
        });
        self.apply(&source.to_string());
        for name in FOLDERS {
            let mut text = example(&format!("kustomizations/{name}.yaml"));
            for (from, to) in [("interval: 10m", "interval: 4s"), ("retryInterval: 15s", "retryInterval: 2s")]
            {
                text = replaced(&text, from, to);
            }
            text = text.replace("timeout: 2m", "timeout: 6s");
            self.apply(&replaced(
                &text,
                "namespace: flux-system",
                &format!("namespace: {}", self.stage.namespace),
            ));
        }
    }

    fn apply(&self, text: &str) {
        let output = self.stage.kubectl_in(&["apply", "-f", "-"], text).unwrap();
        assert!(output.status.success(), "{}", output.stderr);
    }

    /// Hands the files on as a new commit, and waits until Flux has tried to apply it.
    pub fn commit(&mut self) {
        self.commits += 1;
        let revision = format!("main@sha1:{:040x}", self.commits);
        let bytes = self.archive();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let digest =
            digest.as_ref().iter().fold(String::new(), |digest, byte| digest + &format!("{byte:02x}"));
        let (name, size) = (format!("{}-{}.tar.gz", self.stage.namespace, self.commits), bytes.len());
        let url = self.flux.serve(&name, bytes);
        let artifact = json!({
            "path": name, "url": url, "revision": revision, "digest": format!("sha256:{digest}"), "size": size,
            "lastUpdateTime": "2026-12-01T00:00:00Z",
        });
        let status = json!({"status": {"artifact": artifact}}).to_string();
        let patch =
            ["patch", "gitrepository", "fleet", "--subresource=status", "--type=merge", "-p", &status];
        self.stage.kubectl(&patch).unwrap();
        self.wait(NAME, "the commit was tried", |kustomization| {
            kustomization["status"]["lastAttemptedRevision"] == revision.as_str()
        });
    }

    fn archive(&self) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.args(["--create", "--gzip", "--directory"]).arg(folder.path()).args(FOLDERS);
        let output = tar.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// A Kustomization as it is.
    pub fn kustomization(&self, name: &str) -> Value {
        let text =
            self.stage.kubectl(&["get", "kustomizations.kustomize.toolkit.fluxcd.io", name, "-o", "json"]);
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    /// Waits until this holds of a Kustomization, and returns it.
    pub fn wait(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let look = || {
            last = self.kustomization(name);
            is(&last).then(|| last.clone())
        };
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(what, look)));
        found.unwrap_or_else(|panic| {
            eprintln!("{name}: {:#}\n{}", last["status"], self.flux.log());
            std::panic::resume_unwind(panic)
        })
    }

    /// Waits until `Ready` of a Kustomization has this reason, and returns its message.
    pub fn wait_reason(&self, name: &str, reason: &str) -> String {
        let found = self.wait(name, reason, |kustomization| condition(kustomization, "Ready").1 == reason);
        condition(&found, "Ready").2
    }

    /// Waits until Flux has reconciled the deletion's Kustomization three times more.
    pub fn three_intervals(&self) {
        let reconciled = || self.flux.reconciled(&self.stage.namespace, NAME);
        let before = reconciled();
        until("three intervals", || (reconciled() >= before + 3).then_some(()));
    }
}
