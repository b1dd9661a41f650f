//! Two thousand runs, each with different faults: every property holds, and every kind of fault occurs.

use simulation::{campaign::campaign, faults::Kind};

#[test]
fn two_thousand_seeds() {
    let figures = campaign(0..2_000, 2);
    for line in figures.report().lines() {
        println!("figure: simulation: {line}");
    }
    assert_eq!(figures.seeds, 2_000);
    assert!(figures.failed.is_empty(), "{}", figures.report());
    assert_eq!(figures.missing(), Vec::<Kind>::new(), "a fault that never comes tests nothing");
}
