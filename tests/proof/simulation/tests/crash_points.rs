//! A process dies after each of its messages in turn: the end is the same, and every property holds.

use std::sync::Mutex;

use simulation::crash_points::{all_points, scenarios};

#[test]
fn r1_a_process_may_die_after_any_of_its_messages() {
    let scenarios = scenarios();
    let (next, lines) = (Mutex::new(scenarios.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(scenario) = next.lock().unwrap().next() else { return };
                    let points = all_points(scenario);
                    lines.lock().unwrap().push((scenario.name, points));
                }
            });
        }
    });
    let lines = lines.into_inner().unwrap();
    let mut bad = String::new();
    for (name, points) in &lines {
        println!("{name}: {} crash points", points.points);
        for (point, violations) in points.failed.iter().take(3) {
            bad += &format!("\n{name}, dead after message {point}: {violations:?}");
        }
    }
    let points: u64 = lines.iter().map(|(_, points)| points.points).sum();
    println!("figure: crash points: {points} points in {} scenarios", lines.len());
    assert!(bad.is_empty(), "{bad}");
    assert!(points > 500, "{points}");
}
