//! Lists as large as the vendor allows, and lists of several pages.

use clouddc_simulator::{Entry, Fault, Operation, Options};
use harness::{Manifest, Stage};

use crate::support::{assert_succeeded, each_once, instances, options, stage_with};

fn before_the_first_call(stage: &Stage, operation: Operation) -> Vec<Entry> {
    let first_call = stage.calls()[0].received_ms;
    let before = stage.cloud.calls(operation).into_iter();
    before.filter(|entry| entry.finished_ms.is_some_and(|finished| finished <= first_call)).collect()
}

fn ids_of(entries: Vec<Entry>) -> Vec<Vec<String>> {
    entries.into_iter().map(|entry| entry.ids).collect()
}

/// User data of each of 100 rows, in bytes of text. The vendor documents "base64, at most 32 K".
async fn with_user_data(name: &str, bytes: usize) -> (Stage, Vec<String>) {
    let stage = stage_with(name, Options { user_data_bytes: bytes, ..options() }).await;
    let ids = instances(&stage, 100);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 100);
    each_once(&stage.calls(), &ids);
    assert!(stage.cloud.calls(Operation::ShowInstanceStatus).is_empty(), "a list tells it all");
    (stage, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_list_of_a_hundred_rows_with_32_kib_of_user_data_each_is_read_whole() {
    let (stage, ids) = with_user_data("userdata", 32 << 10).await;
    let looks = ids_of(before_the_first_call(&stage, Operation::ListInstances));
    assert_eq!(looks, [ids], "above 3 MiB and below the cap: no half is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_list_above_its_cap_is_read_by_its_halves() {
    // 32 KiB before base64: 4.2 MiB for 100 rows.
    let (stage, ids) = with_user_data("encoded", 43_692).await;
    let looks = ids_of(before_the_first_call(&stage, Operation::ListInstances));
    assert_eq!(looks, [&ids[..], &ids[..50], &ids[50..]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_a_row_that_falls_between_two_pages_is_read_by_itself() {
    let stage = stage_with("between", Options { page_rows: Some(40), ..options() }).await;
    let ids = instances(&stage, 100);
    stage.cloud.script(Fault::on(Operation::ListInstances).times(1).lose_rows(1));
    // The next page has five such rows.
    stage.cloud.script(Fault::on(Operation::ListInstances).times(1).repeat_rows(5));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 100);
    each_once(&stage.calls(), &ids);
    let shown = ids_of(before_the_first_call(&stage, Operation::ShowInstanceStatus));
    assert_eq!(shown, [[ids[40].clone()]], "the one between two pages, and before it is sent");
    assert_eq!(stage.cloud.calls(Operation::ShowInstanceStatus).len(), 1);
}
