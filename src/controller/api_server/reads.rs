//! Reads of one object, and of one Secret, with quorum.
//!
//! Objects are decoded here from text: kube's typed read logs the whole body when it can't be decoded.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, api::GetParams, core::Request};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    failure::{Failure, Unavailable},
    key::Key,
    request_metrics::ApiCall,
    requests::{ApiServer, instance_deletions},
    undecodable::Undecodable,
};
use crate::{
    api::{InstanceDeletionSpec, InstanceDeletionStatus},
    engine::object::state::spec::{ALLOW_PROTECTED, HOLD, Meta, REQUESTED_AT, allowed},
    text::bounded,
};

/// Most characters of a request to look that are kept: as many as the status holds.
const REQUEST: usize = 128;

/// An object as etcd holds it at one moment: the answer to a read with quorum, or to an acknowledged write.
#[derive(Clone, Debug)]
pub struct LiveObject {
    /// Namespace and name.
    pub key: Key,
    /// uid. It tells this object from an earlier or later one of the same name.
    pub uid: String,
    /// resourceVersion. Each write names it, so that the write fails if the object has changed since.
    pub resource_version: String,
    /// Labels: `--selector` says whether this process works on the object.
    pub labels: BTreeMap<String, String>,
    /// What its metadata ask for.
    pub meta: Meta,
    /// creationTimestamp, in seconds since 1970.
    pub created: Option<i64>,
    /// The spec, or why it can't be decoded.
    pub spec: Result<InstanceDeletionSpec, String>,
    /// The status.
    pub status: InstanceDeletionStatus,
    /// Bytes of the stored object besides its status.
    pub other_bytes: usize,
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The API server did not return it; a later read may succeed.
    #[error("the API server did not return the object: {0}")]
    Unavailable(Unavailable),
    /// Its metadata or its status can't be decoded.
    #[error("the object can't be decoded: {0}")]
    Undecodable(Box<Undecodable>),
}

/// Why a Secret could not be read.
pub(in crate::controller) enum SecretError {
    /// The controller may not read it.
    Forbidden,
    /// The API server did not answer.
    Unavailable(Unavailable),
}

impl ApiServer {
    /// Reads an object with quorum. Returns `None` if it does not exist.
    pub async fn read(&self, key: &Key) -> Result<Option<LiveObject>, ReadError> {
        let request = instance_deletions(&key.namespace)
            .get(&key.name, &GetParams::default())
            .map_err(|e| ReadError::Unavailable(Unavailable::new(&e)))?;
        match self.text(ApiCall::Object, request).await {
            Ok(text) => LiveObject::decode(key, &text).map(Some),
            Err(failure) if failure.is_gone(&key.name) => Ok(None),
            Err(failure) => Err(ReadError::Unavailable(failure.unavailable())),
        }
    }

    /// Reads a Secret as text. Returns `None` if it does not exist.
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

#[derive(Deserialize)]
struct Envelope<'a> {
    metadata: ObjectMeta,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

impl LiveObject {
    /// Decodes the body of an answer. A spec that can't be decoded leaves the record readable.
    pub(super) fn decode(key: &Key, text: &str) -> Result<Self, ReadError> {
        let undecodable = |e: String| ReadError::Undecodable(Box::new(Undecodable::of(&e, text)));
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
        Ok(Self {
            key: key.clone(),
            uid,
            resource_version,
            labels: meta.labels.unwrap_or_default(),
            meta: Meta {
                namespace: key.namespace.as_str().into(),
                generation: meta.generation.unwrap_or(0),
                leaving: meta.deletion_timestamp.is_some(),
                held: annotation(HOLD).is_some(),
                allowed: annotation(ALLOW_PROTECTED).map(|ids| allowed(ids)).unwrap_or_default(),
                requested_at: annotation(REQUESTED_AT).map(|value| value.chars().take(REQUEST).collect()),
            },
            created: meta.creation_timestamp.map(|time| time.0.as_second()),
            spec,
            status,
            other_bytes: text.len() - status_text.len(),
        })
    }
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
        let live = LiveObject::decode(&key(), &object(SPEC, r#"{"observedGeneration":-1}"#)).unwrap();
        assert_eq!(live.meta, Meta { namespace: "fleet".into(), generation: 2, ..Meta::default() });
        assert_eq!(live.uid, "u");
        assert_eq!(live.status.observed_generation, Some(-1));
        assert_eq!(live.spec.unwrap().instance_ids, ["a"]);
        assert_eq!(live.other_bytes, object(SPEC, "").len());
    }

    #[test]
    fn a_spec_that_is_none_leaves_the_record_readable() {
        let live = LiveObject::decode(&key(), &object(r#"{"region":1}"#, r#"{"phase":"Deleting"}"#)).unwrap();
        assert!(live.spec.is_err());
        assert_eq!(live.status.phase, Some(crate::api::Phase::Deleting));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error() {
        for status in [r#"{"phase":"Exploding"}"#, r#"{"instances":[{"id":1}]}"#, "3"] {
            let error = LiveObject::decode(&key(), &object(SPEC, status)).unwrap_err();
            assert!(matches!(error, ReadError::Undecodable(_)), "{status}: {error}");
        }
    }
}
