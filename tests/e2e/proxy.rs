//! HTTPS_PROXY and NO_PROXY between the controller and the cloud.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use harness::{Controller, Manifest, Stage, TOKEN, condition};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    cloud_front::Front,
    support::{assert_succeeded, binary, each_once, instances, stage},
    tls::{authority, server},
};

/// A host name that no resolver knows: only the proxy can connect to it.
const HOST: &str = "clouddc.example:8443";

/// A proxy that knows CONNECT only, and connects everyone to one address.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Connects each client to `place`. Without a place it refuses.
    async fn start(place: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, place, seen.clone()));
            }
        });
        Self { address, heads, task }
    }

    /// The hosts that clients asked for, in order.
    fn asked(&self) -> Vec<String> {
        let place = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.heads.lock().unwrap().iter().map(place).collect()
    }

    /// Everything that clients sent before TLS.
    fn heard(&self) -> String {
        self.heads.lock().unwrap().concat()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(mut client: TcpStream, place: Option<SocketAddr>, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    let Some(place) = place else {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        let _ = client.write_all(refusal).await;
        return;
    };
    let Ok(mut cloud) = TcpStream::connect(place).await else { return };
    if client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut cloud).await;
    }
}

/// A controller whose cloud has TLS and is at `place`, and whose environment names the proxy.
fn controller(stage: &Stage, place: &str, roots: &str, environment: &[(&str, &str)]) -> Controller {
    let file = stage.control_plane.folder().join(format!("{}-roots.pem", stage.namespace));
    std::fs::write(&file, roots).unwrap();
    let mut flags = stage.quick_flags();
    flags.extend(["--endpoint".to_owned(), format!("cloud=https://{place}")]);
    flags.extend(["--ca-file".to_owned(), file.display().to_string()]);
    let folder = stage.control_plane.folder();
    Controller::start_in(environment, binary(), stage.kubeconfig(), folder, &flags).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_proxy_leads_to_the_cloud_and_hears_nothing_but_where_to() {
    let stage = stage("proxied").await;
    let known = authority("known");
    let front = Front::tls(&stage, server(&known, "clouddc.example", 2120)).await;
    let proxy = Proxy::start(Some(front.address)).await;
    let url = format!("http://{}", proxy.address);
    // The API server is at an address that NO_PROXY names.
    let environment = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "127.0.0.1")];
    let _controller = controller(&stage, HOST, &known.pem, &environment);
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids).with("region", "cloud")).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 60);
    each_once(&stage.calls(), &ids);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|place| place == HOST), "{asked:?}");
    assert!(asked.len() <= front.requests() && front.requests() >= 3, "{asked:?}");
    assert!(!proxy.heard().contains(TOKEN) && !proxy.heard().contains("/v1/"), "{}", proxy.heard());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_goes_past_it() {
    let stage = stage("notproxied").await;
    let known = authority("known");
    let front = Front::tls(&stage, server(&known, "127.0.0.1", 2120)).await;
    let proxy = Proxy::start(Some(front.address)).await;
    let url = format!("http://{}", proxy.address);
    let place = front.address.to_string();
    let environment = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "elsewhere.example,127.0.0.1")];
    let _controller = controller(&stage, &place, &known.pem, &environment);
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids).with("region", "cloud")).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 60);
    each_once(&stage.calls(), &ids);
    assert!(proxy.asked().is_empty() && front.requests() >= 3, "{:?}", proxy.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_a_proxy_that_refuses_is_said_without_its_password_and_nothing_is_sent() {
    let stage = stage("proxyrefuses").await;
    let known = authority("known");
    let proxy = Proxy::start(None).await;
    let url = format!("http://somebody:proxy-password@{}", proxy.address);
    let environment = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "127.0.0.1")];
    let controller = controller(&stage, HOST, &known.pem, &environment);
    let ids = instances(&stage, 3);
    stage.apply(&Manifest::new("retire", &ids).with("region", "cloud")).unwrap();
    let object = stage.wait_reason("retire", "CloudUnreachable");
    let message = condition(&object, "Ready").2;
    assert!(message.contains("proxy"), "{message}");
    assert!(proxy.asked().iter().all(|place| place == HOST) && stage.cloud.log().is_empty());
    // In base64 the password is in the request to the proxy, and nowhere else.
    assert!(proxy.heard().to_lowercase().contains("proxy-authorization: basic "), "{}", proxy.heard());
    let events = stage.kubectl(&["get", "events", "-o", "json"]).unwrap();
    for told in [controller.log(), events, object.to_string()] {
        assert!(!told.contains("proxy-password") && !told.contains("c29tZWJvZHk6"), "{told}");
    }
}
