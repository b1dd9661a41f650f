//! Resolves host names by DNS, as `/etc/resolv.conf` and `/etc/hosts` say, and tells a name that does not exist from a DNS that
//! fails.
//!
//! The C library of a static binary can't do that on many clusters: it takes a name for missing if one of the two questions for
//! its addresses is refused, and fails if one search domain does. See `docs/decisions/2026-11-30-resolver.md`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    pin::pin,
    time::Duration,
};

use futures::future::{Either, select};
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RecordType},
    system_conf::parse_resolv_conf,
};
use reqwest::dns::{Addrs, Resolve, Resolving};
use tokio::{task::spawn_blocking, time::timeout};

/// The file that names the DNS servers. The kubelet writes it into each container.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Bound on resolving a name. With the default flags it is below the bound on connecting, so the error names DNS.
const LIMIT: Duration = Duration::from_secs(8);
/// How long addresses of one family wait for those of the other. Some networks never answer the question for AAAA.
const OTHER_FAMILY: Duration = Duration::from_secs(2);

/// The host name does not exist. Trying again does not help until someone corrects the name or the DNS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no host has the name {0}")]
pub struct NoSuchHost(pub String);

/// DNS did not tell whether the name exists. A later try may find out.
#[derive(Debug, thiserror::Error)]
enum Unresolved {
    #[error("{RESOLV_CONF} can't be used: {0}")]
    Configuration(String),
    #[error("DNS does not resolve {name}: {why}")]
    Failed { name: String, why: NetError },
    #[error("DNS did not resolve {name} within {} s", LIMIT.as_secs())]
    Silent { name: String },
}

/// Resolves as `/etc/resolv.conf` and `/etc/hosts` say when a name is asked for. Nothing is kept: connections are few, since each
/// serves many requests.
#[derive(Clone, Copy, Debug)]
pub struct Dns;

impl Resolve for Dns {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let addresses = async {
                // On a thread of its own: it reads files.
                match spawn_blocking(|| Resolver::of(Path::new(RESOLV_CONF))).await {
                    Ok(resolver) => resolver?.addresses(&name).await,
                    Err(panicked) => Err(Unresolved::Configuration(panicked.to_string()).into()),
                }
            };
            let found = timeout(LIMIT, addresses).await;
            let addresses =
                found.unwrap_or_else(|_| Err(Unresolved::Silent { name: name.clone() }.into()))?;
            // The client fills in the port.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The resolver for one name.
struct Resolver {
    dns: TokioResolver,
    search: Vec<Name>,
}

/// The answer of DNS about one name, for one family or for both.
enum Answer {
    Addresses(Vec<IpAddr>),
    /// There is no such name, or it has no such address.
    None,
    Failed(NetError),
}

impl Resolver {
    /// As this file says. Where there is none, a DNS on this machine is asked, as the C libraries do.
    fn of(resolv_conf: &Path) -> Result<Self, Error> {
        let unusable = |why: &dyn std::fmt::Display| Unresolved::Configuration(why.to_string());
        let (config, options) = match std::fs::read(resolv_conf) {
            Ok(text) => parse_resolv_conf(text).map_err(|error| unusable(&error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                (ResolverConfig::from_name_servers(vec![here]), ResolverOpts::default())
            }
            Err(error) => return Err(unusable(&error).into()),
        };
        Self::new(config, options)
    }

    fn new(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, Error> {
        options.use_hosts_file = ResolveHosts::Always;
        options.cache_size = 0;
        let search = config.search().to_vec();
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let dns = builder.with_options(options).build()?;
        Ok(Self { dns, search })
    }

    /// The addresses of a host, IPv4 first.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        let mut failed = None;
        for Candidate { name, decides } in candidates(host, &self.search) {
            match self.both_families(name).await {
                Answer::Addresses(addresses) => return Ok(addresses),
                Answer::Failed(why) if decides => failed = failed.or(Some(why)),
                Answer::Failed(_) | Answer::None => {}
            }
        }
        match failed {
            Some(why) => Err(Unresolved::Failed { name: host.to_owned(), why }.into()),
            None => Err(NoSuchHost(host.to_owned()).into()),
        }
    }

    /// Asks for both at the same time. Once one has addresses the other is not waited for long.
    async fn both_families(&self, name: Name) -> Answer {
        let (v4, v6) = (
            pin!(self.one_family(name.clone(), RecordType::A)),
            pin!(self.one_family(name, RecordType::AAAA)),
        );
        let (v4, v6) = match select(v4, v6).await {
            Either::Left((v4, v6)) if matches!(v4, Answer::Addresses(_)) => (v4, soon(v6).await),
            Either::Right((v6, v4)) if matches!(v6, Answer::Addresses(_)) => (soon(v4).await, v6),
            Either::Left((v4, v6)) => (v4, v6.await),
            Either::Right((v6, v4)) => (v4.await, v6),
        };
        v4.or(v6)
    }

    async fn one_family(&self, name: Name, family: RecordType) -> Answer {
        match self.dns.lookup(name, family).await {
            Ok(found) => match found.answers().iter().filter_map(|record| record.data.ip_addr()).collect() {
                addresses if Vec::is_empty(&addresses) => Answer::None,
                addresses => Answer::Addresses(addresses),
            },
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Answer::None,
            Err(error) => Answer::Failed(error),
        }
    }
}

async fn soon(answer: impl Future<Output = Answer>) -> Answer {
    timeout(OTHER_FAMILY, answer).await.unwrap_or(Answer::Failed(NetError::Timeout))
}

impl Answer {
    /// Both together. One family with addresses is enough, whatever was said of the other. A name is missing only if both say so.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Addresses(mut one), Self::Addresses(more)) => {
                one.extend(more);
                Self::Addresses(one)
            }
            (Self::Addresses(one), _) | (_, Self::Addresses(one)) => Self::Addresses(one),
            (Self::Failed(why), _) | (_, Self::Failed(why)) => Self::Failed(why),
            (Self::None, Self::None) => Self::None,
        }
    }
}

/// A name to ask for.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    name: Name,
    /// Whether the host may exist if DNS fails to answer for this name.
    decides: bool,
}

/// The names to ask for, in this order.
///
/// A host with a dot is asked for as it is before any search domain is added, whatever `ndots` says: the cloud's names are whole,
/// and Kubernetes' `ndots:5` would ask for them in every search domain of the cluster first. What DNS says of it as it is
/// decides whether it exists: a search domain that fails says nothing about it.
fn candidates(host: &str, search: &[Name]) -> Vec<Candidate> {
    // A host that is no name is one that does not exist.
    let Ok(name) = Name::from_str_relaxed(host) else { return Vec::new() };
    let as_it_is = |decides| {
        let mut name = name.clone();
        name.set_fqdn(true);
        Candidate { name, decides }
    };
    if name.is_fqdn() {
        return vec![as_it_is(true)];
    }
    let dotted = name.num_labels() > 1;
    // One that becomes too long with its domain is left out.
    let searched = search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
    let searched = searched.map(|mut name| {
        name.set_fqdn(true);
        Candidate { name, decides: !dotted }
    });
    if dotted {
        std::iter::once(as_it_is(true)).chain(searched).collect()
    } else {
        searched.chain(std::iter::once(as_it_is(true))).collect()
    }
}

#[cfg(test)]
mod tests;
