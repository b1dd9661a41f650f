//! The CloudDC API: requests, replies by what follows from them, and the reader that answers looks in bulk.
//!
//! Knows nothing of Kubernetes. [`client`] makes the three calls over [`transport`]; [`classify`] says what a reply means;
//! [`reader`] gathers looks and paces them.

mod classify;
mod client;
mod credential;
mod endpoint;
mod reader;
mod retry_after;
#[cfg(test)]
mod testing;
mod transport;
mod wire;

pub use client::{Client, Failure};
pub use credential::{Credential, CredentialProblem, CredentialSource, InvalidToken, Token};
pub use endpoint::{Endpoint, EndpointError, Endpoints};
pub use reader::{Answer, ReadFailure, Reader, Reading};
pub use transport::{ClientError, ClientOptions, Exchange, Heard, Lost};
