//! The baseline on the simulator, and the count of writes on a real etcd.

use std::time::Duration;

use bench::{baseline, baseline::Task, stored::Writes};
use clouddc_simulator::{EndTime, Fault, Operation, Options, Projects, Simulator};
use harness::{Manifest, PROJECT, Stage, TOKEN};
use serde_json::json;

#[tokio::test]
async fn a_script_sends_batches_of_fifty_and_then_asks_for_each_id_in_turn() {
    let options = Options { end: EndTime::Fixed(Duration::ZERO), ..Options::default() };
    let cloud = Simulator::start(options).await.unwrap();
    cloud.add_token("user", TOKEN, Projects::All);
    let refusal = Fault::on(Operation::DeleteInstances).skip(2).times(1);
    cloud.script(refusal.reply_error(429, "iMetal.0005", "Too many requests"));
    let objects = vec![cloud.ids(PROJECT, 60), cloud.ids(PROJECT, 1)];
    let task = Task { url: cloud.url().to_owned(), objects: objects.clone(), seconds: 60, cut_off: false };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(&task).unwrap()).unwrap();
    baseline::main(file.path()).await.unwrap();
    let deletes = cloud.delete_calls();
    let calls: Vec<_> = deletes.iter().map(|call| (call.ids.len(), call.status)).collect();
    assert_eq!(calls, [(50, Some(202)), (10, Some(202)), (1, Some(429)), (1, Some(202))]);
    let asked: Vec<String> =
        cloud.calls(Operation::ShowInstanceStatus).into_iter().flat_map(|read| read.ids).collect();
    assert_eq!(asked, objects.concat(), "each once, since all had ended");
}

#[tokio::test]
async fn writes_are_counted_from_the_one_after_the_object_was_made() {
    let stage = Stage::new("writes", "no controller".as_ref(), Options::default()).await.unwrap();
    let ids = stage.cloud.ids(PROJECT, 1);
    stage.apply(&Manifest::new("a", &ids)).unwrap();
    stage.apply(&Manifest::new("b", &ids)).unwrap();
    assert_eq!(Writes::of(&stage).await.unwrap(), Writes { objects: 0, events: 0 });
    stage.patch("a", &json!({"suspend": true})).unwrap();
    stage.patch("a", &json!({"suspend": false})).unwrap();
    stage.patch("b", &json!({"suspend": true})).unwrap();
    assert_eq!(Writes::of(&stage).await.unwrap(), Writes { objects: 3, events: 0 });
}
