//! Names of hosts: the Pods ask the DNS that the kubelet gives them, with its search domains and its `ndots:5`.

use std::net::IpAddr;

use fake_dns::{Answer, Family};
use harness::{condition, until};
use serde_json::{Value, json};

use crate::cluster::{Cluster, FLEET};

/// First labels of host names below `cloud.test`, with the answer of DNS for the address family that the node does not have.
/// Each has a region of the same name.
static OTHER_FAMILY: [(&str, Answer); 5] = [
    ("nodata", Answer::Addresses(Vec::new())),
    ("nxdomain", Answer::NoSuchName),
    ("servfail", Answer::Failure),
    ("refused", Answer::Refused),
    ("silent", Answer::Silence),
];
/// A region whose host does not exist, and one that DNS can't tell anything about.
const MISSING: &str = "missing";
const BROKEN: &str = "broken";
/// The region of all other tests.
pub const REGION: &str = "nodata-1";

/// The answer of DNS on a node with this address.
pub fn answer(node: IpAddr, name: &str, family: Family) -> Answer {
    let own = if node.is_ipv4() { Family::V4 } else { Family::V6 };
    let Some(kind) = name.strip_suffix(".cloud.test") else {
        // The search domain that the machine adds fails; the cluster's own ones don't.
        return if name.ends_with(".failing.test") { Answer::Failure } else { Answer::NoSuchName };
    };
    if kind == BROKEN {
        return Answer::Failure;
    }
    match OTHER_FAMILY.iter().find(|(other, _)| *other == kind) {
        Some(_) if family == own => Answer::Addresses(vec![node]),
        Some((_, other)) => other.clone(),
        None => Answer::NoSuchName,
    }
}

fn kinds() -> impl Iterator<Item = &'static str> {
    OTHER_FAMILY.iter().map(|(kind, _)| *kind).chain([MISSING, BROKEN])
}

fn endpoint(kind: &str, port: u16) -> (String, String) {
    (format!("{kind}-1"), format!("http://{kind}.cloud.test:{port}"))
}

/// Flags that name the cloud of each region.
pub fn flags(port: u16) -> Vec<String> {
    let endpoints = kinds().map(|kind| endpoint(kind, port));
    let mut flags: Vec<String> =
        endpoints.map(|(region, url)| format!("--endpoint={region}={url}")).collect();
    flags.push(format!("--endpoint=ap-southeast-3={}", endpoint("nodata", port).1));
    flags.push("--allow-insecure-endpoint".to_owned());
    flags
}

/// The same as values of the chart.
pub fn values(port: u16) -> Value {
    let endpoints: serde_json::Map<String, Value> =
        kinds().map(|kind| endpoint(kind, port)).map(|(region, url)| (region, url.into())).collect();
    json!({"flags": {"endpoint": endpoints, "allowInsecureEndpoint": true}})
}

pub fn every_answer(cluster: &mut Cluster) {
    let objects: Vec<_> =
        OTHER_FAMILY.iter().map(|(kind, _)| cluster.deletion(&format!("{kind}-1"), 3)).collect();
    let (missing, _) = cluster.deletion(&format!("{MISSING}-1"), 1);
    let (broken, _) = cluster.deletion(&format!("{BROKEN}-1"), 1);
    for (name, ids) in &objects {
        cluster.assert_deleted_once(name, ids);
    }
    for (name, expected, says) in [
        (&missing, "EndpointMisconfigured", "no host has the name missing.cloud.test"),
        (&broken, "CloudUnreachable", "DNS does not resolve broken.cloud.test"),
    ] {
        let message = until("the reason is told", || {
            let (_, reason, message) = condition(&cluster.object(name), "Ready");
            (reason == expected).then_some(message)
        });
        assert!(message.contains(says), "{message}");
        cluster.k(&["delete", "idel", name, "-n", FLEET, "--wait=false"]);
    }
    // The search domains of the cluster were there, and none of them was asked for a name that DNS knows.
    let asked = cluster.dns.asked();
    let searched =
        |host: &str| asked.iter().any(|(name, _)| name.starts_with(host) && name.ends_with("failing.test"));
    assert!(searched("missing.cloud.test"), "the search domain that fails: {asked:?}");
    assert!(OTHER_FAMILY.iter().all(|(kind, _)| !searched(&format!("{kind}.cloud.test"))), "{asked:?}");
}
