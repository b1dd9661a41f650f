//! What a call to the cloud came to, by what follows from it.

use std::{fmt, time::Duration};

use super::id::InstanceId;
use crate::api::ReadyReason;

/// A limit that a refusal states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How many calls the cloud grants in one window.
    pub calls: u32,
    /// The length of a window.
    pub window: Duration,
}

/// What the cloud said about a call, bounded and printable, for records and messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CloudMessage {
    /// `X-Request-Id`, at most 64 bytes.
    pub request_id: Option<String>,
    /// Error code such as `iMetal.0003`, at most 64 bytes.
    pub code: Option<String>,
    /// The cloud's message or the transport's, at most 256 bytes.
    pub text: String,
    /// The rate limit that the message states. It is parsed before secrets are removed from the text: a secret may be `1`.
    pub limit: Option<Box<Limit>>,
}

/// Why a look did not read every id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookFailure {
    /// What stands in the way.
    pub trouble: Trouble,
    /// The cloud's message, or this process's own.
    pub message: CloudMessage,
    /// The version of the credential that was used; `None` if none was.
    pub secret_version: Option<String>,
}

/// What a call came to, by what its caller does next: a delete call, or one that powers off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// 2xx that listed ids of the call: the controller records those as accepted, and reads the states of the others.
    Accepted {
        /// Ids that the reply listed and the call named.
        ids: Vec<InstanceId>,
        /// How many entries of the reply named no id of the call. They are never acted on.
        foreign: usize,
        /// What the cloud said.
        message: CloudMessage,
    },
    /// The call may have had its effect (timeout, reset, 5xx, empty or unreadable reply, 3xx, odd 4xx): the states of its
    /// ids are read before anything is sent again.
    Unknown {
        /// What stands in the way of the object until the outcome is known.
        trouble: Trouble,
        /// HTTP 503: the account should be called more slowly.
        unavailable: bool,
        /// What the cloud or the transport said.
        message: CloudMessage,
    },
    /// A definite refusal, or the request never left: this call had no effect.
    Refused {
        /// What the refusal says about the ids.
        refusal: Refusal,
        /// What stands in the way of other calls, if the request was refused as a whole.
        trouble: Trouble,
        /// What the cloud or the transport said.
        message: CloudMessage,
    },
    /// The request never left. Nothing stands in the way: begin again.
    NotSent(Unsent),
}

/// Why a call was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsent {
    /// Its intent may be stored, and no acknowledgement says so.
    Unacknowledged,
    /// It did not leave in time after its intent was written, or this process lost its lease.
    TooLate,
    /// After the decision, this process learned that one of its ids is on its way or gone, or that another call names it.
    Overtaken,
    /// After the decision, this process read that the object allows no call any more, or that it is gone.
    Stopped,
    /// This process is stopping.
    Stopping,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unacknowledged => "the write of its intent was not acknowledged",
            Self::TooLate => "too late after its intent, or another process leads",
            Self::Overtaken => {
                "one of its instances was seen on its way or gone meanwhile; the others go on at once"
            }
            Self::Stopped => "the object was read since, and allows no call any more",
            Self::Stopping => "this process is stopping, and its successor goes on",
        })
    }
}

/// How a call that ended may have left one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The cloud accepted the call for it.
    Accepted,
    /// The cloud may have accepted the call for it.
    Unknown,
}

impl CallOutcome {
    /// What the call may have done to one of its ids; `None` if it certainly did nothing.
    #[must_use]
    pub fn effect(&self, id: InstanceId) -> Option<Effect> {
        match self {
            Self::Accepted { ids, .. } if ids.contains(&id) => Some(Effect::Accepted),
            Self::Accepted { .. } | Self::Unknown { .. } => Some(Effect::Unknown),
            Self::Refused { .. } | Self::NotSent(_) => None,
        }
    }

