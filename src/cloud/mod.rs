//! The CloudDC API: requests, replies by what follows from them, and the reader that answers looks in bulk.
//!
//! Knows nothing of Kubernetes. [`client`] makes the three calls over [`transport`]; [`classify`] says what a reply means;
//! [`reader`] gathers looks and paces them; [`credential`] signs; [`metrics`] counts.

mod bodies;
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

pub use self::{
    client::{Client, Failure},
    credential::{
        Authorization, Credential, CredentialProblem, CredentialSource, Identity, InvalidSet, Login, Secret,
        Set, Unusable,
    },
    endpoint::{Endpoint, EndpointError, Endpoints},
    iam::Iam,
    metrics::CloudMetrics,
    reader::{Answer, RateOf, ReadFailure, ReadRate, Reader, Reading},
    retry_after::stated_limit,
    transport::{ClientError, ClientOptions, ExchangeError, HttpReply, HttpTransport},
};
