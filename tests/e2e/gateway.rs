//! A connection to the API server on which the answer to the write of an intent can be held.
//!
//! `kubectl proxy` speaks TLS to the API server as the controller's ServiceAccount; this speaks HTTP to the controller, and
//! sees what passes.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use control_plane::Supervised;
use harness::Stage;

#[derive(Clone, Copy, PartialEq)]
enum Hold {
    Armed,
    Holding,
    Released,
}

type State = Arc<(Mutex<Hold>, Condvar)>;

/// Holds the answer to the first PUT whose body says `Submitted`, until it is released.
pub struct Gateway {
    pub kubeconfig: PathBuf,
    state: State,
    _proxy: Supervised,
}

impl Gateway {
    pub fn start(stage: &Stage) -> Self {
        let folder = stage.control_plane.folder();
        let mut proxy = Command::new(stage.control_plane.kubectl_path());
        proxy.args(["proxy", "--port=0"]).env("KUBECONFIG", stage.kubeconfig()).env("HOME", folder);
        let mut proxy =
            Supervised::spawn(proxy, &folder.join(format!("proxy-{}.log", stage.namespace))).unwrap();
        let upstream = proxy.wait_line(Duration::from_mins(1), |line| {
            line.strip_prefix("Starting to serve on ").map(str::to_owned)
        });
        let upstream = upstream.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state: State = Arc::new((Mutex::new(Hold::Armed), Condvar::new()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&upstream).unwrap();
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (shared.clone(), shared.clone());
                let mine = Arc::new(Mutex::new(false));
                let held = mine.clone();
                std::thread::spawn(move || upwards(from_client, to_server, &up, &mine));
                std::thread::spawn(move || downwards(server, client, &down, &held));
            }
        });
        let kubeconfig = folder.join(format!("gateway-{}.kubeconfig", stage.namespace));
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { kubeconfig, state, _proxy: proxy }
    }

    /// Whether an answer is being held.
    pub fn holds(&self) -> bool {
        *self.state.0.lock().unwrap() == Hold::Holding
    }

    pub fn release(&self) {
        *self.state.0.lock().unwrap() = Hold::Released;
        self.state.1.notify_all();
    }
}

fn upwards(mut client: TcpStream, mut server: TcpStream, state: &State, mine: &Mutex<bool>) {
    let (mut bytes, mut request) = ([0; 16384], Vec::new());
    while let Ok(n @ 1..) = client.read(&mut bytes) {
        if bytes.starts_with(b"PUT ") || bytes.starts_with(b"GET ") || bytes.starts_with(b"POST ") {
            request.clear();
        }
        request.extend_from_slice(&bytes[..n]);
        let text = String::from_utf8_lossy(&request);
        let armed = *state.0.lock().unwrap() == Hold::Armed;
        if armed && text.starts_with("PUT ") && text.contains("\"Submitted\"") {
            *mine.lock().unwrap() = true;
        }
        if server.write_all(&bytes[..n]).is_err() {
            return;
        }
    }
}

fn downwards(mut server: TcpStream, mut client: TcpStream, state: &State, mine: &Mutex<bool>) {
    let mut bytes = [0; 16384];
    while let Ok(n @ 1..) = server.read(&mut bytes) {
        if *mine.lock().unwrap() {
            let mut hold = state.0.lock().unwrap();
            if *hold == Hold::Armed {
                *hold = Hold::Holding;
            }
            while *hold == Hold::Holding {
                hold = state.1.wait(hold).unwrap();
            }
        }
        if client.write_all(&bytes[..n]).is_err() {
            return;
        }
    }
}
