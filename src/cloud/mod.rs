//! The CloudDC API: requests, replies by what follows from them, and the reader that answers looks in bulk.
//!
//! Knows nothing of Kubernetes. [`client`] makes the three calls over [`transport`]; [`classify`] says what a reply means;
//! [`reader`] gathers looks and paces them; [`credential`] signs; [`metrics`] counts.

mod classify;
mod client;
mod credential;
mod endpoint;
mod iam;
mod metrics;
mod reader;
mod retry_after;
mod skew;
#[cfg(test)]
mod testing;
mod transport;
mod wire;

pub use client::{Client, Failure};
pub use credential::{
    Authorization, Credential, CredentialProblem, CredentialSource, Identity, InvalidSet, Login, Secret, Set,
    Unusable,
};
pub use endpoint::{Endpoint, EndpointError, Endpoints};
pub use iam::Iam;
pub use metrics::CloudMetrics;
pub use reader::{Answer, PaceOf, ReadFailure, ReadPace, Reader, Reading};
pub use retry_after::stated_limit;
pub use transport::{ClientError, ClientOptions, Exchange, Heard, Lost};
