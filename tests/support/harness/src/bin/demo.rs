//! `make demo`: the deletion of 150 instances from the manifest to the end, as a user sees it.

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clouddc_simulator::{EndTime, Options};
use harness::{Manifest, PROJECT, Stage, condition};

const INSTANCES: usize = 150;
const LIMIT: Duration = Duration::from_mins(5);

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
        "deletes 150 simulated instances with one manifest, and ends when the object says that all are terminated.",
    );
    say(
        "The first run builds etcd, kube-apiserver and kubectl from source: about ten minutes on two cores.\n",
    );

    // Most deletions take seconds, some take longer, as in a real cloud.
    let end = EndTime::LogNormal { median: Duration::from_secs(8), sigma: 0.4 };
    let stage =
        Stage::new("demo", &Stage::binary_beside_this()?, Options { end, ..Options::default() }).await?;
    say("etcd and kube-apiserver run; deploy/base is applied (CRD, ServiceAccount, roles)");
    let ids = stage.cloud.ids(PROJECT, INSTANCES);
    say(&format!("the simulated CloudDC runs {INSTANCES} instances of project {PROJECT}"));
    let flags = ["--poll-min", "1s", "--settle", "5s", "--delete-rate", "2", "--read-rate", "10"];
    let flags = [&flags[..], &["--leader-elect", "true"]].concat();
    let controller = stage.controller(&flags)?;
    say("the controller runs under its own ServiceAccount\n");

    let manifest = Manifest::new("retire-rack-12", &ids);
    say("$ kubectl apply -f retire-rack-12.yaml   # 150 ids");
    stage.apply(&manifest)?;
    watch(&stage)?;

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

/// Prints a line for each change of the progress, until the object is finished.
fn watch(stage: &Stage) -> Result<(), Error> {
    let (started, mut last) = (Instant::now(), String::new());
    loop {
        let object = stage.get("retire-rack-12");
        let (phase, progress) = (object["status"]["phase"].as_str(), object["status"]["progress"].as_str());
        let line = format!("{:<11} {:>8}", phase.unwrap_or("Pending"), progress.unwrap_or("-"));
        if line != last {
            let accepted = object["status"]["summary"]["accepted"].as_u64().unwrap_or(0);
            say(&format!(
                "{:>5.1} s  {line}   {accepted} accepted by the cloud",
                started.elapsed().as_secs_f32()
            ));
            last = line;
        }
        let (finished, reason, message) = condition(&object, "Finished");
        if finished == "True" {
            say(&format!("\n{reason}: {message}"));
            return if reason == "Succeeded" { Ok(()) } else { Err(reason.into()) };
        }
        if started.elapsed() > LIMIT {
            return Err(format!("not finished within {} s: {message}", LIMIT.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
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

fn left_running(stage: &Stage, manifest: &Manifest) -> Result<(), Error> {
    let folder = stage.control_plane.folder();
    let file: PathBuf = folder.join("retire-rack-12.json");
    std::fs::write(&file, manifest.text())?;
    say("\nAll of it is left running. In another terminal:");
    say(&format!("  export KUBECONFIG={}", stage.control_plane.kubeconfig().display()));
    say(&format!("  alias kubectl={}", stage.control_plane.kubectl_path().display()));
    say(&format!("  kubectl -n {} describe idel retire-rack-12", stage.namespace));
    say(&format!("  kubectl -n {} get events", stage.namespace));
    say(&format!("  kubectl -n {} delete idel retire-rack-12", stage.namespace));
    say(&format!(
        "  kubectl -n {} apply -f {}    # again: zero delete calls",
        stage.namespace,
        file.display()
    ));
    say(&format!("  curl -s {}/log    # what the cloud has heard", stage.cloud.admin_url()));
    say("Press Enter here, or Ctrl-C, to stop everything.");
    std::io::stdout().flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
}
