//! A plain script: batches of 50 one after the other, then the status of each id in turn every 10 s until all are terminated.
//! It runs in a process of its own: its memory and processor time can be compared.

use std::{path::Path, process::Command, time::Duration};

use control_plane::Supervised;
use harness::{PROJECT, TOKEN};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{BenchError, process::Usage, scenario::BATCH};

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(10);
/// Pause after a 429.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// How long starting and ending may take beyond the work.
const GRACE: Duration = Duration::from_mins(1);

/// What it is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// Where the cloud is.
    pub url: String,
    /// Ids of each object.
    pub objects: Vec<Vec<String>>,
    /// It gives up after so many seconds.
    pub seconds: u64,
    /// Whether giving up is no failure.
    pub cut_off: bool,
}

/// Has another process carry the task out, of the program that runs now. Its files are named after `name`.
pub fn run(task: &Task, folder: &Path, name: &str) -> Result<Usage, BenchError> {
    let file = folder.join(format!("{name}.task.json"));
    let text = serde_json::to_vec(task).map_err(BenchError::json("the baseline's task"))?;
    std::fs::write(&file, text).map_err(BenchError::system("writing the baseline's task"))?;
    let program = std::env::current_exe().map_err(BenchError::system("finding this program"))?;
    let mut command = Command::new(program);
    command.arg("baseline").arg(&file);
    let mut process = Supervised::spawn(command, &folder.join(format!("{name}.log")))?;
    let status = process.wait_exit(Duration::from_secs(task.seconds) + GRACE)?;
    let log = process.log();
    if !status.success() {
        return Err(BenchError::Baseline { status, log });
    }
    serde_json::from_str(&log).map_err(BenchError::json("what the baseline has used"))
}

/// Carries out the task in this file, and prints what that took.
pub async fn main(file: &Path) -> Result<(), BenchError> {
    let text = std::fs::read(file).map_err(BenchError::system("reading the baseline's task"))?;
    let task: Task = serde_json::from_slice(&text).map_err(BenchError::json("the baseline's task"))?;
    drop(text);
    let limit = Duration::from_secs(task.seconds);
    match tokio::time::timeout(limit, work(&task)).await {
        Ok(done) => done?,
        Err(_) if task.cut_off => {}
        Err(_) => {
            let what = "the baseline has seen every end".to_owned();
            return Err(BenchError::TooSlow { what, waited: limit });
        }
    }
    let used = serde_json::to_string(&Usage::of("self")?).map_err(BenchError::json("what was used"))?;
    println!("{used}");
    Ok(())
}

async fn work(task: &Task) -> Result<(), BenchError> {
    tls();
    let http = Client::builder().no_proxy().build()?;
    let instances = format!("{}/v1/{PROJECT}/instances", task.url);
    for batch in task.objects.iter().flat_map(|ids| ids.chunks(BATCH)) {
        let body = json!({"instance_id_set": batch}).to_string();
        let url = format!("{instances}/batch-delete");
        let (status, text) = ask(|| http.post(&url).body(body.clone())).await?;
        if status != StatusCode::ACCEPTED {
            return Err(BenchError::Reply { status: status.as_u16(), body: text });
        }
    }
    let mut open: Vec<&str> = task.objects.iter().flatten().map(String::as_str).collect();
    loop {
        let mut left = Vec::new();
        for id in open {
            let url = format!("{instances}/{id}/status");
            let (status, text) = ask(|| http.get(&url)).await?;
            match status {
                StatusCode::OK if state(&text)? == "terminated" => {}
                StatusCode::OK => left.push(id),
                StatusCode::NOT_FOUND => {}
                other => return Err(BenchError::Reply { status: other.as_u16(), body: text }),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        open = left;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Without a provider of TLS there is no client, not even for http.
pub(crate) fn tls() {
    // An error means that it is there.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Sends until the answer is another than 429.
async fn ask(request: impl Fn() -> RequestBuilder) -> Result<(StatusCode, String), BenchError> {
    loop {
        let sent = request().header("X-Auth-Token", TOKEN).header("Content-Type", "application/json").send();
        let reply = sent.await?;
        let status = reply.status();
        let text = reply.text().await?;
        if status != StatusCode::TOO_MANY_REQUESTS {
            return Ok((status, text));
        }
        tokio::time::sleep(AFTER_REFUSAL).await;
    }
}

fn state(body: &str) -> Result<String, BenchError> {
    let body: Value = serde_json::from_str(body).map_err(BenchError::json("a status"))?;
    Ok(body["state"].as_str().unwrap_or_default().to_owned())
}
