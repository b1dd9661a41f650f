//! `check`: what it finds in the configuration and in the cluster, and that it changes nothing.

use std::{path::Path, process::Command};

use harness::{Manifest, Stage};

use crate::{
    configuration::called,
    support::{assert_succeeded, binary, instances, stage},
};

/// Exit code and stdout of `check`.
fn checked(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let output = called(&[&["check"], arguments].concat(), environment);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Whether a line has these words, whatever stands between them.
fn tells(told: &str, words: &[&str]) -> bool {
    told.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn without_a_cluster_the_configuration_is_checked() {
    let arguments = [
        "--offline",
        "--namespace=fleet",
        "--selector=team=fleet",
        "--endpoint=ap-southeast-3=https://clouddc.example",
        "--allowed-region=ap-southeast-3,cn-east-3",
    ];
    let environment = [
        ("INSTANCE_DELETION_POLL_MIN", "1m30s"),
        ("INSTANCE_DELETION_LEASE_NAMESPACE", "leases"),
        ("HTTPS_PROXY", "http://somebody:proxy-password@proxy.example:3128"),
        ("NO_PROXY", "clouddc.example"),
    ];
    let (code, told) = checked(&arguments, &environment);
    assert_eq!(code, 0, "{told}");
    for words in [
        &["--poll-min", "1m30s", "(INSTANCE_DELETION_POLL_MIN)"][..],
        &["--poll-max", "2m", "(default)"],
        &["--namespace", "fleet", "(flag)"],
        &["namespaces: fleet"],
        &["labels team=fleet"],
        &["region ap-southeast-3", "CloudDC at https://clouddc.example, without a proxy"],
        &["region cn-east-3", "IAM at https://iam.cn-east-3.myhuaweicloud.com", "proxy.example:3128"],
        &["other regions: never called"],
        &["Lease: leases/instance-deletion-controller-"],
        &["not asked (--offline)"],
        &["No problem found."],
    ] {
        assert!(tells(&told, words), "{words:?} in {told}");
    }
    assert!(!told.contains("proxy-password"), "{told}");
    // What is in the way is told, each with all the rest.
    let (code, told) = checked(&["--offline", "--ca-file=/nonexistent/roots.pem"], &[]);
    assert_eq!(code, 1, "{told}");
    assert!(tells(&told, &["- /nonexistent/roots.pem can't be used as --ca-file"]), "{told}");
    let (code, told) = checked(&["--offline"], &[("HTTPS_PROXY", "socks5://u:proxy-password@proxy:1080")]);
    assert!(code == 1 && tells(&told, &["- HTTPS_PROXY has the scheme socks5"]), "{told}");
    assert!(!told.contains("proxy-password"), "{told}");
    let (code, told) = checked(&[], &[]);
    assert!(code == 1 && tells(&told, &["- no cluster"]) && tells(&told, &["--poll-max", "2m"]), "{told}");
}

#[test]
fn what_is_refused_exits_with_2_and_text() {
    for (arguments, environment) in [
        (&["check", "--poll-min", "5"][..], &[][..]),
        (&["check"], &[("INSTANCE_DELETION_NAMESPACES", "fleet")]),
        (&["check", "--log-level", "inof"], &[]),
    ] {
        let output = called(arguments, environment);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stderr.starts_with(b"error: "), "{output:?}");
    }
}

/// `check` for the stage's namespace, under the user of a kubeconfig.
fn check_as(stage: &Stage, kubeconfig: &Path) -> (i32, String) {
    let mut command = Command::new(binary());
    command.args(["check", "--namespace", &stage.namespace]).env_clear().env("KUBECONFIG", kubeconfig);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_the_objects_and_the_rights_and_changes_nothing() {
    let stage = stage("check").await;
    let controller = stage.controller(&[]).unwrap();
    let done = instances(&stage, 2);
    stage.apply(&Manifest::new("done", &done)).unwrap();
    assert_succeeded(&stage.wait_finished("done"), 2);
    controller.kill();
    for n in 0..11 {
        let ids = stage.cloud.fresh_ids(1);
        stage.apply(&Manifest::new(&format!("open-{n:02}"), &ids)).unwrap();
    }
    let list = || stage.kubectl(&["get", "idel", "-o", "json"]).unwrap();
    let (calls, before) = (stage.cloud.log().len(), list());

    let (code, told) = check_as(&stage, stage.kubeconfig());
    assert_eq!(code, 0, "{told}");
    let namespace = stage.namespace.as_str();
    let first = "not finished: open-00, open-01, open-02, open-03, open-04, open-05, open-06, open-07, open-08, open-09 and 1 more";
    for words in [
        &["server: https://127.0.0.1:"][..],
        &[namespace, "11 Pending, 1 Succeeded"],
        &[namespace, first],
        &["granted: get, list, watch instancedeletions.clouddc.dev in", namespace],
        &["granted: update instancedeletions.clouddc.dev/status in", namespace],
        &["granted: create, patch events.events.k8s.io in", namespace],
        &["granted: get secrets in", namespace],
        &["granted: list deletionguards.clouddc.dev in all namespaces"],
        &["granted: watch deletionguards.clouddc.dev in all namespaces"],
        &["granted: get namespaces in all namespaces"],
        &["default"],
        &["granted: get, create, update leases.coordination.k8s.io in clouddc-system"],
        &["Lease: clouddc-system/instance-deletion-controller-"],
    ] {
        assert!(tells(&told, words), "{words:?} in {told}");
    }
    assert!(!told.contains(harness::TOKEN), "{told}");

    assert_eq!(stage.cloud.log().len(), calls, "it calls no cloud");
    assert_eq!(list(), before, "it writes no object");
    let lease = told.lines().find_map(|line| line.trim().strip_prefix("Lease: clouddc-system/")).unwrap();
    let found = stage.control_plane.kubectl(&["get", "lease", lease, "-n", "clouddc-system"]).run().unwrap();
    assert!(found.stderr.contains("NotFound"), "it makes no Lease: {}", found.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_told_with_what_fails_without_it() {
    let stage = stage("rights").await;
    stage.apply(&Manifest::new("open", &instances(&stage, 1))).unwrap();
    let namespace = stage.namespace.as_str();
    // An account that may list, and nothing else.
    stage.kubectl(&["create", "serviceaccount", "half"]).unwrap();
    let half = format!("--serviceaccount={namespace}:half");
    let role =
        ["create", "role", "half", "--verb=get,list,watch", "--resource=instancedeletions.clouddc.dev"];
    stage.kubectl(&role).unwrap();
    stage.kubectl(&["create", "rolebinding", "half", "--role=half", &half]).unwrap();
    let kubeconfig = stage.control_plane.service_account_kubeconfig(namespace, "half").unwrap();
    let told = harness::until("the rights are in force", || {
        let (code, told) = check_as(&stage, &kubeconfig);
        assert_eq!(code, 1, "{told}");
        tells(&told, &["granted: get, list, watch instancedeletions.clouddc.dev in", namespace])
            .then_some(told)
    });
    let secret = format!("secret {namespace}/clouddc");
    for words in [
        &["- not granted: delete instancedeletions.clouddc.dev in", namespace][..],
        &["- not granted: update instancedeletions.clouddc.dev/status in", "nothing is sent"],
        &["- not granted: get ", &secret, "objects say SecretForbidden"],
        &["- not granted: get, create, update leases"],
        &["- not granted: list deletionguards.clouddc.dev", "objects say GuardUnreadable"],
        &["- not granted: watch deletionguards.clouddc.dev", "go on later"],
        &["- not granted: get namespaces", "where a guard selects namespaces"],
        &["- DeletionGuards can't be listed", "forbidden"],
        &["1 Pending"],
    ] {
        assert!(tells(&told, words), "{words:?} in {told}");
    }
    let by_name = ["create", "role", "one", "--verb=get", "--resource=secrets", "--resource-name=clouddc"];
    stage.kubectl(&by_name).unwrap();
    stage.kubectl(&["create", "rolebinding", "one", "--role=one", &half]).unwrap();
    let granted = format!("granted: get {secret}");
    harness::until("the right is in force", || {
        tells(&check_as(&stage, &kubeconfig).1, &[&format!("  {granted}")]).then_some(())
    });

    // One that the API server does not know.
    let unknown = stage.control_plane.folder().join(format!("{namespace}-unknown.kubeconfig"));
    let admin = std::fs::read_to_string(stage.control_plane.kubeconfig()).unwrap();
    std::fs::write(&unknown, admin.replace("control-plane-admin", "nobody")).unwrap();
    let (code, told) = check_as(&stage, &unknown);
    assert!(
        code == 1 && tells(&told, &["- InstanceDeletions can't be listed: Unauthorized (401)"]),
        "{told}"
    );
    assert!(tells(&told, &["- permissions can't be asked for: Unauthorized (401)"]), "{told}");
}

/// On a control plane of its own, whose definition of guards is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_missing_is_told_with_what_to_do() {
    let stage = Stage::alone("undefined", binary(), crate::support::options()).await.unwrap();
    let hold = [
        "patch",
        "deletionguard",
        "default",
        "--type=merge",
        "-p",
        r#"{"spec":{"hold":{"reason":"freeze"}}}"#,
    ];
    stage.control_plane.kubectl(&hold).ok().unwrap();
    let (code, told) = check_as(&stage, stage.kubeconfig());
    assert!(code == 0 && tells(&told, &["default: holds what it selects (freeze)"]), "{told}");
    stage.control_plane.kubectl(&["delete", "crd", "deletionguards.clouddc.dev"]).ok().unwrap();
    let (code, told) = check_as(&stage, stage.kubeconfig());
    let words = [
        "- the cluster has no CustomResourceDefinition of DeletionGuards",
        "install crds/clouddc.dev_deletionguards.yaml",
    ];
    assert!(code == 1 && tells(&told, &words), "{told}");
    stage.control_plane.kubectl(&["delete", "crd", "instancedeletions.clouddc.dev"]).ok().unwrap();
    let (code, told) = check_as(&stage, stage.kubeconfig());
    let words = ["- the cluster has no CustomResourceDefinition of InstanceDeletions", "install it"];
    assert!(code == 1 && tells(&told, &words), "{told}");
}
