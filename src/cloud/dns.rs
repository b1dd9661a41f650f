//! Resolves host names, and tells a name that does not exist from a resolver that fails.

use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The host name does not exist. Trying again does not help until someone corrects the name or the DNS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no host has the name {0}")]
pub struct NoSuchHost(pub String);

/// The resolver of the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The client fills in the port.
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(addresses) => Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs),
                Err(error) if does_not_exist(&error) => Err(NoSuchHost(name.as_str().to_owned()).into()),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// What `getaddrinfo` says of a name that does not exist, or has no address (`gai_strerror` of glibc and of musl). The standard
/// library keeps the text alone. A resolver that fails says something else: `Temporary failure in name resolution`, `Try again`.
const NO_NAME: [&str; 5] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
    "Name has no address",
];

fn does_not_exist(error: &io::Error) -> bool {
    let text = error.to_string();
    NO_NAME.iter().any(|says| text.contains(says))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_that_fails_is_not_a_name_that_does_not_exist() {
        let table = [
            ("failed to lookup address information: Name or service not known", true),
            ("failed to lookup address information: No address associated with hostname", true),
            ("failed to lookup address information: Name does not resolve", true),
            ("failed to lookup address information: Temporary failure in name resolution", false),
            ("failed to lookup address information: Try again", false),
            ("failed to lookup address information: Non-recoverable failure in name resolution", false),
        ];
        for (text, expected) in table {
            assert_eq!(does_not_exist(&io::Error::other(text)), expected, "{text}");
        }
    }
}
