//! Changes of an existing object with the real kubectl: which are admitted.

use control_plane::Output;
use harness::{Manifest, Stage};

use crate::support::{instances, stage};

fn server_side(stage: &Stage, manager: &str, manifest: &Manifest, more: &[&str]) -> Output {
    let manager = format!("--field-manager={manager}");
    let apply = ["apply", "--server-side", &manager, "-f", "-"];
    stage.kubectl_in(&[&apply[..], more].concat(), &manifest.text()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_field_manager_adds_no_id() {
    let stage = stage("managers").await;
    let ids = instances(&stage, 2);
    let first = Manifest::new("retire", &ids[..1]).with("suspend", true);
    assert!(server_side(&stage, "first", &first, &[]).status.success());
    let more = Manifest::new("retire", &ids).with("suspend", true);
    let refused = server_side(&stage, "second", &more, &[]);
    assert!(
        refused.stderr.contains("conflict with \"first\"") && refused.stderr.contains(".spec.instanceIDs")
    );
    // With force, the schema refuses the change, also from the first manager.
    for (manager, force) in [("second", &["--force-conflicts"][..]), ("first", &[])] {
        let refused = server_side(&stage, manager, &more, force);
        assert!(refused.stderr.contains("instanceIDs is immutable"), "{manager}: {}", refused.stderr);
    }
    assert_eq!(stage.get("retire")["spec"]["instanceIDs"].as_array().unwrap().len(), 1);
    // The controller's status writes make it no owner of the spec: the first manager applies without a conflict.
    let _controller = stage.controller(&[]).unwrap();
    stage.wait_reason("retire", "Suspended");
    assert!(server_side(&stage, "first", &first.with("suspend", false), &[]).status.success());
    stage.wait_finished("retire");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_edit_suspends_and_says_what_never_changes() {
    let stage = stage("edit").await;
    stage.apply(&Manifest::new("retire", &instances(&stage, 1)).with("suspend", false)).unwrap();
    // The text that the editor was shown last: kubectl shows a refused text again, with the reason at its top.
    let folder = stage.control_plane.folder();
    let shown = folder.join(format!("edited-{}", stage.namespace));
    let folder = folder.display().to_string();
    let edit = |script: &str| {
        let arguments = ["-n", &stage.namespace, "edit", "idel", "retire"];
        let editor = format!("sed -i -e w{} -e {script}", shown.display());
        stage
            .control_plane
            .kubectl(&arguments)
            .env("KUBE_EDITOR", &editor)
            .env("TMPDIR", &folder)
            .run()
            .unwrap()
    };
    let suspended = edit("s/false$/true/");
    assert!(suspended.status.success(), "{}", suspended.stderr);
    assert_eq!(stage.get("retire")["spec"]["suspend"], true);
    let refused = edit("s/ap-southeast-3$/cn-east-3/");
    assert!(!refused.status.success());
    let shown = std::fs::read_to_string(&shown).unwrap();
    assert!(shown.contains("region is immutable; create a new InstanceDeletion"), "{shown}");
}
