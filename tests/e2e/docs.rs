//! The commands of the documents, run as they stand there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clouddc_simulator::{AccessKey, EndTime, Options, Projects};
use harness::{PROJECT, Stage, condition};

use crate::support::{binary, named, options};

/// As in the tutorial and the README.
const KEY: (&str, &str) = ("AKEXAMPLE0123456789", "example-of-a-secret-access-key");
const GONE: [&str; 3] = [
    "0198170e-4ca7-7ee4-89a7-fa631843920b",
    "0198170e-4ca7-7ee4-89a7-fa6318439210",
    "0198170e-4ca7-7ee4-89a7-fa6318439211",
];
const REFRACTORY: &str = "0198170e-4ca7-7ee4-89a7-fa6318439212";
const BESIDE_IT: &str = "0198170e-4ca7-7ee4-89a7-fa6318439213";

/// Commands that are named in passing, without what they would be carried out on.
const IN_PASSING: [&str; 4] =
    ["kubectl apply --dry-run=server", "kubectl delete", "kubectl annotate", "kubectl idel"];

/// The guard that stops everything.
const HOLD: &str = "deploy/examples/stop-everything.yaml";

/// Pages whose commands are run here, each on an object of its own.
const EACH: [&str; 18] = [
    "docs/how-to/create-credentials.md",
    "docs/how-to/delete-instances.md",
    "docs/how-to/limit-a-deletion.md",
    "docs/how-to/monitor.md",
    "docs/how-to/protect-instances.md",
    "docs/how-to/respond-to-alerts.md",
    "docs/how-to/retire-a-rack-safely.md",
    "docs/how-to/retire-with-a-soak.md",
    "docs/how-to/retry-failed-instances.md",
    "docs/how-to/run-two-replicas.md",
    "docs/how-to/size-the-controller.md",
    "docs/how-to/split-work-in-shards.md",
    "docs/how-to/stop-and-resume.md",
    "docs/how-to/troubleshoot.md",
    "docs/how-to/use-with-argo-cd.md",
    "docs/how-to/use-with-flux.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
];

/// Their commands build an image, copy it to a registry or publish it; `install::image` tests what is built.
const BUILT: [&str; 3] =
    ["docs/how-to/build-the-image.md", "docs/how-to/mirror-the-image.md", "docs/how-to/release.md"];

