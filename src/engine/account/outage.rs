//! What delete calls of one account came to, as far as it concerns all its objects.

use std::time::Duration;

use crate::engine::{
    outcome::{CallOutcome, Trouble},
    time::Mono,
};

/// What delete calls of one account came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outage {
    accepted: u64,
    last_accepted: Option<Mono>,
    /// The last call that ended brought only a 5xx, a timeout, or no connection.
    silent: bool,
    in_flight: usize,
}

/// Whether the cloud accepts calls of this account, for a judgement about ids that it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Delete calls that were accepted since the process started.
    pub accepted: u64,
    /// When the last one was.
    pub last: Option<Mono>,
}

impl Evidence {
    /// Whether a call was accepted at or after this moment.
    #[must_use]
    pub fn since(&self, moment: Mono) -> bool {
        self.last.is_some_and(|last| last >= moment)
    }
}

impl Outage {
    /// Notes that calls are on their way.
    pub fn started(&mut self, calls: usize) {
        self.in_flight += calls;
    }

    /// Notes that calls which were to go out will not.
    pub fn abandoned(&mut self, calls: usize) {
        self.in_flight = self.in_flight.saturating_sub(calls);
    }

    /// Notes how a call ended.
    pub fn ended(&mut self, outcome: &CallOutcome, now: Mono) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            CallOutcome::Accepted { .. } => {
                self.accepted += 1;
                self.last_accepted = Some(now);
                self.silent = false;
            }
            CallOutcome::Unknown { trouble, .. } | CallOutcome::Refused { trouble, .. } => {
                self.silent = *trouble == Trouble::CloudUnreachable;
            }
            // Nothing was asked, so nothing was learned.
            CallOutcome::NotSent => {}
        }
    }

    /// How many calls may be made now: while the cloud answers nothing, one at a time probes it (design: *Outcomes of a
    /// delete call*).
    #[must_use]
    pub fn allowed(&self) -> usize {
        if self.silent { 1_usize.saturating_sub(self.in_flight) } else { usize::MAX }
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        self.last_accepted.iter_mut().for_each(visit);
    }

    /// For judgements about ids.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        Evidence { accepted: self.accepted, last: self.last_accepted }
    }
}

/// While the cloud answers nothing and another object's call probes it, an object asks again after this.
pub const PROBE_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::{CloudMessage, Refusal};

    fn unknown() -> CallOutcome {
        CallOutcome::Unknown {
            trouble: Trouble::CloudUnreachable,
            unavailable: false,
            message: CloudMessage::default(),
        }
    }

    fn refused(trouble: Trouble) -> CallOutcome {
        CallOutcome::Refused { refusal: Refusal::Whole, trouble, message: CloudMessage::default() }
    }

    #[test]
    fn x12_a_silent_cloud_is_probed_by_one_call_at_a_time() {
        let accepted = || CallOutcome::Accepted { ids: vec![], foreign: 0, message: CloudMessage::default() };
        let table: [(CallOutcome, usize); 5] = [
            (unknown(), 1),
            (refused(Trouble::CloudUnreachable), 1),
            (refused(Trouble::Throttled { retry_after: None }), usize::MAX),
            (refused(Trouble::CredentialsRejected), usize::MAX),
            (accepted(), usize::MAX),
        ];
        for (outcome, expected) in table {
            let mut outage = Outage::default();
            outage.started(2);
            assert_eq!(outage.allowed(), usize::MAX, "nothing is known yet");
            outage.ended(&unknown(), Mono::START);
            assert_eq!(outage.allowed(), 0, "the other call of the wave is the probe");
            outage.ended(&outcome, Mono::START);
            assert_eq!(outage.allowed(), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_call_that_never_left_says_nothing_about_the_cloud() {
        let mut outage = Outage::default();
        outage.started(2);
        outage.ended(&unknown(), Mono::START);
        outage.ended(&CallOutcome::NotSent, Mono::START);
        assert_eq!(outage.allowed(), 1);
    }

    #[test]
    fn calls_that_will_not_be_made_make_room_for_a_probe() {
        let mut outage = Outage::default();
        outage.started(1);
        outage.ended(&unknown(), Mono::START);
        outage.started(1);
        assert_eq!(outage.allowed(), 0);
        outage.abandoned(1);
        assert_eq!(outage.allowed(), 1);
    }

    #[test]
    fn evidence_counts_accepted_calls() {
        let mut outage = Outage::default();
        let at = Mono::at(Duration::from_secs(7));
        outage
            .ended(&CallOutcome::Accepted { ids: vec![], foreign: 0, message: CloudMessage::default() }, at);
        assert_eq!(outage.evidence(), Evidence { accepted: 1, last: Some(at) });
        assert!(outage.evidence().since(at));
        assert!(!outage.evidence().since(at + Duration::from_micros(1)));
        assert!(!Evidence::default().since(Mono::START));
    }

    #[test]
    fn the_last_acceptance_is_the_one_moment_that_is_kept() {
        let mut outage = Outage { last_accepted: Some(Mono::START), ..Outage::default() };
        let mut visited = 0;
        outage.moments(&mut |moment| {
            visited += 1;
            *moment = *moment + Duration::from_secs(1);
        });
        assert_eq!((visited, outage.evidence().last), (1, Some(Mono::START + Duration::from_secs(1))));
    }
}
