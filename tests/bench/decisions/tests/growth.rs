//! Ten times the ids take about ten times as long. The bound is generous, and far from a hundred times.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use bench_decisions::{CASES, Case, measure};

#[test]
fn a_decision_grows_with_ids_and_parts_as_they_do() {
    for few in CASES.into_iter().filter(|case| case.ids == 500) {
        // As many parts for each id, or as many parts.
        let parts = if few.parts == few.ids { 10 * few.parts } else { few.parts };
        let many = Case { ids: 10 * few.ids, parts };
        let (one, ten) = (measure(few, 9).unwrap(), measure(many, 9).unwrap());
        println!("figure: {one}, {ten}");
        assert!(ten.took < one.took * 35, "{one} and {ten}: ten times the ids");
    }
    let [plain, parted] = [0, 5_000].map(|parts| measure(Case { ids: 5_000, parts }, 9).unwrap());
    assert!(parted.took < plain.took * 10, "{plain} and {parted}: the same ids, in parts");
}
