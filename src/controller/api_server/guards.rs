//! Reads the guards that apply to the objects of a namespace, with quorum.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Resource,
    api::{GetParams, ListParams},
    core::Request,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{request_metrics::ApiCall, requests::ApiServer};
use crate::{
    api::{DeletionGuard, DeletionGuardSpec},
    engine::object::state::guards::{Guard, Guards},
    text::bounded,
};

/// Why the guards of a namespace can't be told, for a person. Nothing is sent then.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GuardsUnreadable(String);

#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ObjectMeta,
    spec: DeletionGuardSpec,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: ObjectMeta,
}

impl ApiServer {
    /// Reads all guards, and the labels of the namespace if one of them selects namespaces. A guard that this version can't
    /// decode may say anything, so it is an error.
    pub async fn read_guards(&self, namespace: &str) -> Result<Arc<Guards>, GuardsUnreadable> {
        // Without a resourceVersion the API server answers what etcd holds (Kubernetes API concepts, *Resource versions*).
        let request = Request::new(DeletionGuard::url_path(&(), None)).list(&ListParams::default());
        let List { items } = self.decoded(ApiCall::Guards, request, "the guards").await?;
        let guards: Vec<Guard> = items
            .into_iter()
            .map(|Item { metadata, spec }| Guard { name: metadata.name.unwrap_or_default(), spec })
            .collect();
        let labels = if guards.iter().any(|guard| guard.spec.namespace_selector.is_some()) {
            self.labels(namespace).await?
        } else {
            BTreeMap::new()
        };
        let guards = Guards::of(guards, &labels).map_err(|error| GuardsUnreadable(error.to_string()))?;
        Ok(Arc::new(guards))
    }

    async fn labels(&self, namespace: &str) -> Result<BTreeMap<String, String>, GuardsUnreadable> {
        let request = Request::new(Namespace::url_path(&(), None)).get(namespace, &GetParams::default());
        let what = "the labels of the namespace";
        let Labelled { metadata } = self.decoded(ApiCall::Namespace, request, what).await?;
        Ok(metadata.labels.unwrap_or_default())
    }

    async fn decoded<T: DeserializeOwned>(
        &self,
        call: ApiCall,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        what: &str,
    ) -> Result<T, GuardsUnreadable> {
        let failed = |why: String| GuardsUnreadable(format!("{what}: {}", bounded(&why)));
        let request = request.map_err(|e| failed(e.to_string()))?;
        let text = self.text(call, request).await.map_err(|failure| failed(failure.unavailable().why))?;
        serde_json::from_str(&text).map_err(|e| failed(e.to_string()))
    }
}
