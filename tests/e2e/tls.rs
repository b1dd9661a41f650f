//! TLS between the controller and the cloud: with a wrong certificate the controller sends nothing and says why.

use std::time::Duration;

use clouddc_simulator::{Fault, Operation, Stage as Moment};
use harness::{Controller, Manifest, condition};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    cloud_front::Front,
    support::{
        assert_succeeded, binary, count, each_once, instances, named, no_attempt_beyond_the_first, stage,
    },
};

/// A certificate authority.
pub struct Authority {
    /// Its own certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Makes an authority with this name.
pub fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// The configuration of a server with a certificate for this name that expires in this year.
pub fn server(authority: &Authority, name: &str, ends: i32) -> rustls::ServerConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(ends, 1, 1);
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = rustls::ServerConfig::builder().with_no_client_auth();
    builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn c25_a_certificate_that_is_not_right_is_said_and_nothing_is_sent() {
    let stage = stage("tls").await;
    let (known, unknown) = (authority("known"), authority("unknown"));
    let roots = stage.control_plane.folder().join(format!("{}-roots.pem", stage.namespace));
    std::fs::write(&roots, &known.pem).unwrap();
    let table = [
        ("expired", server(&known, "127.0.0.1", 2021), "expired"),
        ("othername", server(&known, "clouddc.example", 2120), "not valid for"),
        ("stranger", server(&unknown, "127.0.0.1", 2120), "UnknownIssuer"),
    ];
    let right = Front::tls(&stage, server(&known, "127.0.0.1", 2120)).await;
    let mut flags = stage.quick_flags();
    let mut endpoint = |region: &str, front: &Front| {
        flags.extend(["--endpoint".to_owned(), format!("{region}=https://{}", front.address)]);
    };
    let mut fronts = Vec::new();
    for (region, config, expected) in table {
        let front = Front::tls(&stage, config).await;
        endpoint(region, &front);
        fronts.push((region, front, expected));
    }
    endpoint("right", &right);
    flags.extend(["--ca-file".to_owned(), roots.display().to_string()]);
    let folder = stage.control_plane.folder();
    let controller = Controller::start(binary(), stage.kubeconfig(), folder, &flags).unwrap();
    for (region, front, expected) in &fronts {
        stage.apply(&Manifest::new(region, &instances(&stage, 1)).with("region", *region)).unwrap();
        let object = stage.wait_reason(region, "CloudUnreachable");
        let message = condition(&object, "Ready").2;
        assert!(message.contains("certificate") && message.contains(expected), "{region}: {message}");
        assert_eq!(front.requests(), 0);
    }
    assert!(stage.cloud.log().is_empty(), "nothing reached the cloud");
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids).with("region", "right")).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 60);
    each_once(&stage.calls(), &ids);
    assert!(fronts.iter().all(|(_, front, _)| front.requests() == 0), "never in the clear");
    assert!(!controller.log().contains(harness::TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn c25_a_ca_file_that_changes_is_read_again() {
    let stage = stage("tlsrotated").await;
    let (before, after) = (authority("before"), authority("after"));
    let roots = stage.control_plane.folder().join(format!("{}-roots.pem", stage.namespace));
    std::fs::write(&roots, &before.pem).unwrap();
    let front = Front::tls(&stage, server(&after, "127.0.0.1", 2120)).await;
    let endpoint = format!("ap-southeast-3=https://{}", front.address);
    let controller =
        stage.controller(&["--endpoint", &endpoint, "--ca-file", &roots.display().to_string()]).unwrap();
    let ids = instances(&stage, 3);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait_reason("retire", "CloudUnreachable");
    // As the kubelet does it: a new file in place of the old one.
    let new = roots.with_extension("new");
    std::fs::write(&new, &after.pem).unwrap();
    std::fs::rename(&new, &roots).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 3);
    each_once(&stage.calls(), &ids);
    assert!(controller.log().contains("--ca-file has changed"), "{}", controller.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn c25_a_certificate_that_is_no_longer_right_at_the_call_keeps_it_from_being_sent() {
    let stage = stage("tlscall").await;
    let (known, unknown) = (authority("known"), authority("unknown"));
    let roots = stage.control_plane.folder().join(format!("{}-roots.pem", stage.namespace));
    std::fs::write(&roots, &known.pem).unwrap();
    let right = || server(&known, "127.0.0.1", 2120);
    let front = Front::tls(&stage, right()).await;
    let endpoint = format!("ap-southeast-3=https://{}", front.address);
    let _controller =
        stage.controller(&["--endpoint", &endpoint, "--ca-file", &roots.display().to_string()]).unwrap();
    for (name, config, expected) in [
        ("expired", server(&known, "127.0.0.1", 2021), "expired"),
        ("othername", server(&known, "clouddc.example", 2120), "not valid for"),
        ("stranger", server(&unknown, "127.0.0.1", 2120), "UnknownIssuer"),
    ] {
        let ids = instances(&stage, 3);
        let look = Fault::on(Operation::ListInstances).with_id(&ids[0]).times(1).hold(Moment::AfterEffect);
        let gate = stage.cloud.script(look);
        stage.apply(&Manifest::new(name, &ids)).unwrap();
        gate.wait_held(1, Duration::from_mins(1)).await.unwrap();
        front.certify(config);
        gate.release();
        let object = stage.wait_reason(name, "CloudUnreachable");
        let message = condition(&object, "Ready").2;
        assert!(message.contains("certificate") && message.contains(expected), "{name}: {message}");
        assert_eq!(object["status"]["batches"][0]["size"], 3, "the intent is there");
        assert!(count(&object, "Failed") == 0 && object["status"]["batches"][0]["returned"].is_null());
        assert!(!named(&stage.calls()).contains_key(&ids[0]), "{name}: nothing is sent");
        front.certify(right());
        let object = stage.wait_finished(name);
        assert_succeeded(&object, 3);
        no_attempt_beyond_the_first(&object);
        let calls: Vec<_> = stage.calls().into_iter().filter(|call| ids.contains(&call.ids[0])).collect();
        each_once(&calls, &ids);
    }
}
