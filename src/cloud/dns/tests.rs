//! Against a DNS server that answers as each row says.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use fake_dns::{Answer as Said, FakeDns, Family};
use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};

use super::*;

const HOST: &str = "clouddc.test-1.example";
const V4: &str = "192.0.2.7";
const V6: &str = "2001:db8::7";

fn addresses(text: &str) -> Said {
    Said::Addresses(vec![text.parse().unwrap()])
}

fn nodata() -> Said {
    Said::Addresses(Vec::new())
}

fn server(decide: impl Fn(&str, Family) -> Said + Send + Sync + 'static) -> FakeDns {
    FakeDns::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), decide).unwrap()
}

/// A resolver that asks this server, with these search domains and the `ndots` of Kubernetes.
fn resolver(server: &FakeDns, search: &[&str]) -> Resolver {
    let mut udp = ConnectionConfig::new(ProtocolConfig::Udp);
    udp.port = server.address().port();
    let server = NameServerConfig::new(server.address().ip(), true, vec![udp]);
    let search = search.iter().map(|domain| domain.parse().unwrap()).collect();
    let mut options = ResolverOpts::default();
    (options.ndots, options.timeout, options.attempts) = (5, Duration::from_millis(400), 1);
    Resolver::new(ResolverConfig::from_parts(None, search, vec![server]), options).unwrap()
}

/// Resolves a host to its addresses, `missing` or `failed`.
async fn resolved(resolver: &Resolver, host: &str) -> String {
    match resolver.addresses(host).await {
        Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(error) if error.is::<NoSuchHost>() => "missing".to_owned(),
        Err(error) => {
            assert!(error.to_string().contains(host), "{error}");
            "failed".to_owned()
        }
    }
}

#[tokio::test]
async fn one_family_with_addresses_is_enough_whatever_is_said_of_the_other() {
    let others = [nodata(), Said::NoSuchName, Said::Failure, Said::Refused, Said::Silence];
    for other in others {
        let said = other.clone();
        let dns = server(move |_, family| if family == Family::V4 { addresses(V4) } else { said.clone() });
        assert_eq!(resolved(&resolver(&dns, &[]), HOST).await, V4, "AAAA: {other:?}");
        let said = other.clone();
        let dns = server(move |_, family| if family == Family::V6 { addresses(V6) } else { said.clone() });
        assert_eq!(resolved(&resolver(&dns, &[]), HOST).await, V6, "A: {other:?}");
    }
    let dns = server(|_, family| addresses(if family == Family::V4 { V4 } else { V6 }));
    assert_eq!(resolved(&resolver(&dns, &[]), HOST).await, format!("{V4} {V6}"));
}

#[tokio::test]
async fn a_name_is_missing_only_if_both_families_say_so() {
    let table = [
        (Said::NoSuchName, Said::NoSuchName, "missing"),
        (nodata(), nodata(), "missing"),
        (nodata(), Said::NoSuchName, "missing"),
        (Said::NoSuchName, Said::Failure, "failed"),
        (Said::Failure, nodata(), "failed"),
        (Said::Refused, Said::Refused, "failed"),
        (Said::Silence, Said::NoSuchName, "failed"),
        (Said::Silence, Said::Silence, "failed"),
    ];
    for (v4, v6, expected) in table {
        let (of_v4, of_v6) = (v4.clone(), v6.clone());
        let dns = server(move |_, family| if family == Family::V4 { of_v4.clone() } else { of_v6.clone() });
        assert_eq!(resolved(&resolver(&dns, &[]), HOST).await, expected, "A {v4:?}, AAAA {v6:?}");
    }
}

#[tokio::test]
async fn a_search_domain_that_fails_does_not_hide_a_whole_name() {
    for bad in [Said::Failure, Said::Refused, Said::Silence, Said::NoSuchName] {
        let said = bad.clone();
        let dns = server(move |name, _| if name == HOST { addresses(V4) } else { said.clone() });
        let search = ["fleet.svc.cluster.local", "svc.cluster.local", "corp.example"];
        assert_eq!(resolved(&resolver(&dns, &search), HOST).await, V4, "{bad:?}");
        assert!(dns.asked().iter().all(|(name, _)| name == HOST), "{:?}", dns.asked());
    }
}

#[tokio::test]
async fn a_search_domain_that_fails_hides_only_a_host_without_a_dot() {
    let dns = server(|name, _| if name.ends_with("corp.example") { Said::Failure } else { Said::NoSuchName });
    let resolver = resolver(&dns, &["fleet.svc.cluster.local", "corp.example"]);
    assert_eq!(resolved(&resolver, HOST).await, "missing");
    assert_eq!(resolved(&resolver, "proxy").await, "failed");
}

#[tokio::test]
async fn a_search_domain_completes_the_name_of_a_service_even_if_the_name_alone_fails() {
    for bad in [Said::NoSuchName, Said::Failure, Said::Refused] {
        let said = bad.clone();
        let whole = "proxy.tools.svc.cluster.local";
        let dns = server(move |name, _| if name == whole { addresses(V4) } else { said.clone() });
        let resolver = resolver(&dns, &["fleet.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        for host in ["proxy.tools", "proxy.tools.svc"] {
            assert_eq!(resolved(&resolver, host).await, V4, "{host}: {bad:?}");
        }
    }
}

#[tokio::test]
async fn addresses_do_not_wait_long_for_a_family_that_is_never_answered() {
    let dns = server(|_, family| if family == Family::V4 { addresses(V4) } else { Said::Silence });
    let mut resolver = resolver(&dns, &[]);
    let mut options = resolver.dns.options().clone();
    options.timeout = Duration::from_mins(1);
    let mut udp = ConnectionConfig::new(ProtocolConfig::Udp);
    udp.port = dns.address().port();
    let server = NameServerConfig::new(dns.address().ip(), true, vec![udp]);
    resolver = Resolver::new(ResolverConfig::from_name_servers(vec![server]), options).unwrap();
    let began = Instant::now();
    assert_eq!(resolved(&resolver, HOST).await, V4);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_host_with_a_dot_is_asked_for_as_it_is_first() {
    let search: Vec<Name> = ["fleet.svc", "corp.example."].map(|domain| domain.parse().unwrap()).to_vec();
    let table: [(&str, &[&str]); 5] = [
        ("a.example", &["a.example.", "a.example.fleet.svc.", "a.example.corp.example."]),
        ("a.example.", &["a.example."]),
        ("proxy", &["proxy.fleet.svc.", "proxy.corp.example.", "proxy."]),
        (
            "under_score.example",
            &["under_score.example.", "under_score.example.fleet.svc.", "under_score.example.corp.example."],
        ),
        ("a..b", &[]),
    ];
    for (host, expected) in table {
        let candidates = candidates(host, &search);
        let names: Vec<String> = candidates.iter().map(|candidate| candidate.name.to_string()).collect();
        assert_eq!(names, expected, "{host}");
    }
}

#[tokio::test]
async fn the_configuration_is_read_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    assert!(Resolver::of(&file).is_ok(), "a machine without the file");
    std::fs::write(
        &file,
        "search fleet.svc.cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n",
    )
    .unwrap();
    let read = Resolver::of(&file).unwrap();
    assert_eq!(read.search.len(), 2);
    for text in ["", "search corp.example\n"] {
        std::fs::write(&file, text).unwrap();
        let Err(error) = Resolver::of(&file) else { panic!("{text:?}") };
        assert!(error.to_string().starts_with("/etc/resolv.conf can't be used: "), "{error}");
    }
}