    /// Whether it stands in the way of the object's other calls too: not the ids are at fault, but the account, the address,
    /// the request's form or the cloud.
    #[must_use]
    pub fn blocks_others(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Refused { refusal: Refusal::Whole, .. } => true,
            Self::Accepted { .. } | Self::Refused { .. } | Self::NotSent(_) => false,
        }
    }

    /// The same outcome without ids and texts, kept once an acknowledged write holds them: an account may have made
    /// thousands of calls.
    #[must_use]
    pub fn without_details(&self) -> Self {
        let message = CloudMessage::default();
        match self {
            Self::Accepted { .. } => Self::Accepted { ids: Vec::new(), foreign: 0, message },
            Self::Unknown { trouble, unavailable, .. } => {
                Self::Unknown { trouble: *trouble, unavailable: *unavailable, message }
            }
            Self::Refused { refusal, trouble, .. } => {
                Self::Refused { refusal: refusal.without_ids(), trouble: *trouble, message }
            }
            Self::NotSent(why) => Self::NotSent(*why),
        }
    }

    /// Whether the call certainly had no effect, so that nobody has to wait for it.
    #[must_use]
    pub fn had_no_effect(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::NotSent(_) => true,
            Self::Accepted { .. } | Self::Unknown { .. } => false,
        }
    }

    /// What the cloud or the transport said; `None` if the request did not leave.
    #[must_use]
    pub fn message(&self) -> Option<&CloudMessage> {
        match self {
            Self::Accepted { message, .. }
            | Self::Unknown { message, .. }
            | Self::Refused { message, .. } => Some(message),
            Self::NotSent(_) => None,
        }
    }

    /// Its label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "ok",
            Self::Unknown { .. } => "unknown",
            Self::Refused { trouble, .. } => trouble.label(),
            Self::NotSent(_) => "too_late",
        }
    }
}

/// One line for logs and events.
impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { ids, .. } => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(f, "accepted: {}", ids.join(","))
            }
            Self::Unknown { message, .. } => write!(f, "outcome unknown: {}", message.text),
            Self::Refused { message, .. } => write!(f, "refused: {}", message.text),
            Self::NotSent(why) => write!(f, "not sent: {why}"),
        }
    }
}

/// What a definite refusal says about the ids of the call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nothing: the account, the address or the request's form was refused, or the request never left.
    Whole,
    /// The reply names no id: the request is refused, or the state of one of its ids.
    Unnamed,
    /// As [`Self::Unnamed`], and the code says that the state of some of the ids is at fault.
    UnnamedState,
    /// Some of several ids are in conflict with other work of the cloud, or in a state that allows no such call, and the reply
    /// doesn't say which.
    UnnamedConflict,
    /// The service does not know these ids of the call. Perhaps they are gone.
    Missing(Vec<InstanceId>),
    /// The reply names these ids of the call, and they were read alive: their present state allows no such call.
    Conflict(Vec<InstanceId>),
}

impl Refusal {
    fn without_ids(&self) -> Self {
        match self {
            Self::Whole => Self::Whole,
            Self::Unnamed => Self::Unnamed,
            Self::UnnamedState => Self::UnnamedState,
            Self::UnnamedConflict => Self::UnnamedConflict,
            Self::Missing(_) => Self::Missing(Vec::new()),
            Self::Conflict(_) => Self::Conflict(Vec::new()),
        }
    }
}

/// What stands in the way of an object: it becomes the reason of the condition `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The Secret does not exist.
    SecretNotFound,
    /// The API server refuses the read of the Secret.
    SecretForbidden,
    /// The Secret holds no usable credentials.
    SecretInvalid,
    /// The API server does not answer the read of the Secret.
    ApiServerUnavailable,
    /// 401.
    CredentialsRejected,
    /// 403 from the cloud.
    Forbidden,
    /// 429, and how long the cloud asked to wait.
    Throttled {
        /// How long to wait, where the cloud said it (`Retry-After` or the window in its message).
        retry_after: Option<Duration>,
    },
    /// Timeout, reset, refused connection, 5xx.
    CloudUnreachable,
    /// Something answered that is not this API.
    EndpointMisconfigured,
    /// The operator does not let the controller call this region.
    RegionNotAllowed,
    /// The controller keeps no further account: nothing is read or sent with this Secret for now.
    TooManyAccounts,
    /// The API refused the request as such.
    RequestRefused,
    /// The guards, or the labels of the object's namespace, could not be read.
    GuardUnreadable,
}

