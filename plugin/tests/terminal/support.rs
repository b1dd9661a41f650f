//! Helpers of several modules.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use clouddc_simulator::{EndTime, Options};
use control_plane::{Kubectl, Output};
use harness::{Manifest, Stage};
use serde_json::{Value, json};

/// The plugin.
pub fn plugin() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kubectl-idel"))
}

/// The controller that was built with the same profile.
fn controller() -> PathBuf {
    let controller = plugin().with_file_name("instance-deletion-controller");
    assert!(controller.exists(), "build it: cargo build --workspace --bin instance-deletion-controller");
    controller
}

/// A stage whose instances end half a second after their deletion.
pub async fn stage(name: &str) -> Stage {
    let end = EndTime::Fixed(std::time::Duration::from_millis(500));
    Stage::new(name, &controller(), Options { end, ..Options::default() }).await.unwrap()
}

/// A stage on a control plane of its own.
pub async fn stage_alone(name: &str, options: Options) -> Stage {
    Stage::alone(name, &controller(), options).await.unwrap()
}

/// What a call of the plugin answered.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let code = output.status.code().unwrap_or(-1);
        Self { code, out: output.stdout.clone(), err: output.stderr.clone() }
    }

    /// Standard output, if it ended well.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Exit code and standard error.
    pub fn failure(self) -> (i32, String) {
        (self.code, self.err)
    }
}

/// A call of the plugin with these arguments and nothing else.
pub fn call(stage: &Stage, arguments: &[&str]) -> Kubectl {
    let kubeconfig = stage.control_plane.kubeconfig();
    let mut command = Command::new(plugin());
    for variable in ["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_PROJECT_ID", "NO_COLOR"] {
        command.env_remove(variable);
    }
    Kubectl::of(command, kubeconfig, stage.control_plane.folder(), arguments)
}

/// Runs the plugin in the stage's namespace.
pub fn idel(stage: &Stage, arguments: &[&str]) -> Said {
    let all = [arguments, &["-n", &stage.namespace]].concat();
    Said::of(&call(stage, &all).run().unwrap())
}

/// Runs the plugin with exactly these arguments.
pub fn idel_anywhere(stage: &Stage, arguments: &[&str]) -> Said {
    Said::of(&call(stage, arguments).run().unwrap())
}

/// Runs the plugin with another kubeconfig.
pub fn idel_with(stage: &Stage, kubeconfig: &str, arguments: &[&str]) -> Said {
    let all = [arguments, &["-n", &stage.namespace, "--kubeconfig", kubeconfig]].concat();
    Said::of(&call(stage, &all).run().unwrap())
}

/// The id of the n-th instance.
pub fn id(n: usize) -> String {
    format!("0198170e-4ca7-7ee4-89a7-{n:012x}")
}

/// The first ids.
pub fn ids(n: usize) -> Vec<String> {
    (0..n).map(id).collect()
}

/// A moment of statuses that tests write; other times are those of the run.
pub const THEN: &str = "2020-01-02T03:04:05Z";

/// Writes parts of an object's status. No controller may run for its namespace.
pub fn set_status(stage: &Stage, name: &str, status: &Value) {
    let patch = json!({"status": status}).to_string();
    stage.kubectl(&["patch", "idel", name, "--subresource=status", "--type=merge", "-p", &patch]).unwrap();
}

/// A status of the present generation with this phase and this condition `Ready`.
pub fn status(generation: i64, phase: &str, reason: &str, message: &str) -> Value {
    let ready = if phase == "Succeeded" { "True" } else { "False" };
    json!({
        "observedGeneration": generation,
        "phase": phase,
        "conditions": [{
            "type": "Ready", "status": ready, "reason": reason, "message": message,
            "lastTransitionTime": THEN, "observedGeneration": generation,
        }],
    })
}

/// Fills in what a status has beside.
pub fn with(mut status: Value, fields: Value) -> Value {
    let (Some(all), Value::Object(fields)) = (status.as_object_mut(), fields) else { return status };
    all.extend(fields);
    status
}

/// The counts of a status.
pub fn summary(total: u32, accepted: u32, terminated: u32, failed: u32) -> Value {
    json!({
        "total": total, "pending": total - accepted - terminated - failed, "submitted": 0, "accepted": accepted,
        "terminated": terminated, "notFound": 0, "failed": failed,
    })
}

/// An object with `n` ids and `dryRun: true`.
pub fn planned(stage: &Stage, name: &str, n: usize) {
    stage.apply(&Manifest::new(name, &ids(n)).with("dryRun", true)).unwrap();
}

/// A text without what differs from run to run: the namespace, uids, and times but [`THEN`].
pub fn same(stage: &Stage, text: &str) -> String {
    let text = text.replace(&stage.namespace, "NS");
    let end = |c: char| " \",;)\n".contains(c);
    let words = text.split_inclusive(end).map(|word| {
        let inner = word.trim_end_matches(end).trim_end_matches('.');
        let time =
            inner.len() >= 20 && inner.ends_with('Z') && inner.starts_with("20") && inner.contains('T');
        let uid = inner.len() == 36 && inner.matches('-').count() == 4 && !inner.starts_with("0198170e-");
        match (time && inner != THEN, uid) {
            (true, _) => word.replace(inner, "TIME"),
            (_, true) => word.replace(inner, "UID"),
            _ => word.to_owned(),
        }
    });
    words.collect()
}
