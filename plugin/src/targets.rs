//! Which objects a command means: names, or all of a namespace, of all namespaces, or with a label.

use clap::Args;
use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{cluster::Cluster, failure::Failure};

/// Objects of a page: one of 5,000 ids has a megabyte.
const PAGE: u32 = 20;

/// Names, or a choice of objects.
#[derive(Args, Clone, Debug, Default)]
pub struct Targets {
    /// Names of InstanceDeletions.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// All objects of the namespace.
    #[arg(long)]
    pub all: bool,

    /// All objects of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// All objects with these labels, such as rack=12.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
}

impl Targets {
    /// Whether objects are chosen otherwise than by name.
    #[must_use]
    pub fn is_choice(&self) -> bool {
        self.all || self.all_namespaces || self.selector.is_some()
    }

    /// Refuses names together with a choice, and neither.
    pub fn check(&self) -> Result<(), Failure> {
        match (self.names.is_empty(), self.is_choice()) {
            (false, true) => Err(Failure::usage("give names, or one of --all, -A and -l, not both")),
            (true, false) => {
                Err(Failure::usage("which objects? give their names, or one of --all, -A and -l"))
            }
            _ => Ok(()),
        }
    }

    /// The API of the objects that are meant.
    #[must_use]
    pub fn api<K>(&self, cluster: &Cluster) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        if self.all_namespaces {
            Api::all(cluster.client.clone())
        } else {
            cluster.in_namespace(&cluster.namespace)
        }
    }

    /// Reads the objects that are meant, and calls `each` with one after the other.
    pub async fn for_each<K>(&self, cluster: &Cluster, mut each: impl FnMut(K)) -> Result<(), Failure>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        self.check()?;
        let api: Api<K> = self.api(cluster);
        for name in &self.names {
            let read = api.get(name).await;
            each(read.map_err(|error| {
                cluster.failure(&format!("reading {}/{name}", cluster.namespace), &error)
            })?);
        }
        if !self.is_choice() {
            return Ok(());
        }
        let mut page = ListParams::default().limit(PAGE);
        page.label_selector.clone_from(&self.selector);
        let mut found = 0;
        loop {
            let list = api.list(&page).await.map_err(|error| cluster.failure("listing objects", &error))?;
            found += list.items.len();
            list.items.into_iter().for_each(&mut each);
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                break;
            }
        }
        if found == 0 { Err(self.nothing(cluster)) } else { Ok(()) }
    }

    /// What to say when the choice is empty.
    #[must_use]
    pub fn nothing(&self, cluster: &Cluster) -> Failure {
        let place = if self.all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("the namespace {}", cluster.namespace)
        };
        let labels = self.selector.as_ref().map(|selector| format!(" with the labels {selector}"));
        Failure::failed(format!("there is no InstanceDeletion{} in {place}", labels.unwrap_or_default()))
    }
}
