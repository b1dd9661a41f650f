//! Reasons that users read: of the condition `Ready` and of events. The status, the events, the metrics and the reference
//! pages take them from here.

use super::named::named;

named! {
    /// Why the condition `Ready` is as it is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum ReadyReason {
        /// The controller reads the instances to make the plan.
        Planning,
        /// The plan is in `status.plan`; the message sums it up.
        Planned,
        /// The controller makes no new call, for a field, an annotation, or the deletion of the object; the message says which.
        Suspended,
        /// A DeletionGuard holds the object: no new call is made; the message has the guard's name and reason.
        Held,
        /// The first `spec.rollout.limit` ids have their ends; nothing goes on until the limit is raised or removed.
        LimitReached,
        /// Work goes on; the message counts instances.
        Deleting,
        /// Every open instance is powered off, and is deleted when it has been off for `spec.powerOff.soakSeconds`.
        Soaking,
        /// The Secret does not exist.
        SecretNotFound,
        /// The API server refuses the read of the Secret.
        SecretForbidden,
        /// The Secret holds no usable set of credentials.
        SecretInvalid,
        /// The API server does not answer the read of the Secret.
        ApiServerUnavailable,
        /// The cloud, or IAM, answers 401.
        CredentialsRejected,
        /// The cloud answers 403.
        Forbidden,
        /// The cloud answers 429, to this object or to another one of the same account.
        Throttled,
        /// Timeout, reset, no connection or 5xx.
        CloudUnreachable,
        /// What answers is not this API, or no host has the name of the region's endpoint.
        EndpointMisconfigured,
        /// `--allowed-region` does not name the region; nothing is read or sent.
        RegionNotAllowed,
        /// The unfinished objects name more Secrets and projects than the controller serves at once; nothing is read or sent.
        TooManyAccounts,
        /// The cloud refuses the request as such; no instance is marked.
        RequestRefused,
        /// For `--settle`, reads of an instance have failed while others succeeded; or for ten times `--settle`, it has had
        /// no readable state, or a state that allows neither sending nor ending. All other instances go on.
        StateUnknown,
        /// `spec.expect` or a guard asks for facts of an instance that its read did not show; nothing is sent for it.
        FactsUnknown,
        /// The guards, or the labels of the namespace, can't be read; nothing is sent, and looking goes on.
        GuardUnreadable,
        /// A DeletionGuard does not admit the object as a whole; nothing is sent.
        GuardRefused,
        /// The record of the next calls would not fit into the API server's store; nothing is sent.
        StatusTooLarge,
        /// This version of the controller can't decode the object, as after a rollback; nothing is sent.
        Undecodable,
        /// Every instance is gone.
        AllTerminated,
        /// Every instance is gone, and the cloud knew none of them; nothing was deleted.
        NothingFound,
        /// Every instance has its end, and some were given up.
        Failed,
        /// An instance is not what `spec.expect` says; nothing was sent for any.
        NotAsExpected,
        /// More instances failed than `spec.rollout.maxFailed` allows; the rest was not sent.
        TooManyFailures,
        /// `activeDeadlineSeconds` passed; open instances may still end at the cloud.
        DeadlineExceeded,
        /// `notAfter` passed, and some instances were not gone.
        Expired,
        /// The stored spec is one that the schema refuses; nothing is sent. An object that was valid before waits.
        InvalidSpec,
    }
}

/// What a reason of `Ready` says about the object as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// Work goes on.
    Working,
    /// Nothing goes on until someone edits the object.
    AtRest,
    /// Something stands in the way.
    Hindered,
    /// It ended well: `Ready` is True.
    GoodEnd,
    /// It ended badly: `Stalled` is True.
    BadEnd,
}

impl ReadyReason {
    /// What it says about the object as a whole.
    #[must_use]
    pub const fn kind(self) -> ReasonKind {
        match self {
            Self::Planning | Self::Deleting | Self::Soaking => ReasonKind::Working,
            Self::Planned | Self::Suspended | Self::Held | Self::LimitReached => ReasonKind::AtRest,
            Self::SecretNotFound
            | Self::SecretForbidden
            | Self::SecretInvalid
            | Self::ApiServerUnavailable
            | Self::CredentialsRejected
            | Self::Forbidden
            | Self::Throttled
            | Self::CloudUnreachable
            | Self::EndpointMisconfigured
            | Self::RegionNotAllowed
            | Self::TooManyAccounts
            | Self::RequestRefused
            | Self::StateUnknown
            | Self::FactsUnknown
            | Self::GuardUnreadable
            | Self::GuardRefused
            | Self::StatusTooLarge
            | Self::Undecodable => ReasonKind::Hindered,
            Self::AllTerminated | Self::NothingFound => ReasonKind::GoodEnd,
            Self::Failed
            | Self::NotAsExpected
            | Self::TooManyFailures
            | Self::DeadlineExceeded
            | Self::Expired
            | Self::InvalidSpec => ReasonKind::BadEnd,
        }
    }

