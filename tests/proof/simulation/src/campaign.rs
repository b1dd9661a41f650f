//! Many seeds, on threads, with figures.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    faults::Kind,
    judge::Violation,
    replay,
    run::{Outcome, run_seed},
};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Figures {
    /// Seeds run.
    pub seeds: u64,
    /// Delete calls that left.
    pub delete_calls: u64,
    /// Calls to the cloud.
    pub calls: u64,
    /// Versions of objects.
    pub versions: u64,
    /// Effects of processes: messages that they sent.
    pub effects: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Virtual time.
    pub virtual_time: Duration,
    /// Real time.
    pub real_time: Duration,
    /// How often each kind of fault came.
    pub faults: Vec<u64>,
    /// Seeds that failed, lowest first.
    pub failed: Vec<(u64, Vec<Violation>)>,
}

impl Figures {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.delete_calls += outcome.delete_calls;
        self.calls += outcome.calls;
        self.versions += outcome.versions;
        self.effects += outcome.effects;
        self.crashes += outcome.crashes;
        self.virtual_time += outcome.virtual_time;
        self.faults.resize(Kind::ALL.len(), 0);
        for (sum, n) in self.faults.iter_mut().zip(&outcome.faults) {
            *sum += n;
        }
        if !outcome.violations.is_empty() {
            self.failed.push((outcome.seed, outcome.violations));
        }
    }

    /// Kinds of faults that never came.
    #[must_use]
    pub fn missing(&self) -> Vec<Kind> {
        let count = |kind: &Kind| self.faults.get(*kind as usize).copied().unwrap_or(0);
        Kind::ALL.iter().copied().filter(|kind| count(kind) == 0).collect()
    }

    /// For people.
    #[must_use]
    pub fn report(&self) -> String {
        let seconds = self.real_time.as_secs_f64();
        let mut text = format!(
            "{} seeds in {seconds:.1} s ({:.0} a second), {:.1} days of virtual time: {} messages of processes, {} calls to \
             the cloud, {} of them deletes, {} versions of objects, {} crashes\nfaults:",
            self.seeds,
            f64::from(u32::try_from(self.seeds).unwrap_or(u32::MAX)) / seconds.max(0.001),
            self.virtual_time.as_secs_f64() / 86_400.0,
            self.effects,
            self.calls,
            self.delete_calls,
            self.versions,
            self.crashes,
        );
        for (kind, n) in Kind::ALL.iter().zip(&self.faults) {
            text += &format!(" {kind:?} {n}");
        }
        text += &format!("\nfailed: {} seeds", self.failed.len());
        for (seed, violations) in self.failed.iter().take(10) {
            text += &format!("\nseed {seed}: {}", replay(*seed));
            for violation in violations.iter().take(3) {
                text += &format!("\n  {}: {}", violation.property, violation.what);
            }
        }
        text
    }
}

/// Runs seeds on so many threads.
#[must_use]
pub fn campaign(seeds: std::ops::Range<u64>, threads: usize) -> Figures {
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let figures = Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    // A panic is a finding like any other.
                    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run_seed(seed, false)));
                    let mut figures = figures.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Ok(outcome) = outcome {
                        figures.add(outcome);
                    } else {
                        let what = "the run panicked".to_owned();
                        figures.failed.push((seed, vec![Violation { property: "S10", what }]));
                    }
                }
            });
        }
    });
    let mut figures = figures.into_inner().unwrap_or_else(PoisonError::into_inner);
    figures.failed.sort_by_key(|(seed, _)| *seed);
    figures.real_time = started.elapsed();
    figures
}
