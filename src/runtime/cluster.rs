//! The connection to the API server, and the proxy variables that it and the cloud's client read.

use std::time::Duration;

use kube::{Client, Config};

/// Longest time in which a connection to the API server brings nothing while a request waits. Ordinary requests have shorter
/// deadlines of their own; this one bounds a watch whose answer never begins. A watch brings at least its end after 30 s, and
/// kube gives it 5 s more.
const SILENCE: Duration = Duration::from_secs(40);

/// Variables of the environment that name a proxy.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// A proxy variable that clients would ignore in silence. Its value is not shown: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    /// Not a URL.
    #[error("{0} is not a proxy's URL such as http://proxy.example:3128 (its value is not shown)")]
    Url(&'static str),
    /// A scheme that is not supported.
    #[error("{0} has the scheme {1}, which is not supported; use http://, or https:// for a proxy with TLS")]
    Scheme(&'static str, String),
}

/// Why there is no client of the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Neither a kubeconfig nor the environment of a pod.
    #[error("no cluster: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration makes no client.
    #[error("the configuration of the cluster makes no client: {0}")]
    Client(#[from] kube::Error),
}

/// A client of the cluster that KUBECONFIG or the pod's service account names.
pub async fn client() -> Result<Client, ClusterError> {
    Ok(Client::try_from(config().await?)?)
}

/// The configuration of [`client`].
pub async fn config() -> Result<Config, ClusterError> {
    let mut config = Config::infer().await?;
    // The callers retry: they know the cause of a failure and their own deadline.
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    // Counts from the request, not from when the connection became idle.
    config.reset_reader_on_write = true;
    Ok(config)
}

/// Refuses proxy variables that no client can use. The cloud's client would go past such a proxy without a word.
pub fn check_proxies(variable: impl Fn(&str) -> Option<String>) -> Result<(), InvalidProxy> {
    for name in VARIABLES {
        if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
            check_proxy(name, &value)?;
        }
    }
    Ok(())
}

fn check_proxy(name: &'static str, value: &str) -> Result<(), InvalidProxy> {
    let uri: http::Uri = value.parse().map_err(|_| InvalidProxy::Url(name))?;
    // A password with a slash makes a URL with an odd port.
    let host = uri.authority().and_then(|host| reqwest::Url::parse(&format!("http://{host}")).ok());
    if host.is_none() {
        return Err(InvalidProxy::Url(name));
    }
    match uri.scheme_str() {
        // Without a scheme it is http.
        None | Some("http" | "https") => Ok(()),
        Some(scheme) => Err(InvalidProxy::Scheme(name, scheme.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_no_client_can_use_is_refused_without_its_password() {
        for good in ["", "http://proxy:3128", "https://u:p@proxy", "proxy:3128", "u:p@proxy:3128"] {
            assert_eq!(
                check_proxies(|name| (name == "HTTPS_PROXY").then(|| good.to_owned())),
                Ok(()),
                "{good}"
            );
        }
        let table = [
            ("socks5://u:secret@proxy:1080", "the scheme socks5"),
            ("ftp://u:secret@proxy", "the scheme ftp"),
            ("htttp://u:secret@proxy", "the scheme htttp"),
            ("http://u:secret word@proxy", "not a proxy's URL"),
            ("http://u:sec/ret@proxy:3128:1", "not a proxy's URL"),
            ("/secret", "not a proxy's URL"),
        ];
        for name in VARIABLES {
            for (value, expected) in table {
                let asked = |asked: &str| (asked == name).then(|| value.to_owned());
                let message = check_proxies(asked).unwrap_err().to_string();
                assert!(message.starts_with(name) && message.contains(expected), "{value}: {message}");
                assert!(!message.contains("secret"), "{message}");
            }
        }
    }
}
