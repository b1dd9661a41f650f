//! What the tests of this module share: a server on a raw socket, and replies without a network.

pub mod server;

use std::{sync::OnceLock, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use reqwest::{Request, StatusCode};

use super::{
    Authorization, Client, ClientOptions, Credential, Endpoint, ExchangeError, HttpReply, HttpTransport,
    Identity, Secret, client::FailedRead,
};
use crate::engine::{InstanceId, state::Seen};

/// Replies without a network, by the request.
pub struct Wire<F>(pub F);

impl<F: Fn(&Request) -> HttpReply + Send + Sync + 'static> HttpTransport for Wire<F> {
    fn exchange<'a>(
        &'a self,
        request: Request,
        _: usize,
        _: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        std::future::ready(Ok((self.0)(&request))).boxed()
    }
}

/// A reply of this status and body.
pub fn reply(status: u16, body: &str) -> HttpReply {
    HttpReply {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: Some("application/json".to_owned()),
        retry_after: None,
        request_id: Some("r".to_owned()),
        date: None,
        subject_token: None,
        body: body.as_bytes().to_vec().into(),
    }
}

/// A token of this version.
pub fn credential(token: &str, version: &str) -> Credential {
    let authorization = Authorization::Token(Secret::parse(token.as_bytes()).unwrap());
    let identity = Identity::of_secret("namespace", "name");
    Credential { authorization, identity, version: version.to_owned() }
}

impl Client {
    /// The rows of the first page of a list.
    pub async fn list_instances(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        ids: &[InstanceId],
    ) -> Result<Vec<(InstanceId, Seen)>, FailedRead> {
        self.list_page(endpoint, project, credential, ids, None)
            .await
            .map(|page| page.rows.into_iter().map(|row| (row.id, row.seen)).collect())
    }
}

/// A client whose calls take at most this many seconds.
pub fn client(seconds: u64) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(&options(seconds)).unwrap()
}

/// Options whose calls take at most this many seconds.
pub fn options(seconds: u64) -> ClientOptions {
    ClientOptions {
        request_timeout: Duration::from_secs(seconds),
        ca_file: None,
        user_agent: "test".to_owned(),
        no_proxy: true,
    }
}
