//! The API server, and its errors in one sentence with what to do.

use std::time::Duration;

use instance_deletion_controller::api::InstanceDeletion;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{args::ClusterArgs, failure::Failure};

/// Bound on the time to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time in which a connection brings nothing while a request waits; a watch brings at least its end before.
const SILENCE: Duration = Duration::from_secs(40);

/// The cluster of the kubeconfig, and the namespace that is meant.
#[derive(Clone)]
pub struct Cluster {
    /// Client of the API server.
    pub client: Client,
    /// `--namespace`, or that of the context.
    pub namespace: String,
    /// Where it is, for messages.
    url: String,
}

impl Cluster {
    /// Reads the kubeconfig as kubectl does. Nothing is sent yet.
    pub async fn connect(args: &ClusterArgs) -> Result<Self, Failure> {
        let no_cluster = |why: &dyn std::fmt::Display| {
            Failure::failed(format!("no cluster: {why}; set KUBECONFIG, or name a file with --kubeconfig"))
        };
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match &args.kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file).map_err(|error| no_cluster(&error))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| no_cluster(&error))?
            }
            None if args.context.is_some() => {
                Config::from_kubeconfig(&options).await.map_err(|error| no_cluster(&error))?
            }
            None => Config::infer().await.map_err(|error| no_cluster(&error))?,
        };
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        config.default_retry = false;
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| no_cluster(&error))?;
        Ok(Self { client, namespace, url })
    }

    /// The objects of a namespace.
    #[must_use]
    pub fn in_namespace<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Reads an object of the namespace that is meant.
    pub async fn get(&self, name: &str) -> Result<InstanceDeletion, Failure> {
        let api: Api<InstanceDeletion> = self.in_namespace(&self.namespace);
        let read = api.get(name).await;
        read.map_err(|error| self.failure(&format!("reading {}/{name}", self.namespace), &error))
    }

    /// What an error of the API server means, after `doing`.
    #[must_use]
    pub fn failure(&self, doing: &str, error: &kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => {
                let details = status.details.as_ref();
                let named = details.map(|details| details.name.as_str()).filter(|name| !name.is_empty());
                Failure::failed(match (status.code, named) {
                    (404, Some(name)) => format!(
                        "there is no {} {name} in the namespace {}; `kubectl get idel -A` lists all",
                        details.map_or("object", |details| kind(&details.kind)),
                        self.namespace
                    ),
                    (404, None) => format!(
                        "{doing}: the cluster does not serve it; install the controller's definitions (deploy/base)"
                    ),
                    (401, _) => {
                        format!("{doing}: the API server does not accept your credentials; log in again")
                    }
                    (403, _) => format!(
                        "{doing}: {}; ask for the role instance-deletion-viewer to look, or instance-deletion-deleter to delete",
                        status.message
                    ),
                    _ => format!("{doing}: {}", status.message),
                })
            }
            kube::Error::SerdeError(why) => Failure::failed(format!(
                "{doing}: the object can't be decoded ({why}); install the version of this plugin that fits the controller"
            )),
            other => Failure::failed(format!(
                "{doing}: the API server at {} does not answer: {}; check --context and the network",
                self.url,
                causes(other)
            )),
        }
    }
}

fn kind(plural: &str) -> &str {
    match plural {
        "instancedeletions" => "InstanceDeletion",
        "secrets" => "Secret",
        other => other,
    }
}

/// The innermost cause of an error, which is the one that helps.
fn causes(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
