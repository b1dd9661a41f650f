//! The first-write rule: the first status of an object waits a moment for its first look.
//!
//! Most objects may be sent as soon as their instances were looked at. One write then says that the
//! object is being worked on and stores the intent of its first wave, instead of two in a second.

use std::time::Duration;

use crate::{
    api::InstanceDeletionStatus,
    engine::{
        object::state::{ledger::Ledger, memory::Memory},
        time::Mono,
    },
};

/// The longest that the first status waits for the first look. A look usually takes little more than
/// the second for which the reader gathers ids. People who have just applied an object see within
/// this time that it is being worked on. Until then the schema's default `observedGeneration: -1`
/// keeps tools that follow kstatus from taking the object for done.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Until when the first status of an object waits for its first look. `None`: it is written now,
/// since a status was written before, a look was answered, none is made, or it takes too long.
///
/// `looks_now`: this decision asks for a look.
#[must_use]
pub fn waits_until(
    before: &InstanceDeletionStatus,
    ledger: &Ledger,
    memory: &Memory,
    looks_now: bool,
    now: Mono,
) -> Option<Mono> {
    // Each status that a controller writes has conditions.
    if !before.conditions.is_empty() {
        return None;
    }
    let mut asked = looks_now.then_some(now);
    for position in 0..ledger.rows.len() {
        let observation = memory.observation(position);
        if observation.last.is_some() {
            return None;
        }
        asked = observation.asked.into_iter().chain(asked).min();
    }
    asked.map(|asked| asked + FIRST_LOOK).filter(|until| *until > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        object::{
            report::status::tests::ready,
            state::ledger::Progress,
            tests::case::{Case, just_before, then},
        },
        state::{Live, Seen},
    };

    fn until(case: &Case, looks_now: bool, now: Mono) -> Option<Mono> {
        let before = InstanceDeletionStatus::default();
        waits_until(&before, &case.ledger, &case.memory, looks_now, now)
    }

    #[test]
    fn the_first_status_waits_for_the_first_look_and_no_longer_than_the_bound() {
        let over = then() + FIRST_LOOK;
        let mut case = Case::new(Progress::Pending);
        assert_eq!(until(&case, false, then()), None, "no look is made");
        assert_eq!(until(&case, true, then()), Some(over));
        case.memory.asked(&case.spec.ids, then());
        for looks_now in [false, true] {
            assert_eq!(until(&case, looks_now, just_before(over)), Some(over));
            assert_eq!(until(&case, looks_now, over), None, "it takes too long");
        }
        let read = case.read(Seen::Live(Live::Running), then());
        assert_eq!(until(&read, true, then()), None, "the first look was answered");
    }

    #[test]
    fn no_later_status_waits() {
        let case = Case::new(Progress::Pending);
        let before = ready("Deleting");
        assert_eq!(waits_until(&before, &case.ledger, &case.memory, true, then()), None);
    }
}
