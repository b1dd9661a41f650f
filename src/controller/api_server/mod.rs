//! Reads and writes of `InstanceDeletion` at the API server, each with a deadline.
//!
//! Reads are decoded by hand from text: kube's typed read logs the whole body when it can't be decoded.

pub mod events;
pub mod key;
pub mod requests;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
pub use key::Key;
use kube::{
    Client, Resource,
    api::{DeleteParams, GetParams, PostParams, Preconditions},
    core::Request,
};
pub use requests::Unavailable;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::requests::{Failure, bounded, text};
use super::metrics::{ApiCall, Requests};
use crate::{
    api::{InstanceDeletion, InstanceDeletionSpec, InstanceDeletionStatus},
    engine::object::state::spec::{HOLD, Meta, REQUESTED_AT},
    leadership::Leadership,
};

/// Characters of a request to look that are echoed: as many as the status holds.
const REQUEST: usize = 128;

/// An object as the API server holds it, read with quorum.
#[derive(Clone, Debug)]
pub struct Live {
    /// Namespace and name.
    pub key: Key,
    /// uid: what was recorded for one object never lands on another of the same name.
    pub uid: String,
    /// resourceVersion of this read.
    pub resource_version: String,
    /// Labels: whether the object is part of what this process works on.
    pub labels: BTreeMap<String, String>,
    /// What its metadata ask for.
    pub meta: Meta,
    /// creationTimestamp, in seconds since 1970.
    pub created: Option<i64>,
    /// The spec, or why it is none.
    pub spec: Result<InstanceDeletionSpec, String>,
    /// The status.
    pub status: InstanceDeletionStatus,
    /// Bytes of the object besides its status.
    pub other_bytes: usize,
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The API server did not bring it; try again later.
    #[error("the API server did not bring the object: {0}")]
    Unavailable(Unavailable),
    /// It can't be decoded even so far that its record is known. Nothing can be done for it.
    #[error("the object can't be decoded: {0}")]
    Undecodable(String),
}

/// Why a status was not written, as far as that is known.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object changed since it was read, or is another one: read it again, now.
    #[error("the object changed since it was read")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    Gone,
    /// Not written, or nobody knows: read it again, later.
    #[error("the status may not be written: {0}")]
    Unavailable(Unavailable),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    metadata: ObjectMeta,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

/// The body of a write, which borrows all of it: a status may take a megabyte.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replacement<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Precondition<'a>,
    status: &'a InstanceDeletionStatus,
}

/// The very object that is written, at the version that was read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Precondition<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    resource_version: &'a str,
}

/// The API server.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    leadership: Leadership,
    requests: Requests,
}

impl ApiServer {
    /// Talks through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, requests: Requests::default(), leadership: Leadership::always() }
    }

    /// Writes and deletes only while this process leads.
    #[must_use]
    pub fn while_leading(self, leadership: Leadership) -> Self {
        Self { leadership, ..self }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its requests, counted.
    pub(in crate::controller) fn requests(&self) -> &Requests {
        &self.requests
    }

    async fn text(&self, asked: ApiCall, request: http::Request<Vec<u8>>) -> Result<String, Failure> {
        let started = Instant::now();
        let answer = text(&self.client, request).await;
        self.requests.answered(asked, &answer, started.elapsed());
        answer
    }

    /// Reads an object with quorum; none if it is gone.
    pub async fn read(&self, key: &Key) -> Result<Option<Live>, ReadError> {
        let request = requests(&key.namespace)
            .get(&key.name, &GetParams::default())
            .map_err(|e| ReadError::Unavailable(Unavailable::new(&e)))?;
        match self.text(ApiCall::Object, request).await {
            Ok(text) => decode(key, &text).map(Some),
            Err(failure) if failure.is_gone(&key.name) => Ok(None),
            Err(failure) => Err(ReadError::Unavailable(failure.unavailable())),
        }
    }

    /// Stores a status that holds the intent of a wave. Acknowledged only if the API server stored the record as it was
    /// sent: an older definition prunes fields that it does not know, and an admission plugin may change anything.
    pub async fn write_intent(&self, read: &Live, status: &InstanceDeletionStatus) -> Result<(), WriteError> {
        let stored = self.put_status(read, status).await?;
        let stored =
            decode(&read.key, &stored).map_err(|e| WriteError::Unavailable(Unavailable::new(&e)))?.status;
        if stored.instances == status.instances && stored.batches == status.batches {
            return Ok(());
        }
        Err(WriteError::Unavailable(Unavailable::new(
            &"the API server stored another record than was sent; apply the definition of this version, and look for admission webhooks that change InstanceDeletions",
        )))
    }

    /// Stores a status by compare-and-swap: uid and resourceVersion of the read are in the body. A PUT, since a patch of
    /// `/status` ignores a wrong uid.
    pub async fn write_status(&self, read: &Live, status: &InstanceDeletionStatus) -> Result<(), WriteError> {
        self.put_status(read, status).await.map(drop)
    }

    async fn put_status(&self, read: &Live, status: &InstanceDeletionStatus) -> Result<String, WriteError> {
        let body = Replacement {
            api_version: &InstanceDeletion::api_version(&()),
            kind: &InstanceDeletion::kind(&()),
            metadata: Precondition {
                name: &read.key.name,
                namespace: &read.key.namespace,
                uid: &read.uid,
                resource_version: &read.resource_version,
            },
            status,
        };
        let body = serde_json::to_vec(&body).map_err(|e| WriteError::Unavailable(Unavailable::new(&e)))?;
        let request = requests(&read.key.namespace)
            .replace_subresource("status", &read.key.name, &PostParams::default(), body)
            .map_err(|e| WriteError::Unavailable(Unavailable::new(&e)))?;
        self.check_lead()?;
        acknowledged(&read.key, self.text(ApiCall::Status, request).await)
    }

    /// Deletes an object if it is still the one that was read, unchanged.
    pub async fn delete(&self, read: &Live) -> Result<(), WriteError> {
        let preconditions = Preconditions {
            uid: Some(read.uid.clone()),
            resource_version: Some(read.resource_version.clone()),
        };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let request = requests(&read.key.namespace)
            .delete(&read.key.name, &parameters)
            .map_err(|e| WriteError::Unavailable(Unavailable::new(&e)))?;
        self.check_lead()?;
        acknowledged(&read.key, self.text(ApiCall::Deletion, request).await).map(drop)
    }

    fn check_lead(&self) -> Result<(), WriteError> {
        if self.leadership.leads() {
            return Ok(());
        }
        Err(WriteError::Unavailable(Unavailable::new(&"this process does not hold its lease now")))
    }

    /// Reads a Secret as text; none if it does not exist.
    pub(in crate::controller) async fn read_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<String>, SecretError> {
        let path = k8s_openapi::api::core::v1::Secret::url_path(&(), Some(namespace));
        let request = Request::new(path)
            .get(name, &GetParams::default())
            .map_err(|e| SecretError::Unavailable(Unavailable::new(&e)))?;
        match self.text(ApiCall::Secret, request).await {
            Ok(text) => Ok(Some(text)),
            Err(failure) if failure.is_gone(name) => Ok(None),
            Err(Failure::Refused(status)) if status.is_forbidden() => Err(SecretError::Forbidden),
            Err(failure) => Err(SecretError::Unavailable(failure.unavailable())),
        }
    }
}

