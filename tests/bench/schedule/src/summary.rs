//! Figures of several runs, and whether they keep their bounds.

use std::fmt;

use engine_purity::engine::Settings;

use crate::{
    fleets::{Measured, Musts},
    run::{Figures, run},
};

/// Figures over all seeds.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Objects and instances of each.
    size: (usize, usize),
    ends: &'static str,
    /// Mean of reads over the least.
    pub reads: f64,
    /// Mean over seeds of the mean over objects.
    pub mean_ratio: f64,
    /// The worst of all objects of all seeds.
    pub worst_ratio: f64,
    /// Mean over seeds, in seconds.
    pub late: f64,
    musts: Option<Musts>,
}

/// Runs it with the default flags and these seeds.
#[must_use]
pub fn measure(measured: &Measured, seeds: std::ops::Range<u64>) -> Summary {
    let settings = Settings::default();
    let runs: Vec<Figures> = seeds.map(|seed| run(&measured.fleet, &settings, seed)).collect();
    let n = f64::from(u32::try_from(runs.len()).unwrap_or(u32::MAX));
    let mean = |figure: fn(&Figures) -> f64| runs.iter().map(figure).sum::<f64>() / n;
    Summary {
        size: (measured.fleet.objects, measured.fleet.instances),
        ends: measured.ends,
        reads: mean(|run| run.reads / run.least),
        mean_ratio: mean(Figures::mean_ratio),
        worst_ratio: runs.iter().map(Figures::worst_ratio).fold(0.0, f64::max),
        late: mean(|run| run.late),
        musts: measured.musts,
    }
}

impl Summary {
    /// Whether all bounds are kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.musts.is_none_or(|musts| {
            self.reads <= musts.reads
                && self.mean_ratio <= musts.mean_ratio
                && self.worst_ratio <= musts.worst_ratio
                && self.late <= musts.late
        })
    }
}

/// The heads of the columns.
pub const HEAD: &str = "\
| objects × instances | deletions end | reads, × least | end seen, mean | worst | late, s |
|---|---|---|---|---|---|";

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (objects, instances) = self.size;
        let musts = self.musts;
        let bound = |bound: fn(&Musts) -> f64, digits: usize| {
            let bound = musts.as_ref().map(bound).filter(|bound| bound.is_finite());
            bound.map(|bound| format!(" (≤ {bound:.digits$})")).unwrap_or_default()
        };
        write!(
            f,
            "| {objects} × {instances} | {} | {:.2}{} | {:.3}{} | {:.3}{} | {:.0}{} |",
            self.ends,
            self.reads,
            bound(|musts| musts.reads, 1),
            self.mean_ratio,
            bound(|musts| musts.mean_ratio, 2),
            self.worst_ratio,
            bound(|musts| musts.worst_ratio, 2),
            self.late,
            bound(|musts| musts.late, 0),
        )
    }
}
