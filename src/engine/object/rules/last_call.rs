//! The last call that names an id: when it ended, what it may have done, and whether a call is
//! still in flight.

use crate::engine::{
    account::call_history::{CallHistory, Ended, LastCall},
    object::state::{
        ledger::{Ledger, Progress, Row},
        memory::{CallState, Memory},
    },
    outcome::Effect,
    time::Mono,
};

/// The calls that name one id of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFacts {
    /// What this process knows of the calls of all objects that name the id.
    pub last_call: LastCall,
    /// The end of this process's delete call for this object whose batch is on the row. None if the cloud
    /// definitely refused that call, or if there was no such call.
    pub own_end: Option<Ended>,
    /// The same of its call that powers the instance off.
    pub own_power_off: Option<Ended>,
    /// Whether that call is in flight: its end will wake the object.
    pub own_in_flight: bool,
    /// Whether a call that names the id may still be in flight, from whichever object or process.
    pub in_flight: bool,
}

impl CallFacts {
    /// The ends of the delete calls that may have had an effect on the id of this row.
    ///
    /// For an accepted row the record holds the outcome of the object's own call, or a read that
    /// came after it: that call counts as accepted, whatever its reply said. The state that the look
    /// before an own call showed is in the call history.
    #[must_use]
    pub fn ends(&self, row: &Row) -> [Option<Ended>; 2] {
        let accepted = matches!(row.progress, Progress::Accepted { resent: false, .. });
        let same = |own: &Ended| self.last_call.ended.filter(|known| known.at == own.at);
        let own = self.own_end.map(|own| Ended {
            effect: if accepted { Effect::Accepted } else { own.effect },
            before: same(&own).and_then(|known| known.before),
            ..own
        });
        [self.last_call.ended, own]
    }

    /// The ends of the calls that may have powered the instance off.
    #[must_use]
    pub fn power_offs(&self) -> [Option<Ended>; 2] {
        [self.last_call.power_off, self.own_power_off]
    }

    /// When the last call ended, or will have ended at the latest; none if no call is known.
    #[must_use]
    pub fn last_end(&self) -> Option<Mono> {
        let deletes = [self.last_call.ended, self.own_end];
        let ends = deletes.into_iter().chain(self.power_offs()).flatten().map(|ended| ended.at);
        ends.chain(self.last_call.claimed_elsewhere).max()
    }
}

/// Gathers the calls that name each id of the record of an object in this namespace, in the order of
/// its rows. Rows that have ended need none.
#[must_use]
pub fn gather(
    ledger: &Ledger,
    memory: &Memory,
    call_history: &CallHistory,
    namespace: &str,
) -> Vec<CallFacts> {
    let of_row = |row: &Row| {
        if row.progress.ended() {
            return CallFacts::default();
        }
        let last_call = call_history.get(row.id, namespace);
        let batch_call = batch_call(row, ledger, memory);
        let in_flight = matches!(batch_call, BatchCall::OwnInFlight | BatchCall::ForeignInFlight);
        let own = if let BatchCall::Ended(ended) = batch_call { Some(ended) } else { None };
        let powers_off = matches!(row.progress, Progress::PoweringOff { .. } | Progress::PoweredOff { .. });
        CallFacts {
            last_call,
            own_end: own.filter(|_| !powers_off),
            own_power_off: own.filter(|_| powers_off),
            own_in_flight: matches!(batch_call, BatchCall::OwnInFlight),
            in_flight: in_flight || last_call.in_flight.is_some(),
        }
    };
    ledger.rows.iter().map(of_row).collect()
}

/// The call whose batch number is on a row.
enum BatchCall {
    /// No call names the row, or none that can have had an effect.
    None,
    OwnInFlight,
    /// It may be in flight: this process has not observed the batch for long enough.
    ForeignInFlight,
    Ended(Ended),
}

fn batch_call(row: &Row, ledger: &Ledger, memory: &Memory) -> BatchCall {
    let Some(number) = row.progress.batch() else { return BatchCall::None };
    let Some(call) = memory.own(number, ledger) else {
        if matches!(row.progress, Progress::PoweredOff { .. }) {
            // The record says that the call is over.
            return BatchCall::None;
        }
        // Another process stored the batch. Once this process has observed it, the call history
        // knows its call.
        let known = ledger.had_no_effect(number) || memory.foreign_end(number, ledger).is_some();
        return if known { BatchCall::None } else { BatchCall::ForeignInFlight };
    };
    let (at, effect) = match &call.state {
        CallState::InFlight => return BatchCall::OwnInFlight,
        CallState::Ended { at, outcome } | CallState::Recorded { at, outcome } => {
            (*at, outcome.effect(row.id))
        }
    };
    effect.map_or(BatchCall::None, |effect| BatchCall::Ended(Ended { at, effect, before: None }))
}