fn acknowledged(key: &Key, result: Result<String, Failure>) -> Result<String, WriteError> {
    match result {
        Ok(text) => Ok(text),
        Err(Failure::Refused(status)) if status.is_conflict() => Err(WriteError::Conflict),
        Err(failure) if failure.is_gone(&key.name) => Err(WriteError::Gone),
        Err(failure) => Err(WriteError::Unavailable(failure.unavailable())),
    }
}

/// Why a Secret could not be read.
pub(in crate::controller) enum SecretError {
    /// The API server refuses it.
    Forbidden,
    /// The API server did not answer.
    Unavailable(Unavailable),
}

fn requests(namespace: &str) -> Request {
    Request::new(InstanceDeletion::url_path(&(), Some(namespace)))
}

fn decode(key: &Key, text: &str) -> Result<Live, ReadError> {
    let undecodable = |e: String| ReadError::Undecodable(bounded(&e));
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|e| undecodable(e.to_string()))?;
    let status_text = envelope.status.map_or("", RawValue::get);
    let status = match status_text {
        "" | "null" => InstanceDeletionStatus::default(),
        text => serde_json::from_str(text).map_err(|e| undecodable(format!("status: {e}")))?,
    };
    let spec = match envelope.spec {
        None => Err("it has no spec".to_owned()),
        Some(spec) => serde_json::from_str(spec.get()).map_err(|e| bounded(&e.to_string())),
    };
    let meta = envelope.metadata;
    let (Some(uid), Some(resource_version)) = (meta.uid, meta.resource_version) else {
        return Err(undecodable("metadata has no uid or resourceVersion".to_owned()));
    };
    let annotation = |name| meta.annotations.as_ref().and_then(|annotations| annotations.get(name));
    Ok(Live {
        key: key.clone(),
        uid,
        resource_version,
        labels: meta.labels.unwrap_or_default(),
        meta: Meta {
            generation: meta.generation.unwrap_or(0),
            leaving: meta.deletion_timestamp.is_some(),
            held: annotation(HOLD).is_some(),
            requested_at: annotation(REQUESTED_AT).map(|value| value.chars().take(REQUEST).collect()),
        },
        created: meta.creation_timestamp.map(|time| time.0.as_second()),
        spec,
        status,
        other_bytes: text.len() - status_text.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { namespace: "fleet".into(), name: "retire".into() }
    }

    fn object(spec: &str, status: &str) -> String {
        format!(
            r#"{{"apiVersion":"clouddc.dev/v1alpha1","kind":"InstanceDeletion","metadata":{{"name":"retire","namespace":"fleet","uid":"u","resourceVersion":"7","generation":2}},"spec":{spec},"status":{status}}}"#
        )
    }

    const SPEC: &str =
        r#"{"region":"r","projectID":"p","credentialsSecretRef":{"name":"s"},"instanceIDs":["a"]}"#;

    #[test]
    fn reads_spec_status_and_size() {
        let live = decode(&key(), &object(SPEC, r#"{"observedGeneration":-1}"#)).unwrap();
        assert_eq!(live.meta, Meta { generation: 2, ..Meta::default() });
        assert_eq!(live.uid, "u");
        assert_eq!(live.status.observed_generation, Some(-1));
        assert_eq!(live.spec.unwrap().instance_ids, ["a"]);
        assert_eq!(live.other_bytes, object(SPEC, "").len());
    }

    #[test]
    fn a_spec_that_is_none_leaves_the_record_readable() {
        let live = decode(&key(), &object(r#"{"region":1}"#, r#"{"phase":"Deleting"}"#)).unwrap();
        assert!(live.spec.is_err());
        assert_eq!(live.status.phase, Some(crate::api::Phase::Deleting));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error() {
        for status in [r#"{"phase":"Exploding"}"#, r#"{"instances":[{"id":1}]}"#, "3"] {
            let error = decode(&key(), &object(SPEC, status)).unwrap_err();
            assert!(matches!(error, ReadError::Undecodable(_)), "{status}: {error}");
        }
    }
}
