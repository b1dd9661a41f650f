//! A cloud that is down for a while: the controller gives nothing up and does not flood the cloud.

use std::time::Duration;

use clouddc_simulator::{Entry, Fault, Operation, Stage as Moment};
use harness::{Manifest, until};

use crate::support::{assert_succeeded, count, each_once, instances, stage};

/// The most delete calls that were in flight at once, after the first wave of each object ended. Later calls were decided
/// after the controller knew that the cloud is silent. None while there is no such call.
fn at_once_later(calls: &[Entry], objects: &[Vec<String>]) -> Option<usize> {
    let mut edges: Vec<_> = calls.iter().map(|call| (call.received_ms, 1, call)).collect();
    edges.extend(calls.iter().filter_map(|call| Some((call.finished_ms?, -1, call))));
    // An end sorts before a start in the same millisecond.
    edges.sort_unstable_by_key(|(at, change, _)| (*at, *change));
    let mut fresh: Vec<_> = objects.iter().collect();
    let (mut in_flight, mut most) = (0_isize, 0);
    for (_, change, call) in edges {
        in_flight += change;
        if fresh.is_empty() {
            most = most.max(in_flight);
        } else if change < 0 && in_flight == 0 {
            let ended = |object: &Vec<String>| {
                calls
                    .iter()
                    .any(|c| c.finished_ms <= call.finished_ms && c.finished() && object.contains(&c.ids[0]))
            };
            fresh.retain(|object| !ended(object));
        }
    }
    (most > 0).then(|| most.unsigned_abs())
}

async fn outage(name: &str, calls: u64, fault: Fault) {
    let stage = stage(name).await;
    // Slow enough that two calls overlap.
    let fault = stage.cloud.script(fault.delay_before(Duration::from_millis(150)));
    let _controller = stage.controller(&["--retry-max", "500ms", "--settle", "200ms"]).unwrap();
    let names = ["one", "two", "three"];
    let ids: Vec<_> = names.iter().map(|_| instances(&stage, 50)).collect();
    for (name, ids) in names.iter().zip(&ids) {
        stage.apply(&Manifest::new(name, ids).with("backoffLimitPerInstance", 0)).unwrap();
    }
    fault.wait_hit(calls, Duration::from_mins(2)).await.unwrap();
    // On a slow machine two objects may make all of these calls before the third one makes its first.
    until("each object says what it does, and has called before a further call", || {
        let deleting = |name: &&str| stage.get(name)["status"]["phase"] == "Deleting";
        at_once_later(&stage.calls(), &ids).filter(|_| names.iter().all(deleting))
    });
    let during = stage.calls();
    for name in names {
        let object = stage.get(name);
        assert_eq!((count(&object, "Failed"), object["status"]["phase"].as_str()), (0, Some("Deleting")));
    }
    fault.remove();
    for name in names {
        assert_succeeded(&stage.wait_finished(name), 50);
    }
    let accepted: Vec<_> = stage.calls().into_iter().filter(|call| call.applied).collect();
    each_once(&accepted, &ids.concat());
    assert_eq!(at_once_later(&during, &ids), Some(1), "calls at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_an_outage_with_503_fails_no_id_and_is_probed_by_one_call_at_a_time() {
    let fault = Fault::on(Operation::DeleteInstances).reply_error(503, "APIGW.0613", "down");
    outage("outage503", 8, fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_an_outage_of_the_network_fails_no_id_and_is_probed_by_one_call_at_a_time() {
    let fault = Fault::on(Operation::DeleteInstances).drop_connection(Moment::BeforeEffect);
    // A dropped connection does not slow the rate of calls: objects often want to call at the same moment.
    outage("outagedrop", 30, fault).await;
}
