//! Outages: while the cloud answers no call of an account, one call at a time probes it.

use std::time::Duration;

use crate::{
    api::CallKind,
    engine::{
        by_kind::ByKind,
        outcome::{CallOutcome, Trouble},
        time::Mono,
    },
};

/// Requeue delay of an object that finds the probe of another object under way.
pub const PROBE_WAIT: Duration = Duration::from_secs(1);

/// What the end of a call says about the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// The cloud answered, be it with a refusal.
    Answered,
    /// No connection, no answer in time, or a 5xx.
    Silent,
    /// The call was not sent, so it says nothing.
    NotSent,
}

impl Contact {
    /// What the end of a call says.
    #[must_use]
    pub fn of(outcome: &CallOutcome) -> Self {
        match outcome {
            CallOutcome::Accepted { .. } => Self::Answered,
            CallOutcome::Unknown { trouble, .. } | CallOutcome::Refused { trouble, .. } => {
                Self::of_trouble(*trouble)
            }
            CallOutcome::NotSent(_) => Self::NotSent,
        }
    }

    /// What a call that failed for this reason says.
    #[must_use]
    pub fn of_trouble(trouble: Trouble) -> Self {
        if trouble == Trouble::CloudUnreachable { Self::Silent } else { Self::Answered }
    }
}

/// Calls of one sort (reads, or the others) of one account: how many are in flight, and whether the cloud answers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outage {
    silent: bool,
    in_flight: usize,
}

impl Outage {
    /// Notes that calls are on their way.
    pub fn started(&mut self, calls: usize) {
        self.in_flight += calls;
    }

    /// Notes that calls which were counted as started will not be made.
    pub fn abandoned(&mut self, calls: usize) {
        self.in_flight = self.in_flight.saturating_sub(calls);
    }

    /// Notes how a call ended.
    pub fn ended(&mut self, contact: Contact) {
        self.abandoned(1);
        match contact {
            Contact::Answered => self.silent = false,
            Contact::Silent => self.silent = true,
            Contact::NotSent => {}
        }
    }

    /// Whether the last call that was sent brought no answer.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// How many calls may be started now: no limit while the cloud answers, else one if none is in flight.
    #[must_use]
    pub fn allowed(&self) -> usize {
        if self.silent { 1_usize.saturating_sub(self.in_flight) } else { usize::MAX }
    }
}

/// Accepted calls of one kind of an account: evidence that such requests are well-formed, for judging ids that the cloud
/// refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// Calls that were accepted since the process started.
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

/// The calls of one account but for its reads, as far as they concern all its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccountCalls {
    outage: Outage,
    evidence: ByKind<Evidence>,
}

impl AccountCalls {
    /// Notes that calls are on their way.
    pub fn started(&mut self, calls: usize) {
        self.outage.started(calls);
    }

    /// Notes that calls which were counted as started will not be made.
    pub fn abandoned(&mut self, calls: usize) {
        self.outage.abandoned(calls);
    }

    /// Notes how a call of this kind ended.
    pub fn ended(&mut self, kind: CallKind, outcome: &CallOutcome, now: Mono) {
        self.outage.ended(Contact::of(outcome));
        if matches!(outcome, CallOutcome::Accepted { .. }) {
            let evidence = self.evidence.of_mut(kind);
            *evidence = Evidence { accepted: evidence.accepted + 1, last: Some(now) };
        }
    }

    /// How many calls may be started now, see [`Outage::allowed`].
    #[must_use]
    pub fn allowed(&self) -> usize {
        self.outage.allowed()
    }

    /// Calls that were accepted so far, by their kind.
    #[must_use]
    pub fn evidence(&self) -> ByKind<Evidence> {
        self.evidence
    }

    /// Visits every moment that is kept here.
    #[cfg(any(test, feature = "model"))]
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        self.evidence.each_mut().into_iter().filter_map(|evidence| evidence.last.as_mut()).for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::{CloudMessage, Refusal, Unsent};

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
            let mut calls = AccountCalls::default();
            calls.started(2);
            assert_eq!(calls.allowed(), usize::MAX, "nothing is known yet");
            calls.ended(CallKind::Delete, &unknown(), Mono::START);
            assert_eq!(calls.allowed(), 0, "the other call of the wave is the probe");
            calls.ended(CallKind::Delete, &outcome, Mono::START);
            assert_eq!(calls.allowed(), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_call_that_never_left_says_nothing_about_the_cloud() {
        let mut calls = AccountCalls::default();
        calls.started(2);
        calls.ended(CallKind::Delete, &unknown(), Mono::START);
        calls.ended(CallKind::Delete, &CallOutcome::NotSent(Unsent::TooLate), Mono::START);
        assert_eq!(calls.allowed(), 1);
    }

    #[test]
    fn calls_that_will_not_be_made_make_room_for_a_probe() {
        let mut calls = AccountCalls::default();
        calls.started(1);
        calls.ended(CallKind::Delete, &unknown(), Mono::START);
        calls.started(1);
        assert_eq!(calls.allowed(), 0);
        calls.abandoned(1);
        assert_eq!(calls.allowed(), 1);
    }

    #[test]
    fn evidence_counts_accepted_calls() {
        let mut calls = AccountCalls::default();
        let at = Mono::at(Duration::from_secs(7));
        calls.ended(
            CallKind::Delete,
            &CallOutcome::Accepted { ids: vec![], foreign: 0, message: CloudMessage::default() },
            at,
        );
        let ByKind { delete, power_off } = calls.evidence();
        assert_eq!(delete, Evidence { accepted: 1, last: Some(at) });
        assert_eq!(
            power_off,
            Evidence::default(),
            "a call of one kind says nothing about the form of another"
        );
        assert!(delete.since(at));
        assert!(!delete.since(at + Duration::from_micros(1)));
        assert!(!Evidence::default().since(Mono::START));
    }

    #[test]
    fn the_last_acceptance_of_each_kind_is_the_one_moment_that_is_kept() {
        let last = Evidence { accepted: 1, last: Some(Mono::START) };
        let evidence = ByKind { delete: last, power_off: last };
        let mut calls = AccountCalls { evidence, ..AccountCalls::default() };
        let mut visited = 0;
        calls.moments(&mut |moment| {
            visited += 1;
            *moment = *moment + Duration::from_secs(1);
        });
        let later = Some(Mono::START + Duration::from_secs(1));
        assert_eq!((visited, calls.evidence().each().map(|evidence| evidence.last)), (2, [later, later]));
    }
}