/// When the controller tries again after a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// By exponential backoff from `--retry-min`.
    Backoff,
    /// A person has to act first: at `--retry-max`.
    Slow,
    /// When the Secret changes; it is read again every [`super::settings::SECRET_REREAD`].
    SecretChange,
    /// At `--retry-max`, or when the Secret changes.
    SlowOrSecretChange,
    /// When the cloud said, else at the account's rate.
    Governor,
}

impl Trouble {
    /// The reason of the condition `Ready`.
    #[must_use]
    pub fn reason(self) -> ReadyReason {
        match self {
            Self::SecretNotFound => ReadyReason::SecretNotFound,
            Self::SecretForbidden => ReadyReason::SecretForbidden,
            Self::SecretInvalid => ReadyReason::SecretInvalid,
            Self::ApiServerUnavailable => ReadyReason::ApiServerUnavailable,
            Self::CredentialsRejected => ReadyReason::CredentialsRejected,
            Self::Forbidden => ReadyReason::Forbidden,
            Self::Throttled { .. } => ReadyReason::Throttled,
            Self::CloudUnreachable => ReadyReason::CloudUnreachable,
            Self::EndpointMisconfigured => ReadyReason::EndpointMisconfigured,
            Self::RegionNotAllowed => ReadyReason::RegionNotAllowed,
            Self::TooManyAccounts => ReadyReason::TooManyAccounts,
            Self::RequestRefused => ReadyReason::RequestRefused,
            Self::GuardUnreadable => ReadyReason::GuardUnreadable,
        }
    }

