//! `make demo`: the deletion of 150 instances from the rack to the report, as a person at a terminal sees it.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use clouddc_simulator::{EndTime, Options};
use harness::{PROJECT, Stage, condition};

const INSTANCES: usize = 150;
/// How long the plugin watches at most.
const LIMIT: &str = "5m";

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let keep = std::env::args().any(|arg| arg == "--keep");
    match demo(keep).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(keep: bool) -> Result<(), Error> {
    say(
        "This starts a real etcd and kube-apiserver, a simulated CloudDC and the controller, all on 127.0.0.1,",
    );
    say(
        "retires the 150 simulated machines of a rack, and ends when the object says that all are terminated.",
    );
    say(
        "The first run builds etcd, kube-apiserver and kubectl from source: about ten minutes on two cores.\n",
    );

    // Most deletions take seconds, some take longer, as in a real cloud.
    let end = EndTime::LogNormal { median: Duration::from_secs(8), sigma: 0.4 };
    let stage =
        Stage::new("demo", &Stage::binary_beside_this()?, Options { end, ..Options::default() }).await?;
    say("etcd and kube-apiserver run; deploy/overlays/cluster-wide is applied (CRD, ServiceAccount, roles)");
    machines(&stage)?;
    say(&format!("the simulated CloudDC runs {INSTANCES} instances of project {PROJECT} in rack 12"));
    let flags = ["--poll-min", "1s", "--settle", "5s", "--delete-rate", "2", "--read-rate", "10"];
    let flags = [&flags[..], &["--leader-elect", "true"]].concat();
    let controller = stage.controller(&flags)?;
    say("the controller runs under its own ServiceAccount\n");

    let manifest = generate(&stage)?;
    say("$ kubectl apply -f retire-rack-12.yaml");
    print!("{}", stage.kubectl(&["apply", "-f", &manifest.display().to_string()])?);
    let plan = told(&stage, &["plan", "retire-rack-12"])?;
    say(&format!("\n$ kubectl idel plan retire-rack-12   # {INSTANCES} rows, shortened\n{}", ends(&plan, 4)));
    say("$ kubectl idel start retire-rack-12 --yes");
    shown(&stage, &["start", "retire-rack-12", "--yes"])?;
    say("\n$ kubectl idel watch retire-rack-12");
    shown(&stage, &["watch", "retire-rack-12", "--timeout", LIMIT])?;
    let (finished, reason, message) = condition(&stage.get("retire-rack-12"), "Finished");
    say(&format!("\n{reason}: {message}"));
    if (finished.as_str(), reason.as_str()) != ("True", "Succeeded") {
        return Err("expected that all instances are gone".into());
    }
    let report = told(&stage, &["report", "retire-rack-12"])?;
    say(&format!(
        "\n$ kubectl idel report retire-rack-12   # {INSTANCES} rows, shortened\n{}",
        ends(&report, 3)
    ));

    let calls = stage.calls();
    let sizes: Vec<String> = calls.iter().map(|call| call.ids.len().to_string()).collect();
    say(&format!("\nthe cloud's log: {} delete calls, of {} ids\n", calls.len(), sizes.join(", ")));
    say("$ kubectl get idel");
    print!("{}", stage.kubectl(&["get", "idel"])?);
    say("\n$ kubectl get idel retire-rack-12 -o yaml   # instances shortened");
    print!("{}", shortened(&stage.kubectl(&["get", "idel", "retire-rack-12", "-o", "yaml"])?));
    if calls.len() != 3 || !calls.iter().all(|call| call.ids.len() == 50) {
        return Err("expected exactly three calls of 50 ids".into());
    }
    if keep {
        left_running(&stage, &manifest)?;
    }
    drop(controller);
    say("\ndone; everything is stopped");
    Ok(())
}

/// Machines of a rack, some of them in other states than running.
fn machines(stage: &Stage) -> Result<(), Error> {
    for (n, id) in stage.cloud.ids(PROJECT, INSTANCES).iter().enumerate() {
        let changed = stage.cloud.change_facts(PROJECT, id, |facts| {
            facts.name = format!("rack-12-node-{n:03}");
            facts.server.rack = "12".into();
            facts.server.unit = (n + 1).to_string();
            facts.tags.insert("env".to_owned(), "staging".to_owned());
        });
        if !changed {
            return Err("an instance is missing".into());
        }
    }
    Ok(())
}

