//! The policies of `deploy/policy` on the real API server: what they refuse, what they admit, and that nothing else refuses it.

use std::hash::{DefaultHasher, Hash, Hasher};

use control_plane::ControlPlane;
use harness::{Manifest, Stage, until};
use serde_json::{Value, json};

use crate::support::{binary, options, stage};

const GUARD: &str = "instance-deletion-guard";

/// Creates an object with `--dry-run=server`, and returns what kubectl says.
fn tried(stage: &Stage, manifest: &Manifest) -> Result<String, String> {
    let output = stage.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &manifest.text()).unwrap();
    if output.status.success() { Ok(output.stderr) } else { Err(output.stderr) }
}

/// Ids that no other test names: all tests share the ConfigMap that protects them.
fn own_ids(stage: &Stage, n: usize) -> Vec<String> {
    let digits = |salt: usize, n: usize| {
        let mut hasher = DefaultHasher::new();
        (&stage.namespace, salt, n).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    let id = |n| {
        let hex = digits(0, n) + &digits(1, n);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    };
    (0..n).map(id).collect()
}

fn annotated(manifest: &Manifest, annotation: &str, value: &str) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.value["metadata"]["annotations"] = json!({annotation: value});
    manifest
}

fn parameters(control_plane: &ControlPlane, data: &Value) {
    let arguments = [
        "patch",
        "configmap",
        GUARD,
        "--namespace",
        "clouddc-system",
        "--type=merge",
        "--patch-file=/dev/stdin",
    ];
    control_plane.kubectl(&arguments).stdin(json!({"data": data}).to_string()).ok().unwrap();
}

/// Waits for the API server, which learns of changed parameters and policies with a delay.
fn refused(stage: &Stage, manifest: &Manifest, why: &str) {
    until(why, || tried(stage, manifest).err().filter(|said| said.contains(why)));
}

