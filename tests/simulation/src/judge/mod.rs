//! Whether a run was right, by the record of messages and versions alone.

use crate::{plan::Plan, record::Record};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one, by its id.
    pub property: &'static str,
    /// What was seen.
    pub what: String,
}

/// Every property that did not hold.
#[must_use]
pub fn judge(record: &Record, plan: &Plan) -> Vec<Violation> {
    let _ = plan;
    let open =
        record.open.iter().map(|name| Violation { property: "L1", what: format!("{name} did not end") });
    open.collect()
}
