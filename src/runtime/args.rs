//! The command line. Each flag has an environment variable of the same name (`--poll-min` is `POLL_MIN`).

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::{durations, values, values::RegionUrl};
use crate::{
    cloud::{Endpoint, EndpointError, Endpoints},
    engine::Settings,
    scope::{Scope, Selector},
};

/// Deletes the CloudDC bare-metal instances that InstanceDeletion objects list, and reports when they are gone.
///
/// The cluster comes from KUBECONFIG or from the pod's service account. Without a command, `run` is assumed. Each flag of `run`
/// has an environment variable of the same name (--poll-min is POLL_MIN); a repeatable flag takes values separated by commas.
///
/// HTTPS_PROXY and NO_PROXY apply to calls of the cloud, and to the cluster of a kubeconfig.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    /// The command; `run` if it is left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `run`, for a command line without a command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile InstanceDeletion objects until SIGTERM (the default).
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition of this version as YAML.
    Crd,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Flags of `run`. A duration is a number with a unit: 300ms, 5s, 2m, 1h.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Base URL of a region's CloudDC API, instead of https://clouddc.REGION.myhuaweicloud.com (.eu for eu-west-101); repeatable.
    #[arg(long, env, value_name = "REGION=URL", value_parser = values::region_url, value_delimiter = ',')]
    endpoint: Vec<RegionUrl>,
    /// Base URL of a region's IAM, instead of https://iam.REGION.myhuaweicloud.com (.eu for eu-west-101); repeatable. Only Secrets with a password need it.
    #[arg(long, env, value_name = "REGION=URL", value_parser = values::region_url, value_delimiter = ',')]
    iam_endpoint: Vec<RegionUrl>,
    /// Region that objects may name; repeatable. Default: every region. An object of another region says RegionNotAllowed, and
    /// nothing is read or sent for it.
    #[arg(long, env, value_name = "REGION", value_parser = values::region, value_delimiter = ',')]
    allowed_region: Vec<String>,
    /// Type that a Secret must have to be used, such as clouddc.dev/credentials. Default: any type but those of Kubernetes
    /// itself (kubernetes.io/...), which are never used.
    #[arg(long, env, value_name = "TYPE", value_parser = values::secret_type)]
    pub secret_type: Option<String>,
    /// Accept http:// in --endpoint and --iam-endpoint. Anyone on the network can then read tokens and passwords: for tests only.
    #[arg(long, env)]
    allow_insecure_endpoint: bool,
    /// PEM file with root certificates to trust for the cloud's endpoints, in addition to the system's. It is read again when it changes.
    #[arg(long, env, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Namespace to work on; repeatable. Default: all namespaces.
    #[arg(long, env, value_name = "NS", value_parser = values::namespace, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Label selector of the objects to work on, such as team=fleet,tier!=prod. Default: all objects.
    #[arg(long, env, value_name = "LABELS", default_value = "")]
    selector: Selector,
    /// Address and port that serve /metrics. Port 0 takes a free port and logs it.
    #[arg(long, env, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address and port that serve /healthz and /readyz, for the kubelet alone. Port 0 takes a free port and logs it.
    #[arg(long, env, value_name = "ADDR", default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Elect one leader among the processes with the same --namespace and --selector. Safety does not depend on it: two
    /// processes that work at the same time only repeat each other's reads.
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,
    /// Namespace of the Lease for leader election; the process needs get, create and update for Leases there. Default: the
    /// pod's namespace, or that of the kubeconfig's context. The process logs the name of the Lease at start.
    #[arg(long, env, value_name = "NS", value_parser = values::namespace)]
    pub lease_namespace: Option<String>,
    /// Maximum rate of delete calls for one account, per second: above 0, at most 1000. A throttled account is called more slowly.
    #[arg(long, env, value_name = "N", default_value = "2", value_parser = values::rate)]
    pub delete_rate: f64,
    /// Maximum rate of reads for one account, per second: above 0, at most 1000. A throttled account is called more slowly.
    #[arg(long, env, value_name = "N", default_value = "10", value_parser = values::rate)]
    pub read_rate: f64,
    /// Maximum number of delete calls in flight for one object: 1 to 64.
    #[arg(long, env, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel_calls: u8,
    /// Shortest time between two reads of an object's open instances.
    #[arg(long, env, value_name = "D", default_value = "5s", value_parser = durations::parse)]
    poll_min: Duration,
    /// Longest time between two reads of an object's open instances, and between two reconciles of an unfinished object.
    #[arg(long, env, value_name = "D", default_value = "2m", value_parser = durations::parse)]
    poll_max: Duration,
    /// How long the cloud's reads may lag behind a call; also the shortest time between the two reads that prove an id not found.
    #[arg(long, env, value_name = "D", default_value = "30s", value_parser = durations::parse)]
    settle: Duration,
    /// Shortest backoff after a failure.
    #[arg(long, env, value_name = "D", default_value = "1s", value_parser = durations::parse)]
    retry_min: Duration,
    /// Longest backoff, and the time between two tries while a person has to act.
    #[arg(long, env, value_name = "D", default_value = "5m", value_parser = durations::parse)]
    retry_max: Duration,
    /// Time after which the message of the condition Ready, and one event, name an instance that has not ended, with its last
    /// read. Does not apply while the object is suspended.
    #[arg(long, env, value_name = "D", default_value = "1h", value_parser = durations::parse)]
    stuck_after: Duration,
    /// Total time for one call of the cloud. After SIGTERM the process waits for running calls, at most this time plus 20 s. Above
    /// 40s, raise the pod's terminationGracePeriodSeconds too.
    #[arg(long, env, value_name = "D", default_value = "30s", value_parser = durations::parse)]
    pub request_timeout: Duration,
    /// Format of the log lines on stderr. Default: text on a terminal, json otherwise.
    #[arg(long, env, value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// Log filter: a level (error, warn, info, debug, trace, off) or TARGET=LEVEL, several separated by commas, such as
    /// warn,instance_deletion_controller=debug. Libraries that could print tokens never log below error.
    #[arg(long, env, value_name = "FILTER", default_value = "info")]
    pub log_level: String,
}