fn admitted(stage: &Stage, manifest: &Manifest) {
    until("admitted", || tried(stage, manifest).inspect_err(|said| println!("{said}")).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_instance_is_refused_until_the_object_names_it() {
    let stage = stage("protected").await;
    let ids = own_ids(&stage, 3);
    parameters(stage.control_plane, &json!({&ids[1]: "database", &ids[2]: "gateway"}));
    let manifest = Manifest::new("retire", &ids);
    refused(&stage, &manifest, "2 of the instances are protected");
    let said = tried(&stage, &manifest).unwrap_err();
    assert!(said.contains(&format!("{} (database)", ids[1])), "{said}");
    assert!(tried(&stage, &Manifest::new("retire", &ids[..1])).is_ok());
    let allows = |value: &str| annotated(&manifest, "clouddc.dev/allow-protected", value);
    for value in ["true", &ids[1], "*", &format!("{} {}", ids[1], ids[2])] {
        assert!(tried(&stage, &allows(value)).is_err(), "{value}");
    }
    let warnings = tried(&stage, &allows(&ids[1..].join(","))).unwrap();
    assert!(
        warnings.contains("Warning") && warnings.contains("protected instances are to be deleted"),
        "{warnings}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_namespace_is_refused_until_the_object_names_it() {
    let stage = stage("quiet").await;
    let manifest = Manifest::new("retire", &own_ids(&stage, 1));
    assert!(tried(&stage, &manifest).is_ok());
    parameters(stage.control_plane, &json!({format!("namespace.{}", stage.namespace): "production"}));
    refused(&stage, &manifest, "nothing is to be deleted from namespace");
    let allows = |value: &str| annotated(&manifest, "clouddc.dev/allow-namespace", value);
    for value in ["true", "default"] {
        assert!(tried(&stage, &allows(value)).is_err(), "{value}");
    }
    assert!(tried(&stage, &allows(&stage.namespace)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_starts_is_judged_again_and_what_stops_is_not() {
    let stage = stage("starts").await;
    let ids = own_ids(&stage, 2);
    let dry = Manifest::new("planned", &ids[..1]).with("dryRun", true);
    let suspended = Manifest::new("suspended", &ids[..1]).with("suspend", true);
    let running = Manifest::new("running", &ids[..1]);
    for manifest in [&dry, &suspended, &running] {
        stage.apply(manifest).unwrap();
    }
    // Protected only after all of them were there.
    parameters(stage.control_plane, &json!({&ids[0]: "database"}));
    refused(&stage, &Manifest::new("new", &ids), "are protected");
    for (name, spec) in [("planned", json!({"dryRun": false})), ("suspended", json!({"suspend": false}))] {
        let error = stage.patch(name, &spec).unwrap_err().to_string();
        assert!(error.contains("are protected"), "{name}: {error}");
    }
    stage.patch("running", &json!({"suspend": true})).unwrap();
    stage.patch("suspended", &json!({"notAfter": "2026-01-01T00:00:00Z"})).unwrap();
    stage.kubectl(&["annotate", "idel", "--all", "clouddc.dev/hold=x"]).unwrap();
    stage.kubectl(&["annotate", "idel", "--all", "clouddc.dev/hold-"]).unwrap();
    stage.kubectl(&["delete", "idel", "--all"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_applies_is_warned_of_what_is_easily_overlooked() {
    let stage = stage("warned").await;
    let ids = own_ids(&stage, 1);
    let absent = Manifest::new("retire", &ids);
    let said = tried(&stage, &absent).unwrap();
    assert!(said.contains("Warning") && said.contains("dryRun is absent"), "{said}");
    for value in [true, false] {
        assert_eq!(tried(&stage, &absent.clone().with("dryRun", value)).unwrap(), "", "{value}");
    }
    let mut kept = absent.with("dryRun", false).with("ttlSecondsAfterFinished", 60);
    assert_eq!(tried(&stage, &kept).unwrap(), "", "by hand it is as one likes");
    kept.value["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "fleet"});
    let said = tried(&stage, &kept).unwrap();
    assert!(said.contains("the next sync from git creates again"), "{said}");
}

/// On a control plane of its own, because all objects share the cap.
#[tokio::test(flavor = "multi_thread")]
async fn by_default_five_hundred_instances_are_the_most_and_the_policy_holds_at_five_thousand() {
    let stage = Stage::alone("cap", binary(), options()).await.unwrap();
    let control_plane = stage.control_plane;
    let mut all = own_ids(&stage, 10_000);
    let others = all.split_off(5_000);
    let of = |n: usize| Manifest::new("retire", &all[..n]).with("dryRun", false);
    control_plane.kubectl(&["apply", "-k", &harness::base()]).ok().unwrap();
    refused(&stage, &of(501), "one object may delete at most 500");
    let said = tried(&stage, &of(500)).unwrap();
    assert!(said.contains("near the most that one object may delete (500)"), "{said}");
    assert_eq!(tried(&stage, &of(400)).unwrap(), "");
    // The most ids that the schema admits, beside as many other protected ids as a ConfigMap can hold.
    let data: serde_json::Map<_, _> = others.iter().map(|id| (id.clone(), json!("kept"))).collect();
    parameters(control_plane, &Value::Object(data));
    parameters(control_plane, &json!({"maxInstanceIDs": "5000"}));
    admitted(&stage, &of(5_000));
    parameters(control_plane, &json!({&all[4_999]: "the last one"}));
    refused(&stage, &of(5_000), &format!("{} (the last one)", all[4_999]));
    let allowed = annotated(&of(5_000), "clouddc.dev/allow-protected", &all[4_999]);
    assert!(tried(&stage, &allowed).is_ok());
    // If the cap is not a number, or the ConfigMap is missing, everything is refused.
    parameters(control_plane, &json!({"maxInstanceIDs": "many"}));
    refused(&stage, &of(1), GUARD);
    control_plane.kubectl(&["delete", "configmap", GUARD, "--namespace", "clouddc-system"]).ok().unwrap();
    refused(&stage, &of(1), GUARD);
    // Without this policy everything is admitted: nothing else refused it.
    control_plane.kubectl(&["delete", "validatingadmissionpolicybinding", GUARD]).ok().unwrap();
    admitted(&stage, &of(5_000));
}
