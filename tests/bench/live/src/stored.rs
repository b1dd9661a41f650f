//! How often objects were written, as etcd counts.
//!
//! Not by a watch: the API server ends one that falls behind, and kubectl ends with it.

use base64::{Engine, prelude::BASE64_STANDARD};
use harness::Stage;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;

use crate::{BenchError, baseline::tls};

/// What etcd answers to a range, of its JSON gateway.
#[derive(Debug, Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Stored>,
}

/// A key.
#[derive(Debug, Deserialize)]
struct Stored {
    /// Writes since it was made, that one included. A 64-bit number, so JSON has it as text.
    version: String,
}

/// Writes in the stage's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes {
    /// Of objects, after the ones that made them.
    pub objects: usize,
    /// Of Kubernetes events: one that is told again is written again.
    pub events: usize,
}

impl Writes {
    /// Asks etcd.
    pub async fn of(stage: &Stage) -> Result<Self, BenchError> {
        tls();
        let objects = versions(stage, "clouddc.dev/instancedeletions").await?;
        let events = versions(stage, "events").await?;
        Ok(Self { objects: objects.iter().sum::<usize>() - objects.len(), events: events.iter().sum() })
    }
}

async fn versions(stage: &Stage, resource: &str) -> Result<Vec<usize>, BenchError> {
    let key = |end: char| BASE64_STANDARD.encode(format!("/registry/{resource}/{}{end}", stage.namespace));
    // All that begins with the namespace and a slash: '0' comes after '/'.
    let range = json!({"key": key('/'), "range_end": key('0'), "keys_only": true}).to_string();
    let url = format!("{}/v3/kv/range", stage.control_plane.etcd_url());
    let reply =
        Client::builder().no_proxy().build()?.post(url).body(range).send().await?.error_for_status()?;
    parse(&reply.text().await?)
}

fn parse(text: &str) -> Result<Vec<usize>, BenchError> {
    let range: Range = serde_json::from_str(text).map_err(BenchError::json("etcd's answer"))?;
    let number =
        |stored: &Stored| stored.version.parse().map_err(|_| BenchError::Version(stored.version.clone()));
    range.kvs.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let text = r#"{"header":{"revision":"4"},"kvs":[{"key":"YQ==","version":"19"},{"key":"Yg==","version":"1"}]}"#;
        assert_eq!(parse(text).unwrap(), [19, 1]);
        assert_eq!(parse(r#"{"header":{}}"#).unwrap(), [0; 0], "etcd leaves an empty list out");
        assert!(matches!(parse(r#"{"kvs":[{"version":"x"}]}"#), Err(BenchError::Version(_))));
    }
}