    /// The label in metrics of a call that met it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::CredentialsRejected => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::Throttled { .. } => "throttled",
            Self::CloudUnreachable => "unreachable",
            Self::EndpointMisconfigured => "misconfigured",
            // No call is made without a credential: all but the last are never counted.
            Self::SecretNotFound
            | Self::SecretForbidden
            | Self::SecretInvalid
            | Self::ApiServerUnavailable
            | Self::RegionNotAllowed
            | Self::TooManyAccounts
            | Self::GuardUnreadable
            | Self::RequestRefused => "refused",
        }
    }

    /// Whether one instance may be the reason why a read of it fails, while reads of others succeed.
    #[must_use]
    pub fn may_be_of_one_instance(self) -> bool {
        match self {
            // A permission may be granted for some servers alone, and a gateway may take offence at one path.
            Self::CloudUnreachable | Self::RequestRefused | Self::Forbidden | Self::EndpointMisconfigured => {
                true
            }
            Self::SecretNotFound
            | Self::SecretForbidden
            | Self::SecretInvalid
            | Self::ApiServerUnavailable
            | Self::CredentialsRejected
            | Self::Throttled { .. }
            | Self::RegionNotAllowed
            | Self::TooManyAccounts
            | Self::GuardUnreadable => false,
        }
    }

    /// Whether another version of the Secret may end it. Then the Secret is read every
    /// [`super::settings::SECRET_REREAD`].
    #[must_use]
    pub fn ends_with_the_secret(self) -> bool {
        matches!(self.retry(), Retry::SecretChange | Retry::SlowOrSecretChange)
    }

    /// When the controller tries again.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self {
            Self::SecretNotFound | Self::SecretForbidden | Self::SecretInvalid => Retry::SecretChange,
            // Other credentials may have the permission.
            Self::CredentialsRejected | Self::Forbidden => Retry::SlowOrSecretChange,
            Self::EndpointMisconfigured
            | Self::RegionNotAllowed
            | Self::TooManyAccounts
            | Self::RequestRefused => Retry::Slow,
            Self::CloudUnreachable | Self::ApiServerUnavailable | Self::GuardUnreadable => Retry::Backoff,
            Self::Throttled { .. } => Retry::Governor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> InstanceId {
        InstanceId::from_u128(n)
    }

    fn outcomes() -> [CallOutcome; 8] {
        let message = CloudMessage::default;
        let refused = |refusal, trouble| CallOutcome::Refused { refusal, trouble, message: message() };
        let form = Trouble::RequestRefused;
        [
            CallOutcome::Accepted { ids: vec![id(1)], foreign: 1, message: message() },
            CallOutcome::Unknown {
                trouble: Trouble::CloudUnreachable,
                unavailable: true,
                message: message(),
            },
            refused(Refusal::Whole, Trouble::Throttled { retry_after: None }),
            refused(Refusal::Unnamed, form),
            refused(Refusal::UnnamedConflict, form),
            refused(Refusal::Missing(vec![id(1)]), form),
            refused(Refusal::Conflict(vec![id(1)]), form),
            CallOutcome::NotSent(Unsent::TooLate),
        ]
    }

    #[test]
    fn each_outcome_says_what_it_may_have_done_whom_it_blocks_and_how_it_is_counted() {
        let (accepted, unknown) = (Some(Effect::Accepted), Some(Effect::Unknown));
        let expected = [
            ([accepted, unknown], false, "ok", "accepted: 00000000-0000-0000-0000-000000000001"),
            ([unknown, unknown], true, "unknown", "outcome unknown: "),
            ([None, None], true, "throttled", "refused: "),
            ([None, None], false, "refused", "refused: "),
            ([None, None], false, "refused", "refused: "),
            ([None, None], false, "refused", "refused: "),
            ([None, None], false, "refused", "refused: "),
            (
                [None, None],
                false,
                "too_late",
                "not sent: too late after its intent, or another process leads",
            ),
        ];
        for (outcome, (effects, blocks, label, words)) in outcomes().into_iter().zip(expected) {
            assert_eq!([outcome.effect(id(1)), outcome.effect(id(2))], effects, "{outcome:?}");
            assert_eq!((outcome.blocks_others(), outcome.label()), (blocks, label), "{outcome:?}");
            assert_eq!(outcome.to_string(), words);
        }
    }

    #[test]
    fn without_its_details_an_outcome_blocks_whom_it_blocked_and_names_no_id() {
        for outcome in outcomes() {
            let bare = outcome.without_details();
            assert_eq!(bare.blocks_others(), outcome.blocks_others(), "{outcome:?}");
            // What an id was accepted by, the record says.
            assert_eq!(bare.effect(id(1)), outcome.effect(id(2)), "{outcome:?}");
            assert!(!format!("{bare:?}").contains("0001"), "{bare:?}");
        }
    }

    #[test]
    fn each_trouble_has_its_reason_its_retry_and_something_to_do() {
        let table = [
            (Trouble::SecretNotFound, "SecretNotFound", Retry::SecretChange, "create"),
            (Trouble::SecretForbidden, "SecretForbidden", Retry::SecretChange, "grant"),
            (Trouble::SecretInvalid, "SecretInvalid", Retry::SecretChange, "correct"),
            (Trouble::CredentialsRejected, "CredentialsRejected", Retry::SlowOrSecretChange, "token"),
            (Trouble::Forbidden, "Forbidden", Retry::SlowOrSecretChange, "clouddc:instance:deleteBatch"),
            (Trouble::Throttled { retry_after: None }, "Throttled", Retry::Governor, "slows down"),
            (Trouble::CloudUnreachable, "CloudUnreachable", Retry::Backoff, "network"),
            (Trouble::EndpointMisconfigured, "EndpointMisconfigured", Retry::Slow, "--endpoint"),
            (Trouble::RegionNotAllowed, "RegionNotAllowed", Retry::Slow, "--allowed-region"),
            (Trouble::TooManyAccounts, "TooManyAccounts", Retry::Slow, "Secret"),
            (Trouble::GuardUnreadable, "GuardUnreadable", Retry::Backoff, "guards"),
            (Trouble::RequestRefused, "RequestRefused", Retry::Slow, "request id"),
        ];
        for (trouble, reason, retry, advice) in table {
            assert_eq!((trouble.reason().as_str(), trouble.retry()), (reason, retry));
            assert!(trouble.reason().advice().contains(advice), "{reason}: {}", trouble.reason().advice());
        }
    }
}
