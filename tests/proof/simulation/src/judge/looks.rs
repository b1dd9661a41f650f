//! When a read is known to the object that asked for it.
//!
//! A look can take several reads: a list for each hundred ids, and a read for each id that a list left out. The object learns
//! of the look when all its reads are over. The record does not say which reads belong to one look, but they follow each other
//! closely: a read counts as known when its process has no other read under way or about to begin.

use std::{collections::BTreeMap, time::Duration};

use crate::record::{Moment, Record};

/// The reader gathers ids for a second before it reads.
const GATHER: Duration = Duration::from_millis(1_100);

/// When looks are over.
pub struct Looks {
    /// By the place of a read in the record; none: never.
    over: BTreeMap<usize, Option<Moment>>,
}

impl Looks {
    /// Finds out which reads follow each other closely.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let mut over = BTreeMap::new();
        for process in 0..record.processes.len() {
            let of_it = |(_, call): &(usize, &crate::record::Call)| {
                call.process == process && !super::view::changes(call.operation)
            };
            let reads = record.calls.iter().enumerate().filter(of_it);
            let mut cluster: Vec<usize> = Vec::new();
            let mut end = Some(Moment::default());
            // Calls are in the order in which they began.
            for (number, call) in reads {
                if end.is_some_and(|end| call.started.at > end.at + GATHER) {
                    over.extend(cluster.drain(..).map(|read| (read, end)));
                    end = Some(Moment::default());
                }
                cluster.push(number);
                let ended = call.outcome.as_ref().map(|(ended, _)| *ended);
                end = end.and_then(|end| ended.map(|ended| ended.max(end)));
            }
            over.extend(cluster.into_iter().map(|read| (read, end)));
        }
        Self { over }
    }

    /// When the look that a read belongs to was over.
    #[must_use]
    pub fn over(&self, number: usize) -> Option<Moment> {
        self.over.get(&number).copied().flatten()
    }
}
