//! The facts that the rules of one decision judge by. A decision gathers them once.

use super::last_call::CallFacts;
use crate::engine::{
    object::state::{
        guards::Bar,
        ledger::{Ledger, Row},
        memory::Memory,
        observations::Observation,
        spec::DeletionSpec,
    },
    settings::Settings,
    time::Now,
};

/// The facts about one object.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The spec of the live read.
    pub spec: &'a DeletionSpec,
    /// What this process has seen of the object, including the live read.
    pub memory: &'a Memory,
    /// For each row of the record, the calls that name its id.
    pub calls: &'a [CallFacts],
    /// Why guards let no new call leave, if so.
    pub bar: Option<&'a Bar>,
    /// The moment of the decision.
    pub now: &'a Now,
    /// Flags of the process.
    pub settings: &'a Settings,
}

/// The facts about one row of the record.
#[derive(Clone, Copy, Debug)]
pub struct RowFacts<'a> {
    /// Position of the row in the record.
    pub position: usize,
    /// The row as the record has it now.
    pub row: &'a Row,
    /// What reads have shown of the instance.
    pub observation: &'a Observation,
    /// The calls that name the id.
    pub calls: CallFacts,
}

impl<'a> Facts<'a> {
    /// Whether the object allows new calls now, by its spec and by the guards.
    #[must_use]
    pub fn allow_calls(&self) -> bool {
        self.spec.allows_calls() && self.bar.is_none()
    }

    /// The facts about the row at `position`; none if the record has no such row.
    #[must_use]
    pub fn row<'r>(&self, ledger: &'r Ledger, position: usize) -> Option<RowFacts<'r>>
    where
        'a: 'r,
    {
        let row = ledger.rows.get(position)?;
        let calls = self.calls.get(position).copied().unwrap_or_default();
        Some(RowFacts { position, row, observation: self.memory.observation(position), calls })
    }

    /// The facts about each row that has not ended, in the order of the spec.
    pub fn open_rows<'r>(&self, ledger: &'r Ledger) -> impl Iterator<Item = RowFacts<'r>>
    where
        'a: 'r,
    {
        let facts = *self;
        (0..ledger.rows.len())
            .filter_map(move |position| facts.row(ledger, position))
            .filter(|facts| !facts.row.progress.ended())
    }
}
