//! Faults beyond the usual list (docs/explanation/faults.md, X1 to X12), where only the real API server or real HTTP shows them.

use clouddc_simulator::{Fault, Operation, Simulator};
use harness::{Manifest, PROJECT, Stage, until};
use serde_json::{Value, json};

use crate::support::{assert_succeeded, binary, count, each_once, instances, options, stage};

#[tokio::test(flavor = "multi_thread")]
async fn x05_nothing_is_sent_where_an_older_definition_prunes_the_record() {
    let stage = Stage::alone("older", binary(), options()).await.unwrap();
    let ids = instances(&stage, 3);
    let name = "instancedeletions.clouddc.dev";
    let mut crd: Value =
        serde_json::from_str(&stage.kubectl(&["get", "crd", name, "-o", "json"]).unwrap()).unwrap();
    let status = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    let row = &mut status["properties"]["instances"]["items"]["properties"];
    assert!(row.as_object_mut().unwrap().remove("batch").is_some());
    let output = stage.kubectl_in(&["replace", "-f", "-"], &crd.to_string()).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    stage.apply(&Manifest::new("probe", &ids).with("suspend", true)).unwrap();
    until("the older schema is in force", || {
        let row = json!({"id": ids[0], "phase": "Submitted", "batch": 1});
        let patch = json!({"status": {"instances": [row]}}).to_string();
        stage
            .kubectl(&["patch", "idel", "probe", "--subresource=status", "--type=merge", "-p", &patch])
            .ok()?;
        stage.get("probe")["status"]["instances"][0]["batch"].is_null().then_some(())
    });
    stage.kubectl(&["delete", "idel", "probe"]).unwrap();
    let controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    until("it says so", || controller.log().contains("stored another record than was sent").then_some(()));
    assert!(stage.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn x08_a_delete_call_is_not_redirected_to_another_host() {
    let stage = stage("redirect").await;
    let other = Simulator::start(options()).await.unwrap();
    let ids = instances(&stage, 3);
    let location = format!("{}/v1/{PROJECT}/instances/batch-delete", other.url());
    for status in [307, 308, 302] {
        let fault = Fault::on(Operation::DeleteInstances).times(1).reply(status, "text/plain", "");
        let _ = stage.cloud.script(fault.header("location", &location));
    }
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait_reason("retire", "EndpointMisconfigured");
    assert_succeeded(&stage.wait_finished("retire"), 3);
    assert!(other.log().is_empty(), "nothing reached the other host, no token either");
}

#[tokio::test(flavor = "multi_thread")]
async fn x09_a_proxy_that_repeats_the_call_and_passes_on_the_second_reply() {
    let stage = stage("repeated").await;
    let ids = instances(&stage, 60);
    // The first delivery deletes; the second one, whose reply is passed on, finds them shutting down.
    let conflict = format!("instance state is not ready: [{}]", ids[..50].join(", "));
    let repeat = Fault::on(Operation::DeleteInstances).with_id(&ids[0]).times(1);
    let _ = stage.cloud.script(repeat.reply_error(400, "iMetal.0201", &conflict).apply_effect());
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    assert_eq!(stage.calls().len(), 2);
    each_once(&stage.calls(), &ids);
    assert_eq!(count(&object, "Terminated"), 60);
}
