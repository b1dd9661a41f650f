//! What a call to the cloud came to, by what follows from it.

use std::time::Duration;

use super::id::InstanceId;

/// The cloud's id of a call and a bounded, printable account of what it said; for records and messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CloudMessage {
    /// `X-Request-Id`, at most 64 bytes.
    pub request_id: Option<String>,
    /// Error code such as `iMetal.0003`, at most 64 bytes.
    pub code: Option<String>,
    /// The cloud's message or the transport's, at most 256 bytes.
    pub text: String,
}

/// How a delete call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// 2xx that listed ids of the call: those are accepted.
    Accepted {
        /// Ids that the reply listed and the call named.
        ids: Vec<InstanceId>,
        /// How many entries of the reply named no id of the call. They are never acted on.
        foreign: usize,
        /// What the cloud said.
        message: CloudMessage,
    },
    /// The call may have had its effect (timeout, reset, 5xx, empty or unreadable reply, 3xx, odd 4xx).
    Unknown {
        /// What stands on the object until it is known.
        trouble: Trouble,
        /// HTTP 503: the account should be called more slowly.
        unavailable: bool,
        /// What was heard.
        message: CloudMessage,
    },
    /// A definite refusal, or the request never left: nothing was deleted by this call.
    Refused {
        /// What it says about the ids.
        refusal: Refusal,
        /// What stands in the way, if the refusal is of the request as a whole.
        trouble: Trouble,
        /// What the cloud said.
        message: CloudMessage,
    },
    /// The request did not leave in time after its intent was written. Nothing stands in the way: begin again.
    TooLate,
}

/// What a definite refusal says about the ids of the call (design: *Outcomes of a delete call*).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nothing: the account, the address or the request's form was refused, or the request never left.
    Whole,
    /// One of several ids is bad, and the reply doesn't say which.
    Unnamed,
    /// One of several ids is in a state that allows no deletion, and the reply doesn't say which.
    UnnamedConflict,
    /// The service does not know these ids of the call. Perhaps they are gone.
    Missing(Vec<InstanceId>),
    /// The present state of these ids of the call allows no deletion.
    Conflict(Vec<InstanceId>),
    /// The service calls these ids of the call bad.
    Invalid(Vec<InstanceId>),
}

/// What stands in the way of an object, and so the reason of its condition `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The Secret does not exist.
    SecretNotFound,
    /// The API server refuses the read of the Secret.
    SecretForbidden,
    /// The Secret holds no usable credentials.
    SecretInvalid,
    /// 401.
    CredentialsRejected,
    /// 403 from the cloud.
    Forbidden,
    /// 429, and how long the cloud asked to wait.
    Throttled {
        /// `Retry-After`, where the reply has one; once the account has taken note of it, when calls may be made again.
        retry_after: Option<Duration>,
    },
    /// Timeout, reset, refused connection, 5xx.
    CloudUnreachable,
    /// Something answered that is not this API.
    EndpointMisconfigured,
    /// The API refused the request as such.
    RequestRefused,
}

/// When a trouble is tried again.
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
    /// When the cloud said, else by the governor's pace.
    Governor,
}

impl Trouble {
    /// The reason of the condition `Ready`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::SecretNotFound => "SecretNotFound",
            Self::SecretForbidden => "SecretForbidden",
            Self::SecretInvalid => "SecretInvalid",
            Self::CredentialsRejected => "CredentialsRejected",
            Self::Forbidden => "Forbidden",
            Self::Throttled { .. } => "Throttled",
            Self::CloudUnreachable => "CloudUnreachable",
            Self::EndpointMisconfigured => "EndpointMisconfigured",
            Self::RequestRefused => "RequestRefused",
        }
    }

    /// When it is tried again.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self {
            Self::SecretNotFound | Self::SecretForbidden | Self::SecretInvalid => Retry::SecretChange,
            Self::CredentialsRejected => Retry::SlowOrSecretChange,
            Self::Forbidden | Self::EndpointMisconfigured | Self::RequestRefused => Retry::Slow,
            Self::CloudUnreachable => Retry::Backoff,
            Self::Throttled { .. } => Retry::Governor,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::SecretNotFound => "create it in this namespace, with one set of credentials",
            Self::SecretForbidden => {
                "grant the controller's ServiceAccount the verb get on it, or use a namespace where it has that"
            }
            Self::SecretInvalid => "correct the Secret; it is read again within 15 s",
            Self::CredentialsRejected => {
                "put valid credentials into the Secret; it is read again within 15 s (a token lives for 24 h, and for one project)"
            }
            Self::Forbidden => {
                "grant the user of these credentials clouddc:instance:deleteBatch, clouddc:instance:list and clouddc:instance:get in this project"
            }
            Self::Throttled { .. } => "nothing to do: the controller slows down and goes on",
            Self::CloudUnreachable => {
                "nothing to do if it passes; else check the network, the region's endpoint and its certificate (--ca-file)"
            }
            Self::EndpointMisconfigured => {
                "check spec.region and the controller's --endpoint for that region"
            }
            Self::RequestRefused => "no instance is marked; quote the request id to the vendor",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_its_reason_its_retry_and_something_to_do() {
        let table = [
            (Trouble::SecretNotFound, "SecretNotFound", Retry::SecretChange, "create"),
            (Trouble::SecretForbidden, "SecretForbidden", Retry::SecretChange, "grant"),
            (Trouble::SecretInvalid, "SecretInvalid", Retry::SecretChange, "correct"),
            (Trouble::CredentialsRejected, "CredentialsRejected", Retry::SlowOrSecretChange, "token"),
            (Trouble::Forbidden, "Forbidden", Retry::Slow, "clouddc:instance:deleteBatch"),
            (Trouble::Throttled { retry_after: None }, "Throttled", Retry::Governor, "slows down"),
            (Trouble::CloudUnreachable, "CloudUnreachable", Retry::Backoff, "network"),
            (Trouble::EndpointMisconfigured, "EndpointMisconfigured", Retry::Slow, "--endpoint"),
            (Trouble::RequestRefused, "RequestRefused", Retry::Slow, "request id"),
        ];
        for (trouble, reason, retry, advice) in table {
            assert_eq!((trouble.reason(), trouble.retry()), (reason, retry));
            assert!(trouble.advice().contains(advice), "{reason}: {}", trouble.advice());
        }
    }
}
