//! A client that knows nothing but HTTP.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(unreachable_pub, reason = "a module of test programs")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

pub mod sign;

use std::time::Duration;

use clouddc_simulator::{Options, Projects, Simulator};
use serde_json::{Value, json};

pub const P: &str = "project-a";
/// Far longer than anything takes; reached only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    http: reqwest::Client,
    pub url: String,
    pub token: String,
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// Status and `error_code`.
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["error_msg"].is_string(), "{body}");
        (self.status, body["error_code"].as_str().unwrap().to_owned())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Ids of `instances`.
    pub fn ids(&self) -> Vec<String> {
        let body = self.json();
        let ids = body["instances"].as_array().unwrap().iter();
        ids.map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl Client {
    pub fn new(url: &str) -> Self {
        // An error means that another test of this program was first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, url: url.to_owned(), token: "value".to_owned() }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { http: self.http.clone(), url: self.url.clone(), token: token.to_owned() }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Reply, reqwest::Error> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, text: response.text().await? })
    }

    pub async fn try_delete(&self, ids: &[String]) -> Result<Reply, reqwest::Error> {
        self.post_delete(&json!({"instance_id_set": ids}).to_string()).await
    }

    pub async fn post_delete(&self, body: &str) -> Result<Reply, reqwest::Error> {
        let headers =
            [("X-Auth-Token", self.token.as_str()), ("Content-Type", "application/json;charset=utf-8")];
        self.send("POST", &format!("/v1/{P}/instances/batch-delete"), &headers, Some(body.to_owned())).await
    }

    pub async fn delete(&self, ids: &[String]) -> Reply {
        self.try_delete(ids).await.unwrap()
    }

    pub async fn put_power(&self, body: &str) -> Result<Reply, reqwest::Error> {
        let headers =
            [("X-Auth-Token", self.token.as_str()), ("Content-Type", "application/json;charset=utf-8")];
        let path = format!("/v1/{P}/physicalservers/power-state");
        self.send("PUT", &path, &headers, Some(body.to_owned())).await
    }

    /// ChangeServerPowerState for these servers.
    pub async fn power(&self, action: &str, servers: &[String]) -> Reply {
        self.put_power(&json!({"action": action, "server_id_set": servers}).to_string()).await.unwrap()
    }

    /// ShowServer.
    pub async fn server(&self, id: &str) -> Reply {
        self.get(&format!("/v1/{P}/physicalservers/{id}")).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[("X-Auth-Token", self.token.as_str())], None).await.unwrap()
    }

    pub async fn show(&self, id: &str) -> Reply {
        self.get(&format!("/v1/{P}/instances/{id}/status")).await
    }

    pub async fn list(&self, query: &str) -> Reply {
        self.get(&format!("/v1/{P}/instances?{query}")).await
    }

    /// To the admin interface.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let body = body.map(|body| body.to_string());
        self.send(method, path, &[("Content-Type", "application/json")], body).await.unwrap()
    }
}

pub async fn start(options: Options) -> (Simulator, Client) {
    let simulator = Simulator::start(options).await.unwrap();
    simulator.add_token("tests", "value", Projects::All);
    let client = Client::new(simulator.url());
    (simulator, client)
}

/// The servers of these instances.
pub fn servers_of(sim: &Simulator, ids: &[String]) -> Vec<String> {
    ids.iter().map(|id| sim.facts(P, id).unwrap().server.id).collect()
}

pub fn ids_query(ids: &[String]) -> String {
    format!("instance_id={}", ids.join("%2C"))
}
