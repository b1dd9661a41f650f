//! The *whole list* rule: before the first call of an object with `spec.expect`, every id was read, and every instance that is
//! neither on its way nor gone is what the author says.
//!
//! A wrong entry means that the list is wrong, so the rest of it is not trusted either: nothing is sent for any id.

use super::{
    facts::{Facts, RowFacts},
    look_first::LOOK_LIFE_AT_DECISION,
};
use crate::engine::{
    id::InstanceId, instance_facts::Judged, object::state::ledger::Ledger, settings::READ_SIZE, state::Seen,
    time::Mono,
};

/// What is known of the whole list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeList {
    /// It may be sent, as far as this rule goes.
    Passes,
    /// Something is not read yet, or a fact of it is unknown. These ids need a look.
    Waits(Vec<InstanceId>),
    /// These rows are not what the author says, and why.
    Differs(Vec<(usize, String)>),
}

/// Most ids with unknown facts that are read again at a time.
const AGAIN: usize = 2 * READ_SIZE;

/// Judges the list of an object. Once a row names a batch, each call is judged by itself.
#[must_use]
pub fn whole_list(ledger: &Ledger, facts: &Facts<'_>) -> WholeList {
    let Facts { spec, memory, now, .. } = *facts;
    let Some(expectation) = &spec.expectation else { return WholeList::Passes };
    if ledger.rows.iter().any(|row| row.progress.batch().is_some()) {
        return WholeList::Passes;
    }
    let (mut look, mut again, mut differs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut asked, mut waits) = (false, false);
    for RowFacts { position, row, observation, .. } in facts.open_rows(ledger) {
        if observation.asked.is_some() {
            asked = true;
            continue;
        }
        let read = observation.last.as_ref().filter(|(_, read)| read.sent > memory.gate);
        let Some((seen, read)) = read else {
            match memory.waits_alone(row.id) {
                Some(_) => waits = true,
                None => look.push(row.id),
            }
            continue;
        };
        if matches!(seen, Seen::ShuttingDown | Seen::Terminated | Seen::NotFound) {
            continue;
        }
        match expectation.judge(observation.facts.as_deref()) {
            Judged::Passes => {}
            Judged::Fails(why) => differs.push((position, why)),
            Judged::Unknown(_) => {
                waits = true;
                if is_old(read.sent, now.mono) && again.len() < AGAIN {
                    again.push(row.id);
                }
            }
        }
    }
    look.append(&mut again);
    if !differs.is_empty() && !asked {
        WholeList::Differs(differs)
    } else if asked || waits || !look.is_empty() {
        WholeList::Waits(look)
    } else {
        WholeList::Passes
    }
}

/// Whether a read would not allow a call any more.
fn is_old(sent: Mono, now: Mono) -> bool {
    now - sent >= LOOK_LIFE_AT_DECISION
}

#[cfg(test)]
mod tests;
