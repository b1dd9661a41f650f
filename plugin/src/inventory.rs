//! The cloud: credentials, endpoint, and what it lists. Nothing here can change anything at the cloud.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use instance_deletion_controller::cloud::{
    ClientOptions, Endpoint, Endpoints, Inventory, InventoryError, InventoryServer, Set,
};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::{args::ClusterArgs, cluster::Cluster, failure::Failure};

/// Bound on one call of the cloud.
const CALL: Duration = Duration::from_secs(30);

/// Variables of the vendor's tools, and the keys of a Secret that they stand for.
const VARIABLES: [(&str, &str); 3] = [
    ("accessKeyID", "HUAWEICLOUD_SDK_AK"),
    ("secretAccessKey", "HUAWEICLOUD_SDK_SK"),
    ("securityToken", "HUAWEICLOUD_SDK_SECURITY_TOKEN"),
];

/// How the cloud is asked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cloud")]
pub struct CloudArgs {
    /// Secret with the credentials, in the namespace; the same that the controller uses. Else the variables HUAWEICLOUD_SDK_AK,
    /// HUAWEICLOUD_SDK_SK and HUAWEICLOUD_SDK_SECURITY_TOKEN.
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,

    /// Address of the region's API; else the vendor's.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// Address of the region's IAM, which gives tokens for a user's password; else the vendor's.
    #[arg(long, value_name = "URL")]
    pub iam_endpoint: Option<String>,

    /// Allow addresses without TLS, for tests.
    #[arg(long)]
    pub allow_insecure_endpoint: bool,

    /// PEM file of further root certificates.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl CloudArgs {
    /// The inventory of a project.
    pub async fn inventory(
        &self,
        cluster: &ClusterArgs,
        region: &str,
        project: &str,
    ) -> Result<Inventory, Failure> {
        let own = |url: &Option<String>| -> Result<HashMap<String, Endpoint>, Failure> {
            let Some(url) = url else { return Ok(HashMap::new()) };
            let endpoint = Endpoint::parse(url, self.allow_insecure_endpoint)
                .map_err(|error| Failure::usage(format!("the address {url}: {error}")))?;
            Ok(HashMap::from([(region.to_owned(), endpoint)]))
        };
        let endpoints = Endpoints::new(own(&self.endpoint)?, own(&self.iam_endpoint)?);
        let region_of = |error| Failure::usage(format!("--region: {error}"));
        let (clouddc, iam) =
            (endpoints.of(region).map_err(region_of)?, endpoints.iam(region).map_err(region_of)?);
        let options = ClientOptions {
            request_timeout: CALL,
            ca_file: self.ca_file.clone(),
            user_agent: format!("kubectl-idel/{}", env!("CARGO_PKG_VERSION")),
            no_proxy: false,
        };
        let credentials = self.credentials(cluster).await?;
        Inventory::new(&options, clouddc, iam, project.to_owned(), credentials)
            .map_err(|error| Failure::failed(error.to_string()))
    }

    async fn credentials(&self, args: &ClusterArgs) -> Result<Set, Failure> {
        let Some(name) = &self.secret else { return from_environment() };
        let cluster = Cluster::connect(args).await?;
        let api: Api<Secret> = cluster.in_namespace(&cluster.namespace);
        let doing = format!("reading the Secret {}/{name}", cluster.namespace);
        let secret = api.get(name).await.map_err(|error| cluster.failure(&doing, &error))?;
        let data = secret.data.unwrap_or_default();
        Set::parse(|key| data.get(key).map(|bytes| bytes.0.as_slice()))
            .map_err(|why| Failure::failed(format!("the Secret {}/{name}: {why}", cluster.namespace)))
    }
}

fn from_environment() -> Result<Set, Failure> {
    let given: BTreeMap<&str, String> = VARIABLES
        .into_iter()
        .filter_map(|(key, variable)| {
            Some((key, std::env::var(variable).ok().filter(|value| !value.is_empty())?))
        })
        .collect();
    if given.is_empty() {
        return Err(Failure::usage(
            "no credentials for the cloud: name a Secret with --secret, or set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK",
        ));
    }
    Set::parse(|key| given.get(key).map(String::as_bytes))
        .map_err(|why| Failure::failed(format!("the variables HUAWEICLOUD_SDK_…: {why}")))
}

/// What an error of the cloud means, after `doing`.
#[must_use]
pub fn cloud_failure(doing: &str, error: &InventoryError) -> Failure {
    use instance_deletion_controller::engine::outcome::Trouble;
    let advice = match error.trouble {
        Trouble::CredentialsRejected => "use valid credentials",
        Trouble::Forbidden => "grant the user clouddc:instance:list and clouddc:imetal:list in this project",
        Trouble::Throttled { .. } => "try again in a minute",
        Trouble::CloudUnreachable => "check the network, --region, --endpoint and --ca-file",
        Trouble::EndpointMisconfigured => "check --region and --endpoint",
        Trouble::RequestRefused => "check --project; the vendor finds the call by its request id",
        Trouble::SecretNotFound
        | Trouble::SecretForbidden
        | Trouble::SecretInvalid
        | Trouble::ApiServerUnavailable
        | Trouble::RegionNotAllowed
        | Trouble::TooManyAccounts
        | Trouble::GuardUnreadable => "check the credentials",
    };
    Failure::failed(format!("{doing}: {error}; {advice}"))
}

/// Servers by their id.
pub type Servers = HashMap<String, InventoryServer>;

/// Reads the servers of the project.
pub async fn servers(inventory: &Inventory) -> Result<Servers, InventoryError> {
    Ok(inventory.servers().await?.into_iter().map(|server| (server.id.clone(), server)).collect())
}
