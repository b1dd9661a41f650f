//! What an object costs at the API server.

use std::time::Duration;

use clouddc_simulator::{EndTime, Options};
use harness::Manifest;

use crate::{
    gateway::{Asked, Gateway, gets, intents, status_writes},
    support::{assert_succeeded, each_once, instances, options, stage_with},
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
    let stage = stage_with("cost", Options { end: EndTime::Fixed(END), ..options() }).await;
    let gateway = Gateway::start(&stage).await;
    let _controller = stage.controller_by_default_through(&gateway.kubeconfig, &[]).unwrap();
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
}
