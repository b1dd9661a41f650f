//! One authority, a certificate for each program, and their kubeconfigs.

use std::{fs, net::IpAddr, path::Path};

use control_plane::Error;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::Network;

/// Programs that log in with a kubeconfig: its name, and the user and group that the API server knows.
const CLIENTS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node", "system:nodes"),
    ("proxy", "system:kube-proxy", ""),
];
/// Names under which Pods may call the API server.
const SERVICE_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// Writes everything into this folder, and the key that signs tokens of ServiceAccounts.
pub(crate) fn write(folder: &Path, network: &Network) -> Result<(), Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "node");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key)?;
    put(folder, "ca.crt", &certificate.pem())?;
    put(folder, "ca.key", &key.serialize_pem())?;
    let authority = Issuer::new(params, key);
    let tokens = KeyPair::generate()?;
    put(folder, "tokens.key", &tokens.serialize_pem())?;
    put(folder, "tokens.pub", &tokens.public_key_pem())?;
    let issue = |name: &str, (user, group): (&str, &str), usage, addresses: &[IpAddr], names: &[&str]| {
        issue(folder, &authority, name, (user, group), usage, addresses, names)
    };
    let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
    issue(
        "apiserver",
        ("kube-apiserver", ""),
        server.clone(),
        &[network.node, network.service],
        &SERVICE_NAMES,
    )?;
    issue("kubelet-server", ("system:node:node", "system:nodes"), server, &[network.node], &["node"])?;
    issue("apiserver-kubelet-client", ("apiserver-kubelet-client", ""), client.clone(), &[], &[])?;
    for (name, user, group) in CLIENTS {
        issue(name, (user, group), client.clone(), &[], &[])?;
        put(folder, &format!("{name}.kubeconfig"), &kubeconfig(folder, name, network))?;
    }
    Ok(())
}

fn issue(
    folder: &Path,
    authority: &Issuer<'_, KeyPair>,
    name: &str,
    (user, group): (&str, &str),
    usage: ExtendedKeyUsagePurpose,
    addresses: &[IpAddr],
    names: &[&str],
) -> Result<(), Error> {
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, user);
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, authority)?;
    put(folder, &format!("{name}.crt"), &certificate.pem())?;
    put(folder, &format!("{name}.key"), &key.serialize_pem())
}

fn kubeconfig(folder: &Path, name: &str, network: &Network) -> String {
    let file = |name: String| folder.join(name).display().to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "node", "cluster": {
            "server": network.api_server(), "certificate-authority": file("ca.crt".to_owned()),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": file(format!("{name}.crt")), "client-key": file(format!("{name}.key")),
        }}],
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": name}}],
        "current-context": "node",
    })
    .to_string()
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    fs::write(folder.join(name), text).map_err(Error::io(format!("writing {name}")))
}
