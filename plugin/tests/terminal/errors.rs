//! What a person reads when it does not work: one sentence, what to do, and an exit code.

use harness::Manifest;

use crate::support::{idel, idel_anywhere, idel_with, ids, same, stage};

/// Commands that need one object, or a choice of objects.
const OF_ONE: [&[&str]; 8] = [
    &["plan", "absent"],
    &["start", "absent", "--yes"],
    &["watch", "absent"],
    &["explain", "absent"],
    &["hold", "absent", "--reason", "r"],
    &["release", "absent"],
    &["report", "absent"],
    &["retry", "absent"],
];

#[tokio::test(flavor = "multi_thread")]
async fn no_such_object() {
    let stage = stage("error-absent").await;
    let expected =
        "error: there is no InstanceDeletion absent in the namespace NS; `kubectl get idel -A` lists all\n";
    for arguments in OF_ONE {
        let (code, err) = idel(&stage, arguments).failure();
        assert_eq!((code, same(&stage, &err).as_str()), (1, expected), "{arguments:?}");
    }
    let nothing = "error: there is no InstanceDeletion in the namespace NS\n";
    for arguments in [&["watch", "--all"][..], &["report", "--all"]] {
        let (code, err) = idel(&stage, arguments).failure();
        assert_eq!((code, same(&stage, &err).as_str()), (1, nothing), "{arguments:?}");
    }
    let held = idel(&stage, &["hold", "--all", "--reason", "r"]);
    assert_eq!((held.code, held.err.as_str()), (0, "no object is unfinished\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rights() {
    let stage = stage("error-rights").await;
    stage.apply(&Manifest::new("absent", &ids(1))).unwrap();
    stage.kubectl(&["create", "serviceaccount", "guest"]).unwrap();
    let guest = stage.control_plane.service_account_kubeconfig(&stage.namespace, "guest").unwrap();
    for arguments in OF_ONE {
        let (code, err) = idel_with(&stage, guest.to_str().unwrap(), arguments).failure();
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains("cannot ") && err.contains("instancedeletions"), "{arguments:?}: {err}");
        let advice =
            "; ask for the role instance-deletion-viewer to look, or instance-deletion-deleter to delete\n";
        assert!(err.ends_with(advice) && err.lines().count() == 1, "{arguments:?}: {err}");
    }
    // One who may look, and not delete.
    stage
        .kubectl(&[
            "create",
            "rolebinding",
            "guest",
            "--clusterrole=instance-deletion-viewer",
            &format!("--serviceaccount={}:guest", stage.namespace),
        ])
        .unwrap();
    let viewer = || idel_with(&stage, guest.to_str().unwrap(), &["explain", "absent"]);
    harness::until("the role is bound", || (viewer().code == 0).then_some(()));
    assert!(viewer().good().contains("events     you may not read events in this namespace"));
    let held = idel_with(&stage, guest.to_str().unwrap(), &["hold", "absent", "--reason", "r"]);
    assert!(held.code == 1 && held.err.contains("cannot patch resource"), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cluster() {
    let stage = stage("error-cluster").await;
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let (code, err) = idel_with(&stage, absent.to_str().unwrap(), &["explain", "a"]).failure();
    assert_eq!(code, 1);
    assert!(
        err.starts_with("error: no cluster: ")
            && err.ends_with("set KUBECONFIG, or name a file with --kubeconfig\n"),
        "{err}"
    );
    // A port that nobody listens on.
    let deaf = folder.path().join("deaf");
    let kubeconfig = std::fs::read_to_string(stage.control_plane.kubeconfig()).unwrap();
    std::fs::write(&deaf, kubeconfig.replace(&stage.control_plane.url(), "https://127.0.0.1:9")).unwrap();
    for arguments in OF_ONE {
        let (code, err) = idel_with(&stage, deaf.to_str().unwrap(), arguments).failure();
        assert_eq!(code, 1, "{arguments:?}");
        assert!(err.contains("the API server at https://127.0.0.1:9/ does not answer"), "{err}");
        assert!(err.ends_with("; check --context and the network\n"), "{err}");
    }
    let (code, err) = idel(&stage, &["explain", "a", "--context", "absent"]).failure();
    assert!(code == 1 && err.contains("no cluster"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_that_cannot_be_carried_out_is_2() {
    let stage = stage("error-usage").await;
    for arguments in [
        &["report"][..],
        &["report", "a", "--all"],
        &["watch"],
        &["hold", "a"],
        &["hold", "a", "--reason", " "],
        &["report", "a", "-o", "xml"],
        &["generate"],
        &["generate", "--region", "ap-southeast-3", "--project", "p", "--rack", "1"],
        &["generate", "--region", "ap-southeast-3", "--project", harness::PROJECT],
        &["plan", "a", "--timeout", "soon"],
        &["unknown"],
        &[],
    ] {
        let (code, err) = idel_anywhere(&stage, arguments).failure();
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
    let help = idel_anywhere(&stage, &["--help"]).good();
    for line in ["Exit codes:", "  3  the time limit passed first", "Usage: kubectl idel"] {
        assert!(help.contains(line), "{help}");
    }
}
