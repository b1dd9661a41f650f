//! Judges a run by the record of messages and versions alone, never by what the controller knew.
//!
//! - [`view`]: the record, sorted for questions: which intent a call rests on, what reads showed to whom;
//! - [`looks`]: when a read is known to the object that asked for it;
//! - [`scope`]: S1, S2, S3, S10, S12, S13: what may be called;
//! - [`checks`]: E1, E3, F2, G3, G5, G7, R1, R4, R5: what expectations, guards and the rollout let be called;
//! - [`power`]: P1, P4, P5, P6: what may be powered off, and what may be deleted after that;
//! - [`repeats`]: S8, S17: what may be called again;
//! - [`records`]: S4, S5, S6, S7: what may be recorded; [`surface`]: S16;
//! - [`ends`]: L1, L8, S11.

mod checks;
mod ends;
mod looks;
mod power;
mod records;
mod repeats;
mod scope;
mod surface;
#[cfg(test)]
mod tests;
pub mod view;

use view::View;

use crate::{plan::Plan, record::Record};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one, by its id.
    pub property: &'static str,
    /// What was seen.
    pub what: String,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Violation>);

impl Findings {
    /// Adds a violation unless the property holds.
    pub fn check(&mut self, property: &'static str, holds: bool, what: impl FnOnce() -> String) {
        // The first ones of a run say what is wrong; thousands of the same would hide them.
        if !holds && self.0.len() < 50 {
            self.0.push(Violation { property, what: what() });
        }
    }
}

/// Every property that did not hold.
#[must_use]
pub fn judge(record: &Record, plan: &Plan) -> Vec<Violation> {
    let view = View::of(record);
    let mut findings = Findings::default();
    scope::check(&view, plan, &mut findings);
    checks::check(&view, &mut findings);
    power::check(&view, &mut findings);
    repeats::check(&view, plan, &mut findings);
    records::check(&view, plan, &mut findings);
    surface::check(record, &mut findings);
    ends::check(&view, &mut findings);
    findings.0
}
