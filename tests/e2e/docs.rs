//! The commands of the documents, run as they stand there.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clouddc_simulator::{AccessKey, EndTime, Options, Projects};
use harness::{PROJECT, Stage, condition};

use crate::support::{binary, named, options};

/// As in the guide.
const KEY: (&str, &str) = ("AKEXAMPLE0123456789", "example-of-a-secret-access-key");
const GONE: [&str; 3] = [
    "0198170e-4ca7-7ee4-89a7-fa631843920b",
    "0198170e-4ca7-7ee4-89a7-fa6318439210",
    "0198170e-4ca7-7ee4-89a7-fa6318439211",
];
const REFRACTORY: &str = "0198170e-4ca7-7ee4-89a7-fa6318439212";
const BESIDE_IT: &str = "0198170e-4ca7-7ee4-89a7-fa6318439213";

/// Commands that are named in passing, without what they would be carried out on.
const IN_PASSING: [&str; 3] = ["kubectl apply --dry-run=server", "kubectl delete", "kubectl annotate"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(project().join(file)).unwrap()
}

/// A fenced block: its language, its text, and the line of prose before it.
struct Block<'a> {
    language: &'a str,
    text: String,
    before: &'a str,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let (mut before, mut lines) = ("", text.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text =
                lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            blocks.push(Block { language, text, before });
        } else if !line.is_empty() {
            before = line;
        }
    }
    blocks
}

/// A person's shell: the real kubectl, an administrator, a folder of one's own.
struct Shell<'a> {
    stage: &'a Stage,
    folder: tempfile::TempDir,
}

impl<'a> Shell<'a> {
    fn new(stage: &'a Stage) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let kubectl = stage.control_plane.kubectl_path();
        std::os::unix::fs::symlink(kubectl, folder.path().join("bin/kubectl")).unwrap();
        Self { stage, folder }
    }

    /// Runs a script in a folder; what it prints, if all of it succeeds.
    fn run(&self, at: &Path, script: &str) -> String {
        let path = std::env::var("PATH").unwrap();
        let bin = self.folder.path().join("bin");
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(at)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("KUBECONFIG", self.stage.control_plane.kubeconfig())
            .env("HOME", self.folder.path())
            .env_remove("HTTPS_PROXY")
            .env_remove("HTTP_PROXY")
            .output()
            .unwrap();
        let (told, complaint) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{told}\n{complaint}");
        told.into_owned()
    }
}

/// A cluster of one's own, and a cloud with the instances that the documents name.
async fn stage() -> Stage {
    let options = Options { end: EndTime::Fixed(Duration::from_secs(1)), ..options() };
    let stage = Stage::alone("docs", binary(), options).await.unwrap();
    stage.cloud.add_access_key(AccessKey::new("guide", KEY.0, KEY.1, Projects::All));
    let ids = GONE.into_iter().chain([REFRACTORY, BESIDE_IT]);
    stage.cloud.add_instances(PROJECT, ids.map(str::to_owned));
    assert!(stage.cloud.fail_deletions(PROJECT, REFRACTORY, 1));
    stage
}