    /// The reason of the condition `Finished`, if the object has ended.
    #[must_use]
    pub const fn finished(self) -> Option<&'static str> {
        match self.kind() {
            ReasonKind::Working | ReasonKind::AtRest | ReasonKind::Hindered => None,
            ReasonKind::GoodEnd | ReasonKind::BadEnd => Some(self.end()),
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Self::AllTerminated => "Succeeded",
            other => other.as_str(),
        }
    }

    /// The event that is posted when `Ready` takes this reason.
    #[must_use]
    pub const fn event(self) -> Option<ReasonEvent> {
        let warning = match self {
            // A new object has not begun; an invalid spec has an event of its own.
            Self::Planning | Self::InvalidSpec => return None,
            Self::Planned
            | Self::Deleting
            | Self::Soaking
            | Self::Suspended
            | Self::Held
            | Self::LimitReached
            | Self::AllTerminated => false,
            Self::SecretNotFound
            | Self::SecretForbidden
            | Self::SecretInvalid
            | Self::ApiServerUnavailable
            | Self::CredentialsRejected
            | Self::Forbidden
            | Self::Throttled
            | Self::CloudUnreachable
            | Self::EndpointMisconfigured
            | Self::RegionNotAllowed
            | Self::TooManyAccounts
            | Self::RequestRefused
            | Self::StateUnknown
            | Self::FactsUnknown
            | Self::GuardUnreadable
            | Self::GuardRefused
            | Self::StatusTooLarge
            | Self::Undecodable
            | Self::NothingFound
            | Self::Failed
            | Self::NotAsExpected
            | Self::TooManyFailures
            | Self::DeadlineExceeded
            | Self::Expired => true,
        };
        Some(ReasonEvent { warning, reason: self.end() })
    }

    /// What a person can do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Planning | Self::Deleting | Self::AllTerminated => "nothing to do",
            Self::Soaking => {
                "nothing to do: status.nextActionTime says when the next one is due; power an instance on to keep it"
            }
            Self::Planned => "write dryRun: false to start",
            Self::Suspended => "write suspend: false, or remove the annotation clouddc.dev/hold",
            Self::Held => "nothing to do: it goes on when the guard's hold is removed",
            Self::LimitReached => "raise spec.rollout.limit to go on, or remove it to delete the rest",
            Self::SecretNotFound => "create it in this namespace, with one set of credentials",
            Self::SecretForbidden => {
                "grant the controller's ServiceAccount the verb get on it, or use a namespace where it has that"
            }
            Self::SecretInvalid => "correct the Secret; it is read again within 15 s",
            Self::ApiServerUnavailable => {
                "nothing to do if it passes; else check the API server, and the controller's connection to it"
            }
            Self::CredentialsRejected => {
                "put valid credentials into the Secret; it is read again within 15 s (a token lives for 24 h, and for one project)"
            }
            Self::Forbidden => {
                "grant the user of these credentials clouddc:instance:deleteBatch, clouddc:instance:list and clouddc:instance:get in this project, and clouddc:imetal:updatePowerStatus if spec.powerOff is set"
            }
            Self::Throttled => "nothing to do: the controller slows down and goes on",
            Self::CloudUnreachable => {
                "nothing to do if it passes; else check the network, the region's endpoint and its certificate (--ca-file)"
            }
            Self::EndpointMisconfigured => {
                "check spec.region and the controller's --endpoint for that region"
            }
            Self::RegionNotAllowed => {
                "correct spec.region in a new object, or have the operator add the region to --allowed-region"
            }
            Self::TooManyAccounts => {
                "let objects share a Secret, or finish or delete objects that use others; the controller tries again after --retry-max"
            }
            Self::RequestRefused => "no instance is marked; quote the request id to the vendor",
            Self::StateUnknown => "ask the vendor, looking goes on",
            Self::FactsUnknown => {
                "grant the user of these credentials clouddc:instance:list, or delete this object and create one without the check"
            }
            Self::GuardUnreadable => {
                "grant the controller's ServiceAccount list on deletionguards and get on namespaces, and install the definition of DeletionGuard; it tries again"
            }
            Self::GuardRefused => "change the object, or have the owner of the guard change it",
            Self::StatusTooLarge => "remove large annotations or split it into smaller objects",
            Self::NothingFound => "check spec.region and spec.projectID",
            Self::Failed => {
                "status.failures says why, and status.instances which; to try again, create a new InstanceDeletion with the ids that are Failed there"
            }
            Self::NotAsExpected => {
                "nothing was sent; correct spec.instanceIDs or spec.expect in a new InstanceDeletion"
            }
            Self::TooManyFailures => {
                "status.failures says why; to go on, create a new InstanceDeletion with the ids that are Failed in status.instances"
            }
            Self::DeadlineExceeded => {
                "look at the cloud; to try again, create a new InstanceDeletion with the ids that are Failed in status.instances"
            }
            Self::Expired => {
                "to try again, create a new InstanceDeletion with the ids that are Failed in status.instances, and a later notAfter"
            }
            Self::InvalidSpec => "correct the spec, or delete this object and create a valid one",
            Self::Undecodable => {
                "install the version of the controller that wrote the record, or a later one"
            }
        }
    }
}

