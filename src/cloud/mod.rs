//! The CloudDC API: its calls, what their replies mean, and the reader that serves looks in bulk.
//!
//! This module knows nothing of Kubernetes. [`client`] makes the calls over a [`transport`], by default over [`http`];
//! [`change`] says what a call that changes instances sends; [`classify`] says what a reply means; [`reader`] gathers looks into reads and paces them; [`credential`] signs;
//! [`metrics`] counts.

mod bodies;
mod change;
mod classify;
mod client;
mod credential;
mod dns;
mod endpoint;
mod guarded_body;
mod http;
mod iam;
mod metrics;
mod reader;
mod reply_body;
mod retry_after;
mod skew;
#[cfg(test)]
mod tests;
mod transport;

pub use self::{
    client::{Client, Inventory, InventoryError, InventoryInstance, InventoryServer, Wanted},
    credential::{
        Authorization, Credential, CredentialProblem, CredentialSource, Current, Identity, InvalidSet, Login,
        Secret, Set, Unusable,
    },
    endpoint::{Endpoint, EndpointError, Endpoints},
    http::{ClientError, ClientOptions},
    iam::{Iam, TokenNow},
    metrics::CloudMetrics,
    reader::{LookHandler, RateOf, ReadRate, Reader, Reading},
    reply_body::ReplyBody,
    transport::{ExchangeError, HttpReply, HttpTransport},
};
