//! What an object costs at the API server.

use std::time::Duration;

use clouddc_simulator::{EndTime, Options};
use harness::{Manifest, Stage, until};

use crate::{
    gateway::{Asked, Gateway, gets, guard_reads, guard_watches, intents, status_writes},
    support::{assert_succeeded, binary, each_once, instances, options},
};

/// Long enough for a look that shows the instance on its way before the one that shows its end.
const END: Duration = Duration::from_secs(12);
/// The first status waits so long for the first look. On a machine under load the look may take longer: then the status is
/// written before the intent, by a pass of its own.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// The first read; one after the look; one when the call has ended; one when the instance has.
const READS: usize = 4;
/// The intent with the first status; the outcome of the call; the end.
const WRITES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_one_id_costs_at_most_four_reads_and_three_writes() {
    // On a control plane of its own: each change of a guard there has objects read once more. So has their first list.
    let options = Options { end: EndTime::Fixed(END), ..options() };
    let stage = Stage::alone("cost", binary(), options).await.unwrap();
    let gateway = Gateway::start(&stage).await;
    let _controller = stage.controller_by_default_through(&gateway.kubeconfig, &[]).unwrap();
    until("the guards are watched", || (gateway.count(guard_watches) > 0).then_some(()));
    let ids = instances(&stage, 2);
    // The second one shows that nothing is asked about the first after its end.
    let names = ["first", "second"];
    for (name, id) in names.into_iter().zip(&ids) {
        stage.apply(&Manifest::new(name, std::slice::from_ref(id))).unwrap();
        assert_succeeded(&stage.wait_finished(name), 1);
    }
    each_once(&stage.calls(), &ids);
    for name in names {
        let asked = gateway.asked();
        let of = |asked: &&Asked| asked.path.split('/').any(|part| part == name);
        let asked: Vec<_> = asked.iter().filter(of).collect();
        let reads = asked.iter().filter(|asked| gets(asked)).count();
        let writes = asked.iter().filter(|asked| status_writes(asked)).count();
        println!("figure: one object of one id, {name}: {reads} reads and {writes} writes at the API server");
        let intent = asked.iter().find(|asked| intents(asked)).unwrap();
        let look_was_slow = usize::from(intent.at - asked[0].at >= FIRST_LOOK);
        assert!(reads <= READS + look_was_slow, "{reads} reads of {name}: {asked:#?}");
        assert!(writes <= WRITES + look_was_slow, "{writes} writes of {name}: {asked:#?}");
    }
    // What the guards say is read once for a wave, and once more by the first object of a namespace: a guard may hold it. No
    // guard here selects namespaces, so no namespace is read.
    let asked = gateway.asked();
    let guards = asked.iter().filter(|asked| guard_reads(asked)).count();
    let namespaces = asked.iter().filter(|asked| is_namespace(asked)).count();
    println!(
        "figure: two objects of one wave each: {guards} reads of the guards, {namespaces} of namespaces"
    );
    assert_eq!(namespaces, 0, "{asked:#?}");
    assert!((2..=3).contains(&guards), "{guards} reads of the guards");
}

/// Whether the labels of a namespace are asked for.
fn is_namespace(asked: &Asked) -> bool {
    let mut parts = asked.path.trim_matches('/').split('/').skip_while(|part| *part != "namespaces");
    parts.next().is_some() && parts.next().is_some() && parts.next().is_none()
}