/// The event that is posted when `Ready` takes a new reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonEvent {
    /// Whether a person should look at it: type Warning, else Normal.
    pub warning: bool,
    /// Its reason.
    pub reason: &'static str,
}

named! {
    /// Reasons of events beside those of [`ReadyReason::event`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum EventReason {
        /// The cloud accepted every instance of a call.
        BatchAccepted,
        /// The cloud accepted some instances of a call and left others out.
        BatchPartlyAccepted,
        /// The cloud refused a call for the sake of its instances; it had no effect.
        BatchRefused,
        /// A call may have had its effect; the states of its instances are read before anything is sent again.
        BatchOutcomeUnknown,
        /// The reply to a call listed ids that the call did not name; they are ignored.
        ForeignInstances,
        /// Someone powered instances on again that were powered off for their deletion: they are not deleted.
        PoweredOnAgain,
        /// Instances have been open for longer than `--stuck-after`.
        Stuck,
        /// The stored spec is one that the schema refuses; nothing is sent.
        InvalidSpec,
        /// A call ended after its object was removed: no status can hold its outcome.
        RecordedAfterDeletion,
    }
}

impl EventReason {
    /// Whether a person should look at it: type Warning, else Normal.
    #[must_use]
    pub const fn warning(self) -> bool {
        match self {
            Self::BatchAccepted => false,
            Self::BatchPartlyAccepted
            | Self::BatchRefused
            | Self::BatchOutcomeUnknown
            | Self::ForeignInstances
            | Self::PoweredOnAgain
            | Self::Stuck
            | Self::InvalidSpec
            | Self::RecordedAfterDeletion => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_reasons_and_texts_are_whole_sentences() {
        assert_eq!(ReadyReason::parse("NoReason"), None);
        for reason in ReadyReason::ALL {
            assert_eq!(ReadyReason::parse(reason.as_str()), Some(reason));
            assert!(reason.meaning().ends_with('.') && !reason.advice().is_empty(), "{reason}");
        }
        for reason in EventReason::ALL {
            assert!(reason.meaning().ends_with('.'), "{reason}");
        }
    }

    #[test]
    fn a_reason_ends_the_object_as_its_kind_says() {
        for reason in ReadyReason::ALL {
            let ended = matches!(reason.kind(), ReasonKind::GoodEnd | ReasonKind::BadEnd);
            assert_eq!(reason.finished().is_some(), ended, "{reason}");
        }
        assert_eq!(ReadyReason::AllTerminated.finished(), Some("Succeeded"));
        assert_eq!(ReadyReason::NothingFound.finished(), Some("NothingFound"));
        assert_eq!(ReadyReason::Expired.finished(), Some("Expired"));
    }

    #[test]
    fn whatever_stands_in_the_way_is_a_warning() {
        let of = |kind| ReadyReason::ALL.into_iter().filter(move |reason| reason.kind() == kind);
        for reason in of(ReasonKind::Hindered) {
            let event = ReasonEvent { warning: true, reason: reason.as_str() };
            assert_eq!(reason.event(), Some(event));
        }
        let silent: Vec<_> = ReadyReason::ALL.into_iter().filter(|r| r.event().is_none()).collect();
        assert_eq!(silent, [ReadyReason::Planning, ReadyReason::InvalidSpec]);
    }

    /// Files that have to name reasons and cannot take them from here: alerts, and the judge of the GitOps tools' rules.
    #[test]
    fn each_reason_is_named_where_it_is_listed_by_hand() {
        let alerts = include_str!("../../deploy/monitoring/alerts.yaml");
        let judge = include_str!("../../tests/conformance/gitops/judge_test.go");
        let names = |text: &str, reason: ReadyReason| {
            text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == reason.as_str())
        };
        for reason in ReadyReason::ALL {
            let hindered = reason.kind() == ReasonKind::Hindered;
            assert!(
                !hindered || names(alerts, reason),
                "deploy/monitoring/alerts.yaml has no alert for {reason}"
            );
            assert!(names(judge, reason), "tests/conformance/gitops/judge_test.go does not know {reason}");
        }
    }
}