/// Writes the manifest of the rack to a file, and shows its ends.
fn generate(stage: &Stage) -> Result<PathBuf, Error> {
    let choice = ["--region", "ap-southeast-3", "--project", PROJECT, "--rack", "12"];
    let cloud = ["--secret", "clouddc", "--endpoint", stage.cloud.url(), "--allow-insecure-endpoint"];
    // So many are on their way at a time that each call is full.
    let form = ["--max-in-flight", "150"];
    let text = told(stage, &[&["generate"][..], &choice, &cloud, &form].concat())?;
    let file = stage.control_plane.folder().join("retire-rack-12.yaml");
    std::fs::write(&file, &text)?;
    say("$ kubectl idel generate --rack 12 … >retire-rack-12.yaml   # shortened");
    say(&ends(&text, 24));
    Ok(file)
}

/// The plugin, which is built beside this program.
fn plugin(stage: &Stage, arguments: &[&str]) -> Result<Command, Error> {
    let mut command = Command::new(Stage::binary_beside_this()?.with_file_name("kubectl-idel"));
    command
        .args(arguments)
        .args(["-n", &stage.namespace])
        .env("KUBECONFIG", stage.control_plane.kubeconfig());
    Ok(command)
}

/// What the plugin prints.
fn told(stage: &Stage, arguments: &[&str]) -> Result<String, Error> {
    let output = plugin(stage, arguments)?.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Lets the plugin have the terminal.
fn shown(stage: &Stage, arguments: &[&str]) -> Result<(), Error> {
    std::io::stdout().flush()?;
    let status = plugin(stage, arguments)?.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("kubectl idel {}: {status}", arguments.join(" ")).into())
    }
}

/// The first lines of a long text, and its last two.
fn ends(text: &str, first: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(hidden) = lines.len().checked_sub(first + 2).filter(|hidden| *hidden > 1) else {
        return text.to_owned();
    };
    let head = lines.iter().take(first).map(|line| format!("{line}\n"));
    let tail = lines.iter().skip(first + hidden).map(|line| format!("{line}\n"));
    head.chain([format!("… {hidden} more\n")]).chain(tail).fold(String::new(), |text, line| text + &line)
}

/// The object without the long lists of ids.
fn shortened(yaml: &str) -> String {
    let mut shown = String::new();
    let (mut rows, mut list_indent) = (0, None);
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("kubectl.kubernetes.io/last-applied-configuration") {
            list_indent = None;
        }
        if line.trim_start().starts_with("{\"apiVersion\"") {
            continue;
        }
        if ["instanceIDs:", "instances:"].contains(&line.trim()) {
            (rows, list_indent) = (0, Some(indent));
            shown += line;
            shown.push('\n');
            continue;
        }
        if let Some(list) = list_indent {
            let item = line.trim_start().starts_with("- ") && indent >= list;
            if item || indent > list {
                rows += usize::from(item);
                if rows <= 2 {
                    shown += line;
                    shown.push('\n');
                } else if rows == 3 && item {
                    shown += &format!("{}# … {} more\n", " ".repeat(list), INSTANCES - 2);
                }
                continue;
            }
            list_indent = None;
        }
        shown += line;
        shown.push('\n');
    }
    shown
}

fn left_running(stage: &Stage, manifest: &Path) -> Result<(), Error> {
    let idel = Stage::binary_beside_this()?.with_file_name("kubectl-idel");
    say("\nAll of it is left running. In another terminal:");
    say(&format!("  export KUBECONFIG={}", stage.control_plane.kubeconfig().display()));
    say(&format!("  alias kubectl={}", stage.control_plane.kubectl_path().display()));
    say(&format!("  alias idel=\"{} -n {}\"", idel.display(), stage.namespace));
    say("  idel explain retire-rack-12");
    say("  idel report retire-rack-12 -o csv");
    say(&format!("  kubectl -n {} describe idel retire-rack-12", stage.namespace));
    say(&format!("  kubectl -n {} get events", stage.namespace));
    say(&format!("  kubectl -n {} delete idel retire-rack-12", stage.namespace));
    say(&format!("  kubectl -n {} apply -f {}", stage.namespace, manifest.display()));
    say("  idel plan retire-rack-12; idel start retire-rack-12    # again: zero delete calls");
    say(&format!("  curl -s {}/log    # what the cloud has heard", stage.cloud.admin_url()));
    say("Press Enter here, or Ctrl-C, to stop everything.");
    std::io::stdout().flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
}
