//! The schedule keeps its bounds.

use bench_schedule::{fleets::REQUIRED, summary::measure};

#[test]
fn reads_are_few_and_ends_are_seen_soon() {
    let summaries = REQUIRED.map(|measured| measure(&measured, 0..5));
    for summary in &summaries {
        println!("figure: schedule {summary}");
    }
    let missed: Vec<_> = summaries.iter().filter(|summary| !summary.holds()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
