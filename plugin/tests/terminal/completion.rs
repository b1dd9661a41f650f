//! Completion, by the shell's script and by kubectl's own questions.

use std::process::Command;

use harness::Manifest;

use crate::support::{id, idel_anywhere, plugin, stage};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_completes_commands_flags_and_names_of_objects() {
    let stage = stage("completion").await;
    for name in ["retire-a", "retire-b", "other"] {
        stage.apply(&Manifest::new(name, &[id(1)])).unwrap();
    }
    // As kubectl finds both: in a folder of the PATH.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(plugin(), folder.path().join("kubectl-idel")).unwrap();
    let script = harness::project().join("plugin/kubectl_complete-idel");
    std::os::unix::fs::symlink(script, folder.path().join("kubectl_complete-idel")).unwrap();
    let asked = |words: &[&str]| {
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let kubectl = stage.control_plane.kubectl_path();
        let mut command = Command::new(kubectl);
        command.args(["__complete", "idel"]).args(words).env("PATH", path);
        command.env("KUBECONFIG", stage.control_plane.kubeconfig()).env("HOME", folder.path());
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(asked(&["rep"]), ["report", ":4"]);
    let namespace = stage.namespace.as_str();
    assert_eq!(asked(&["-n", namespace, "explain", "retire"]), ["retire-a", "retire-b", ":4"]);
    assert_eq!(asked(&["report", "-o", "c"]), ["csv", ":4"]);
    assert_eq!(asked(&["hold", "--rea"]), ["--reason", ":4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shell_gets_a_script() {
    let stage = stage("completion-shells").await;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = idel_anywhere(&stage, &["completion", shell]).good();
        assert!(script.contains("generate") && script.contains("kubectl-idel"), "{shell}");
    }
}