/// Flags that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArgs {
    /// A lower bound is above its upper bound.
    #[error("--{low} is above --{high}; make it smaller")]
    Bounds {
        /// Name of the lower bound's flag.
        low: &'static str,
        /// Name of the upper bound's flag.
        high: &'static str,
    },
    /// A flag names a region twice.
    #[error("--{flag} names region {region} twice; leave one out")]
    Twice {
        /// Name of the flag.
        flag: &'static str,
        /// Name of the region.
        region: String,
    },
    /// A URL is invalid.
    #[error("--{flag} {region}: {source}")]
    Endpoint {
        /// Name of the flag.
        flag: &'static str,
        /// Name of the region.
        region: String,
        /// Why it is invalid.
        source: EndpointError,
    },
}

impl RunArgs {
    /// Checks the flags against each other and returns the endpoints.
    pub fn check(&self) -> Result<Endpoints, InvalidArgs> {
        if self.poll_min > self.poll_max {
            return Err(InvalidArgs::Bounds { low: "poll-min", high: "poll-max" });
        }
        if self.retry_min > self.retry_max {
            return Err(InvalidArgs::Bounds { low: "retry-min", high: "retry-max" });
        }
        let iam = self.endpoints("iam-endpoint", &self.iam_endpoint)?;
        let clouddc = self.endpoints("endpoint", &self.endpoint)?;
        Ok(Endpoints::new(clouddc, iam).limited_to(self.allowed_region.clone()))
    }

    fn endpoints(
        &self,
        flag: &'static str,
        given: &[RegionUrl],
    ) -> Result<HashMap<String, Endpoint>, InvalidArgs> {
        let mut endpoints = HashMap::new();
        for RegionUrl { region, url } in given {
            let endpoint = Endpoint::parse(url, self.allow_insecure_endpoint)
                .map_err(|source| InvalidArgs::Endpoint { flag, region: region.clone(), source })?;
            if endpoints.insert(region.clone(), endpoint).is_some() {
                return Err(InvalidArgs::Twice { flag, region: region.clone() });
            }
        }
        Ok(endpoints)
    }