fn object(stage: &Stage, name: &str) -> serde_json::Value {
    let text = stage.control_plane.kubectl(&["get", "idel", "-n", "fleet", name, "-o", "json"]).ok().unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_leads_to_a_finished_deletion() {
    let stage = stage().await;
    let controller = stage.controller(&["--namespace", "fleet"]).unwrap();
    let shell = Shell::new(&stage);
    let text = read("docs/tutorial/first-deletion.md");
    let mut shown = String::new();
    for Block { language, text, before } in blocks(&text) {
        match language {
            "yaml" => {
                let file = before.split('`').find(|part| part.contains(".yaml"));
                std::fs::write(shell.folder.path().join(file.unwrap()), text).unwrap();
            }
            "sh" => shown += &shell.run(shell.folder.path(), &text),
            "console" | "json" => {}
            other => panic!("what is done with {other}?"),
        }
    }
    // What the page says is printed, is printed.
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let has = |expected: &str| {
        let expected = columns(expected);
        shown.lines().any(|line| columns(line).starts_with(&expected[..expected.len().min(5)]))
    };
    let promised = blocks(&text).into_iter().filter(|block| block.language == "console");
    for line in promised.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(line.starts_with('$') || has(&line), "{line}\n{shown}");
    }
    assert!(controller.log().contains(r#"name="retire-rack-12""#), "as the log is searched, in JSON");
    // The judge is the cloud.
    let calls = named(&stage.calls());
    assert!(GONE.iter().all(|id| calls.get(*id) == Some(&1)), "{calls:?}");
    assert_eq!((calls[BESIDE_IT], calls[REFRACTORY]), (1, 2), "the failed one again, and no other");
    assert!(object(&stage, "retire-rack-13")["status"]["failures"][0]["reason"] == "InstanceError");
    assert_eq!(condition(&object(&stage, "retire-rack-13-again"), "Ready").1, "AllTerminated");
}

/// Commands of a document: those in backquotes, and those in indented blocks.
fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut script = String::new();
    for line in text.lines() {
        match line.strip_prefix("    ") {
            // An empty line, or another one, ends a block.
            Some(line) if !line.trim().is_empty() => script += &format!("{line}\n"),
            _ => found.extend(Some(std::mem::take(&mut script)).filter(|script| script.contains("kubectl "))),
        }
        // Backslashes before pipes are the tables' own.
        let inline = line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("kubectl "));
        found.extend(inline.map(|code| code.replace("\\|", "|")));
    }
    found.extend(Some(script).filter(|script| script.contains("kubectl ")));
    found.retain(|command| !IN_PASSING.contains(&command.trim()));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_other_documents_does_what_it_is_for() {
    let stage = stage().await;
    let _controller = stage.controller(&["--namespace", "fleet"]).unwrap();
    let shell = Shell::new(&stage);
    let top = project();
    shell.run(&top, "kubectl create namespace argocd; kubectl create configmap argocd-cm -n argocd");
    let example = read("deploy/examples/instancedeletion.yaml")
        .replace("accessKeyID: replace-me", &format!("accessKeyID: {}", KEY.0));
    let example = example.replace("secretAccessKey: replace-me", &format!("secretAccessKey: {}", KEY.1));
    let planned = shell.folder.path().join("example.yaml");
    std::fs::write(&planned, &example).unwrap();
    let apply = format!("kubectl apply -f {}", planned.display());
    let mut run = 0;
    for document in
        ["README.md", "docs/how-to/use-with-flux.md", "docs/how-to/use-with-argo-cd.md", "SECURITY.md", "CONTRIBUTING.md"]
    {
        for command in commands(&read(document)) {
            // Each finds the object as its reader would: planned, or at its end.
            shell.run(&top, &apply);
            if !command.contains("Planned") && !command.contains("apply -f") {
                shell.run(&top, "kubectl patch idel -n fleet retire-rack-12 --type=merge -p '{\"spec\":{\"dryRun\":false}}'");
            }
            let names = [
                ("idel/NAME", "-n fleet idel/retire-rack-12"),
                ("idel NAME", "-n fleet idel retire-rack-12"),
            ];
            let names =
                names.into_iter().chain([("NAMESPACE", "fleet"), ("GROUP", "ops"), ("REASON", "stop")]);
            let command = names.fold(command, |command, (word, value)| command.replace(word, value));
            shell.run(&top, &command);
            shell.run(&top, "kubectl annotate --field-manager=hold -n fleet idel --all clouddc.dev/hold-");
            shell.run(&top, "kubectl delete idel -n fleet retire-rack-12 --ignore-not-found");
            run += 1;
        }
    }
    assert!(run > 15, "{run} commands");
    let told = shell.run(&top, "kubectl get configmap argocd-cm -n argocd -o json");
    assert!(told.contains("resource.customizations.health.clouddc.dev_InstanceDeletion"), "patched in");
}