/// Their commands are of the plugin; its own tests run them, and check that these are all.
const OF_THE_PLUGIN: [&str; 2] = ["docs/how-to/install-the-plugin.md", "docs/how-to/keep-the-record.md"];

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
        if let Some(language) = line.trim_start().strip_prefix("```") {
            // A block of a list is indented like the list.
            let indent = line.len() - line.trim_start().len();
            let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
            let text = block.flat_map(|line| [line.get(indent..).unwrap_or_default(), "\n"]).collect();
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

/// A cluster of one's own in which the controller may read no Secret before a document grants it, and a cloud with the instances
/// that the documents name.
async fn stage() -> Stage {
    let options = Options { end: EndTime::Fixed(Duration::from_secs(1)), ..options() };
    let stage = Stage::alone("docs", binary(), options).await.unwrap();
    let everywhere = ["delete", "clusterrolebinding", "instance-deletion-controller-secrets"];
    stage.control_plane.kubectl(&everywhere).ok().unwrap();
    stage.cloud.add_access_key(AccessKey::new("guide", KEY.0, KEY.1, Projects::All));
    let ids = GONE.into_iter().chain([REFRACTORY, BESIDE_IT]);
    stage.cloud.add_instances(PROJECT, ids.clone().map(str::to_owned));
    // What the examples expect.
    for (n, id) in ids.enumerate() {
        let named = stage.cloud.change_facts(PROJECT, id, |facts| facts.name = format!("rack-12-{n}"));
        assert!(named, "{id}");
    }
    assert!(stage.cloud.fail_deletions(PROJECT, REFRACTORY, 1));
    stage
}

fn object(stage: &Stage, name: &str) -> serde_json::Value {
    let text = stage.control_plane.kubectl(&["get", "idel", "-n", "fleet", name, "-o", "json"]).ok().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Does what a page says from its beginning to its end, and sees that what it says is printed is printed.
fn walk(shell: &Shell<'_>, page: &str) {
    let text = read(page);
    let mut shown = String::new();
    for Block { language, text, before } in blocks(&text) {
        match language {
            "yaml" => {
                let file = before.split('`').find(|part| part.contains(".yaml"));
                std::fs::write(shell.folder.path().join(file.unwrap()), text).unwrap();
            }
            "sh" if text.starts_with("make ") => is_a_target(&text),
            "sh" => shown += &shell.run(shell.folder.path(), &text),
            "console" | "json" | "mermaid" => {}
            other => unreachable!("what is done with {other}?"),
        }
    }
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let has = |expected: &str| {
        let expected = columns(expected);
        shown.lines().any(|line| columns(line).starts_with(&expected[..expected.len().min(5)]))
    };
    let promised = blocks(&text).into_iter().filter(|block| block.language == "console");
    for line in promised.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(line.starts_with('$') || has(&line), "{line}\n{shown}");
    }
}

/// A call of make names a target that is there. What the targets do, other tests show.
fn is_a_target(script: &str) {
    let makefile = read("Makefile");
    for line in script.lines() {
        let target = line.strip_prefix("make ").unwrap().split_whitespace().next().unwrap();
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_leads_to_a_finished_deletion() {
    let stage = stage().await;
    let controller = stage.controller(&["--namespace", "fleet"]).unwrap();
    walk(&Shell::new(&stage), "docs/tutorial/first-deletion.md");
    assert!(controller.log().contains(r#"name="retire-rack-12""#), "as the log is searched, in JSON");
    // The judge is the cloud.
    let calls = named(&stage.calls());
    assert!(GONE.iter().all(|id| calls.get(*id) == Some(&1)), "{calls:?}");
    assert_eq!((calls[BESIDE_IT], calls[REFRACTORY]), (1, 2), "the failed one again, and no other");
    assert!(object(&stage, "retire-rack-13")["status"]["failures"][0]["reason"] == "InstanceError");
    assert_eq!(condition(&object(&stage, "retire-rack-13-again"), "Ready").1, "AllTerminated");
}

/// Commands of a document: those in backquotes, and those in blocks of the language `sh`.
fn commands(text: &str) -> Vec<String> {
    let blocks = blocks(text).into_iter().filter(|block| block.language == "sh").map(|block| block.text);
    let mut found: Vec<String> = blocks.collect();
    let mut fenced = false;
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if !fence && !fenced {
            // Backslashes before pipes are the tables' own.
            let inline = line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("kubectl "));
            found.extend(inline.map(|code| code.replace("\\|", "|")));
            assert!(!line.starts_with("    kubectl "), "a command in no block: {line}");
        }
    }
    found.retain(|command| !IN_PASSING.contains(&command.trim()));
    found
}

#[test]
fn every_page_of_a_task_has_a_test_that_runs_its_commands() {
    let pages = std::fs::read_dir(project().join("docs/how-to")).unwrap();
    let names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> = names.map(|name| format!("docs/how-to/{name}")).collect();
    let tested = EACH.into_iter().chain(BUILT).chain(OF_THE_PLUGIN).chain(crate::install::PAGES);
    let tested: BTreeSet<String> = tested.map(str::to_owned).collect();
    assert!(pages.is_subset(&tested), "{:?}", pages.difference(&tested));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_other_documents_does_what_it_is_for() {
    let stage = stage().await;
    let _controller = stage.controller(&["--namespace", "fleet"]).unwrap();
    let shell = Shell::new(&stage);
    let top = project();
    // The README names files of the project from its top folder.
    for folder in ["deploy", "crds"] {
        std::os::unix::fs::symlink(top.join(folder), shell.folder.path().join(folder)).unwrap();
    }
    walk(&shell, "README.md");
    let calls = named(&stage.calls());
    assert!(GONE[..2].iter().all(|id| calls.get(*id) == Some(&1)) && calls.len() == 2, "{calls:?}");
    shell.run(&top, "kubectl delete idel -n fleet retire-rack-12");
    shell.run(&top, "kubectl create namespace argocd; kubectl create configmap argocd-cm -n argocd");
    let example = read("deploy/examples/instancedeletion.yaml")
        .replace("accessKeyID: replace-me", &format!("accessKeyID: {}", KEY.0));
    let example = example.replace("secretAccessKey: replace-me", &format!("secretAccessKey: {}", KEY.1));
    let planned = shell.folder.path().join("example.yaml");
    std::fs::write(&planned, &example).unwrap();
    let apply = format!("kubectl apply -f {}", planned.display());
    let mut run = 0;
    for document in EACH {
        for command in commands(&read(document)) {
            // Each finds the object as its reader would: planned, or at its end.
            shell.run(&top, &apply);
            if !command.contains("Planned") && !command.contains(" -f ") {
                shell.run(&top, "kubectl patch idel -n fleet retire-rack-12 --type=merge -p '{\"spec\":{\"dryRun\":false}}'");
            }
            let names = [
                ("idel/NAME", "-n fleet idel/retire-rack-12"),
                ("idel NAME", "-n fleet idel retire-rack-12"),
            ];
            let names =
                names.into_iter().chain([("NAMESPACE", "fleet"), ("GROUP", "ops"), ("REASON", "stop")]);
            let command = names.fold(command, |command, (word, value)| command.replace(word, value));
            // Each command finds the cluster as its reader would: held where it lets go, and not held elsewhere.
            if command.contains(&format!("delete -f {HOLD}")) {
                shell.run(&top, &format!("kubectl apply -f {HOLD}"));
            }
            shell.run(&top, &command);
            shell.run(&top, &format!("kubectl delete -f {HOLD} --ignore-not-found"));
            shell.run(&top, "kubectl annotate --field-manager=hold -n fleet idel --all clouddc.dev/hold-");
            shell.run(&top, "kubectl delete idel -n fleet retire-rack-12 --ignore-not-found");
            run += 1;
        }
    }
    assert!(run > 40, "{run} commands");
    let told = shell.run(&top, "kubectl get configmap argocd-cm -n argocd -o json");
    assert!(told.contains("resource.customizations.health.clouddc.dev_InstanceDeletion"), "patched in");
}