    /// The objects to work on.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::new(self.namespace.clone(), self.selector.clone())
    }

    /// The settings that decisions depend on.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            parallel_calls: usize::from(self.parallel_calls),
            poll_min: self.poll_min,
            poll_max: self.poll_max,
            settle: self.settle,
            retry_min: self.retry_min,
            retry_max: self.retry_max,
            request_timeout: self.request_timeout,
            stuck_after: self.stuck_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(flags: &[&str]) -> Result<RunArgs, String> {
        let cli = Cli::try_parse_from([&["controller", "run"], flags].concat()).map_err(|e| e.to_string())?;
        let Some(Command::Run(args)) = cli.command else { panic!("run") };
        Ok(*args)
    }

    #[test]
    fn the_defaults_are_the_engines() {
        Cli::command().debug_assert();
        let args = run(&[]).unwrap();
        assert_eq!(args.settings(), Settings::default());
        assert!(args.check().is_ok());
        assert!(args.leader_elect && !run(&["--leader-elect", "false"]).unwrap().leader_elect);
        let bare = Cli::try_parse_from(["controller", "--poll-min", "7s"]).unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.run.settings().poll_min, Duration::from_secs(7));
        assert!(matches!(Cli::try_parse_from(["controller", "crd"]).unwrap().command, Some(Command::Crd)));
    }

    #[test]
    fn each_flag_reaches_its_setting() {
        let args = run(&[
            "--parallel-calls=64",
            "--poll-min=1s",
            "--poll-max=2s",
            "--settle=3s",
            "--retry-min=4s",
            "--retry-max=5s",
            "--request-timeout=6s",
            "--stuck-after=7s",
        ]);
        let expected = Settings {
            parallel_calls: 64,
            poll_min: Duration::from_secs(1),
            poll_max: Duration::from_secs(2),
            settle: Duration::from_secs(3),
            retry_min: Duration::from_secs(4),
            retry_max: Duration::from_secs(5),
            request_timeout: Duration::from_secs(6),
            stuck_after: Duration::from_secs(7),
        };
        assert_eq!(args.unwrap().settings(), expected);
    }

    #[test]
    fn repeatable_flags_are_repeated_or_separated_by_commas() {
        for flags in [&["--namespace", "a", "--namespace", "b"][..], &["--namespace", "a,b"]] {
            assert_eq!(run(flags).unwrap().scope().namespaces(), ["a", "b"], "{flags:?}");
        }
        let endpoints = run(&["--endpoint", "a=https://x,b=https://y"]).unwrap().check().unwrap();
        assert_eq!(endpoints.of("a").unwrap().to_string(), "https://x");
        assert_eq!(endpoints.of("b").unwrap().to_string(), "https://y");
        assert!(endpoints.allows("a") && endpoints.allows("c"), "by default every region may be called");
        let endpoints = run(&["--allowed-region", "a,b"]).unwrap().check().unwrap();
        assert!(endpoints.allows("b") && !endpoints.allows("c"));
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_what_to_do() {
        let table: [(&[&str], &str); 8] = [
            (&["--poll-min", "3m"], "--poll-min is above --poll-max"),
            (&["--retry-min", "10m"], "--retry-min is above --retry-max"),
            (&["--endpoint", "r=http://x"], "--allow-insecure-endpoint"),
            (&["--iam-endpoint", "r=http://x"], "--allow-insecure-endpoint"),
            (&["--endpoint", "r=https://x", "--endpoint", "r=https://y"], "twice"),
            (&["--endpoint", "r=nonsense"], "is not a URL"),
            (&["--endpoint", "r=https://u:p@x"], "has a user"),
            (&["--endpoint", "r=ftp://x", "--allow-insecure-endpoint"], "is not a URL"),
        ];
        for (flags, expected) in table {
            let message = run(flags).unwrap().check().unwrap_err().to_string();
            assert!(message.contains(expected), "{flags:?}: {message}");
        }
    }

    #[test]
    fn values_that_are_none_are_refused_with_what_to_write() {
        let table: [(&[&str], &str); 17] = [
            (&["--lease-namespace", ""], "leave the flag out"),
            (&["--selector", "team=\"fleet\""], "such as team=fleet"),
            (&["--poll-min", "5"], "such as 300ms, 5s"),
            (&["--namespace", ""], "leave the flag out"),
            (&["--namespace", "fleet,"], "leave the flag out"),
            (&["--listen", "8080"], "invalid socket address"),
            (&["--settle", "0s"], "above zero"),
            (&["--delete-rate", "0"], "not above 0"),
            (&["--delete-rate", "NaN"], "not above 0"),
            (&["--read-rate", "fast"], "calls per second"),
            (&["--parallel-calls", "0"], "1..=64"),
            (&["--endpoint", "https://x"], "REGION=URL"),
            (&["--endpoint", "Region=https://x"], "region's name"),
            (&["--leader-elect", "maybe"], "true, false"),
            (&["--allowed-region", ""], "region's name"),
            (&["--secret-type", ""], "leave the flag out"),
            (&["--secret-type", "kubernetes.io/basic-auth"], "type of your own"),
        ];
        for (flags, expected) in table {
            let message = run(flags).unwrap_err();
            assert!(message.contains(expected), "{flags:?}: {message}");
        }
    }

    #[test]
    fn each_flag_has_an_environment_variable_and_a_help() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for arg in run.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
            let expected = arg.get_long().unwrap().replace('-', "_").to_uppercase();
            assert_eq!(arg.get_env().unwrap().to_str(), Some(expected.as_str()));
            assert!(arg.get_help().is_some(), "{expected}");
        }
    }
}
