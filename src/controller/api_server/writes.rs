//! Writes of a status, and the deletion of a finished object: each only if the object is the one that was read, unchanged.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Resource,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde::Serialize;

use super::{
    failure::{Failure, Unavailable},
    key::Key,
    reads::LiveObject,
    request_metrics::ApiCall,
    requests::{ApiServer, instance_deletions},
    undecodable::Undecodable,
};
use crate::api::{InstanceDeletion, InstanceDeletionStatus};

/// Why a write was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object changed since it was read, or is another one of the same name. Read it again at once.
    #[error("the object changed since it was read")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    Gone,
    /// The write failed, or its answer was lost. Read the object again later.
    #[error("the write may not have been stored: {0}")]
    Unavailable(Unavailable),
}

/// The body of a write. It borrows all of it, since a status may take a megabyte.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replacement<'a, S> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Precondition<'a>,
    status: &'a S,
}

/// The object that is written, at the version that was read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Precondition<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    resource_version: &'a str,
}

impl ApiServer {
    /// Stores a status that holds the intent of a wave. Returns the object as it is stored now.
    ///
    /// The write counts as acknowledged only if the API server stored the record as it was sent: an older definition
    /// prunes fields that it does not know, and an admission plugin may change anything.
    pub async fn write_intent(
        &self,
        read: &LiveObject,
        status: &InstanceDeletionStatus,
    ) -> Result<LiveObject, WriteError> {
        let stored = self.put_status(read, status).await?;
        let stored = LiveObject::decode(&read.key, &stored)
            .map_err(|e| WriteError::Unavailable(Unavailable::new(&e)))?;
        if stored.status.instances == status.instances && stored.status.batches == status.batches {
            return Ok(stored);
        }
        Err(WriteError::Unavailable(Unavailable::new(
            &"the API server stored another record than was sent; apply the definition of this version, and look for admission webhooks that change InstanceDeletions",
        )))
    }

    /// Stores a status by compare-and-swap. The request is a PUT with uid and resourceVersion in its body, since a patch of
    /// `/status` ignores a wrong uid.
    pub async fn write_status(
        &self,
        read: &LiveObject,
        status: &InstanceDeletionStatus,
    ) -> Result<(), WriteError> {
        self.put_status(read, status).await.map(drop)
    }

    /// Says on an object that this version can't decode it, and leaves all else of its status as it is. Returns whether it
    /// had to be said.
    pub async fn tell_undecodable(
        &self,
        key: &Key,
        object: &Undecodable,
        now: &Time,
    ) -> Result<bool, WriteError> {
        let Some(status) = object.told(now) else { return Ok(false) };
        let at = Precondition {
            name: &key.name,
            namespace: &key.namespace,
            uid: &object.uid,
            resource_version: &object.resource_version,
        };
        self.put(key, at, &status).await.map(|_| true)
    }

    async fn put_status(
        &self,
        read: &LiveObject,
        status: &InstanceDeletionStatus,
    ) -> Result<String, WriteError> {
        let at = Precondition {
            name: &read.key.name,
            namespace: &read.key.namespace,
            uid: &read.uid,
            resource_version: &read.resource_version,
        };
        self.put(&read.key, at, status).await
    }

    /// Stores a status in place of the one of this version. Returns the object as it is stored now.
    async fn put(
        &self,
        key: &Key,
        at: Precondition<'_>,
        status: &impl Serialize,
    ) -> Result<String, WriteError> {
        let body = Replacement {
            api_version: &InstanceDeletion::api_version(&()),
            kind: &InstanceDeletion::kind(&()),
            metadata: at,
            status,
        };
        let body = serde_json::to_vec(&body).map_err(|e| WriteError::Unavailable(Unavailable::new(&e)))?;
        let request = instance_deletions(&key.namespace)
            .replace_subresource("status", &key.name, &PostParams::default(), body)
            .map_err(|e| WriteError::Unavailable(Unavailable::new(&e)))?;
        self.check_lead()?;
        acknowledged(key, self.text(ApiCall::Status, request).await)
    }

    /// Deletes an object if it is still the one that was read, unchanged.
    pub async fn delete(&self, read: &LiveObject) -> Result<(), WriteError> {
        let preconditions = Preconditions {
            uid: Some(read.uid.clone()),
            resource_version: Some(read.resource_version.clone()),
        };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let request = instance_deletions(&read.key.namespace)
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
}

fn acknowledged(key: &Key, answer: Result<String, Failure>) -> Result<String, WriteError> {
    match answer {
        Ok(text) => Ok(text),
        Err(Failure::Refused(status)) if status.is_conflict() => Err(WriteError::Conflict),
        Err(failure) if failure.is_gone(&key.name) => Err(WriteError::Gone),
        Err(failure) => Err(WriteError::Unavailable(failure.unavailable())),
    }
}
