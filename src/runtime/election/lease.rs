//! Reads the Lease at the API server and replaces it by compare-and-swap, each within a deadline.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

use super::decide::{Lease, Write};
use crate::text::bounded;

/// Why a request had no known effect.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The Lease has another version than the one to replace, or exists already.
    #[error("another process wrote it first")]
    Conflict,
    /// The Lease to replace is gone.
    #[error("it is gone")]
    Gone,
    /// The request failed, or its outcome is unknown.
    #[error("{0}")]
    Failed(String),
}

/// One Lease.
pub struct Leases {
    api: Api<Object>,
    name: String,
    identity: String,
    duration: Duration,
    /// The object as last read or written; a write keeps the fields that this program does not know.
    last: Option<Object>,
}

impl Leases {
    /// The Lease with this name. Each write takes it for `identity`, for `duration`.
    pub fn new(client: Client, namespace: &str, name: String, identity: String, duration: Duration) -> Self {
        Self { api: Api::namespaced(client, namespace), name, identity, duration, last: None }
    }

    /// Reads the Lease; `None` if it does not exist.
    pub async fn read(&mut self, limit: Duration) -> Result<Option<Lease>, LeaseError> {
        // get_opt takes every 404 for a missing Lease, also that of a proxy or of a missing namespace. Creating the Lease then
        // fails.
        let read = within(limit, self.api.get_opt(&self.name)).await?;
        let lease = read.as_ref().map(known).transpose()?;
        self.last = read;
        Ok(lease)
    }

    /// Writes the Lease with the current time as renewTime. Returns the new version.
    pub async fn write(
        &mut self,
        write: &Write,
        wall: Timestamp,
        limit: Duration,
    ) -> Result<Lease, LeaseError> {
        let parameters = PostParams::default();
        let stored = match write {
            Write::Create => {
                let mut fresh = Object::default();
                fresh.metadata.name = Some(self.name.clone());
                fresh.spec = Some(self.spec(None, true, wall));
                within(limit, self.api.create(&parameters, &fresh)).await.map_err(|error| match error {
                    // The 404 of a create is about the namespace.
                    LeaseError::Gone => LeaseError::Failed("its namespace does not exist".to_owned()),
                    error => error,
                })?
            }
            Write::Take(version) | Write::Renew(version) => {
                let mut next = self.at(version)?;
                next.spec = Some(self.spec(next.spec, matches!(write, Write::Take(_)), wall));
                within(limit, self.api.replace(&self.name, &parameters, &next)).await?
            }
        };
        let lease = known(&stored)?;
        self.last = Some(stored);
        Ok(lease)
    }

    /// Releases the Lease if this process holds it, so that the next leader need not wait. Returns whether it did.
    pub async fn release(&mut self, wall: Timestamp, limit: Duration) -> Result<bool, LeaseError> {
        let Some(lease) = self.read(limit).await? else { return Ok(false) };
        if lease.holder.as_ref() != Some(&self.identity) {
            return Ok(false);
        }
        let mut next = self.at(&lease.version)?;
        let spec = next.spec.get_or_insert_default();
        // The API server refuses an empty holder; a missing one marks the lease as free.
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(wall));
        within(limit, self.api.replace(&self.name, &PostParams::default(), &next)).await?;
        Ok(true)
    }

    /// The object at exactly this version.
    fn at(&self, version: &str) -> Result<Object, LeaseError> {
        let is = |object: &&Object| object.metadata.resource_version.as_deref() == Some(version);
        self.last.as_ref().filter(is).cloned().ok_or(LeaseError::Conflict)
    }

    fn spec(&self, before: Option<LeaseSpec>, fresh: bool, wall: Timestamp) -> LeaseSpec {
        let transitions = before.as_ref().map(|spec| spec.lease_transitions.unwrap_or(0));
        let mut spec = before.unwrap_or_default();
        if fresh {
            spec.acquire_time = Some(MicroTime(wall));
            spec.lease_transitions = Some(transitions.map_or(0, |before| before.saturating_add(1)));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(wall));
        spec
    }
}

fn known(object: &Object) -> Result<Lease, LeaseError> {
    let ObjectMeta { resource_version: Some(version), .. } = &object.metadata else {
        return Err(LeaseError::Failed("it has no resourceVersion".to_owned()));
    };
    let spec = object.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    Ok(Lease {
        version: version.clone(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        duration: seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).map(Duration::from_secs),
    })
}

/// Bounds a request: kube has no response timeout for ordinary calls.
async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, LeaseError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
            Err(LeaseError::Conflict)
        }
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Err(LeaseError::Gone),
        Ok(Err(error)) => Err(LeaseError::Failed(bounded(&error.to_string()))),
        Err(_) => Err(LeaseError::Failed(format!("no answer within {:.1} s", limit.as_secs_f32()))),
    }
}
