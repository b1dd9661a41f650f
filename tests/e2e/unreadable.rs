//! Instances that can't be read, and lists that are too long for a proxy: neither keeps the others waiting.

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, PROJECT, Stage, condition};
use serde_json::Value;

use crate::{
    cloud_front::{Cut, Front},
    support::{assert_succeeded, count, each_once, instances, named, options, stage, stage_with},
};

/// Makes a read fail.
type Failure = fn(Fault) -> Fault;

/// Ways in which every read fails that names one id.
fn failures() -> Vec<(&'static str, Failure)> {
    vec![
        ("broken", |fault| fault.reply_error(500, "iMetal.0099", "internal error")),
        ("refused", |fault| fault.reply_error(400, "iMetal.0001", "instance_id invalid")),
        ("forbidden", |fault| fault.reply_error(403, "iMetal.0004", "no permission for this server")),
        ("page", |fault| fault.reply(200, "text/html", "<html>blocked</html>")),
        ("drop", |fault| fault.drop_connection(Moment::BeforeEffect)),
    ]
}

/// Makes every read fail that names this id.
fn blind(stage: &Stage, id: &str, how: Failure) -> impl FnOnce() + use<> {
    let reads = [Operation::ListInstances, Operation::ShowInstanceStatus];
    let faults = reads.map(|read| stage.cloud.script(how(Fault::on(read).with_id(id))));
    move || faults.into_iter().for_each(|fault| fault.remove())
}

/// Waits until the object names this id, and all its other instances are gone.
fn wait_named(stage: &Stage, name: &str, id: &str, others: usize) {
    stage.wait(name, &format!("{id} is named, and the others are gone"), |object: &Value| {
        let (_, reason, message) = condition(object, "Ready");
        reason == "StateUnknown" && message.contains(id) && count(object, "Terminated") == others
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn x13_an_instance_that_can_not_be_read_is_named_and_all_others_are_deleted() {
    let stage = stage("unreadable").await;
    let _controller = stage.controller(&[]).unwrap();
    for (name, how) in failures() {
        let (ids, beside) = (instances(&stage, 120), instances(&stage, 30));
        let bad = ids[17].clone();
        let heal = blind(&stage, &bad, how);
        stage.apply(&Manifest::new(name, &ids)).unwrap();
        let other = format!("{name}-beside");
        stage.apply(&Manifest::new(&other, &beside)).unwrap();
        assert_succeeded(&stage.wait_finished(&other), 30);
        wait_named(&stage, name, &bad, 119);
        assert!(!named(&stage.calls()).contains_key(&bad), "{name}: it is not sent unread");
        heal();
        assert_succeeded(&stage.wait_finished(name), 120);
        let own: Vec<_> = stage.calls().into_iter().filter(|call| ids.contains(&call.ids[0])).collect();
        each_once(&own, &ids);
        let lists = stage.cloud.calls(Operation::ListInstances);
        let spoilt = lists.iter().filter(|list| list.ids.contains(&bad) && list.fault.is_some()).count();
        assert!(spoilt <= 20, "{name}: {spoilt} lists failed for it: it is read by itself once it is found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x13_an_accepted_instance_that_can_not_be_read_keeps_no_other_from_its_end() {
    let stage = stage_with("unreadlater", Options { end: EndTime::Never, ..options() }).await;
    let _controller = stage.controller(&[]).unwrap();
    for (name, how) in failures() {
        let ids = instances(&stage, 120);
        stage.apply(&Manifest::new(name, &ids)).unwrap();
        stage.wait(name, "all are accepted", |object| count(object, "Accepted") == 120);
        let bad = ids[77].clone();
        let heal = blind(&stage, &bad, how);
        for id in &ids {
            stage.cloud.set_state(PROJECT, id, "terminated");
        }
        wait_named(&stage, name, &bad, 119);
        heal();
        assert_succeeded(&stage.wait_finished(name), 120);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x13_an_instance_whose_read_hangs_keeps_no_other_waiting() {
    let stage = stage("hangs").await;
    let _controller = stage.controller(&["--request-timeout", "1s"]).unwrap();
    let (ids, beside) = (instances(&stage, 120), instances(&stage, 30));
    let bad = ids[17].clone();
    let heal = blind(&stage, &bad, |fault| fault.hold(Moment::BeforeEffect));
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.apply(&Manifest::new("beside", &beside)).unwrap();
    assert_succeeded(&stage.wait_finished("beside"), 30);
    wait_named(&stage, "retire", &bad, 119);
    heal();
    assert_succeeded(&stage.wait_finished("retire"), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn x14_lists_that_are_too_long_for_a_proxy_are_split_and_the_size_that_works_is_remembered() {
    let stage = stage("longlines").await;
    let front = Front::plain(&stage, None).await;
    let endpoint = format!("ap-southeast-3=http://{}", front.address);
    let replies = [400, 414, 431, 502].map(Cut::Reply);
    for (n, cut) in replies.into_iter().chain([Cut::Close, Cut::Hang]).enumerate() {
        front.cut_above(2048, cut);
        // A process of its own for each cut: no process knows the size that another one learned.
        let controller = stage.controller(&["--endpoint", &endpoint, "--request-timeout", "1s"]).unwrap();
        for round in ["first", "second"] {
            let (name, ids) = (format!("{round}-{n}"), instances(&stage, 100));
            stage.apply(&Manifest::new(&name, &ids)).unwrap();
            assert_succeeded(&stage.wait_finished(&name), 100);
            let own: Vec<_> = stage.calls().into_iter().filter(|call| ids.contains(&call.ids[0])).collect();
            each_once(&own, &ids);
            if round == "first" {
                // Reads that began before the size was known.
                assert!((1..=6).contains(&front.cuts()), "{cut:?}: {} were cut off", front.cuts());
                front.cut_above(2048, cut);
            }
        }
        assert!(front.cuts() <= 1, "{cut:?}: {} were cut off once the size was known", front.cuts());
        drop(controller);
    }
}
