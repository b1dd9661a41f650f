//! The command line. Each flag has an environment variable of the same name (`--poll-min` is `POLL_MIN`).

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::{durations, values, values::RegionUrl};
use crate::{
    cloud::{Endpoint, EndpointError, Endpoints},
    engine::Settings,
    scope::{Scope, Selector},
};

/// Deletes CloudDC bare-metal instances listed in InstanceDeletion objects, and says when they are gone.
///
/// The cluster comes from KUBECONFIG or the pod's own account. Without a command it runs. Each flag of `run` can be given as an
/// environment variable of the same name (--poll-min as POLL_MIN), a repeatable one with commas between its values.
///
/// HTTPS_PROXY and NO_PROXY are heeded for the cloud, and for the cluster of a kubeconfig.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `run`, which may be left out.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Works on InstanceDeletion objects until SIGTERM (this is the default).
    Run(Box<RunArgs>),
    /// Prints the CustomResourceDefinition that this version works with, as YAML.
    Crd,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `run`. Durations are written as 300ms, 5s, 2m, 1h.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where a region's CloudDC is, in place of https://clouddc.REGION.myhuaweicloud.com; repeatable.
    #[arg(long, env, value_name = "REGION=URL", value_parser = values::region_url, value_delimiter = ',')]
    endpoint: Vec<RegionUrl>,
    /// Where a region's IAM is, in place of https://iam.REGION.myhuaweicloud.com; repeatable. Only Secrets with a password need it.
    #[arg(long, env, value_name = "REGION=URL", value_parser = values::region_url, value_delimiter = ',')]
    iam_endpoint: Vec<RegionUrl>,
    /// Accept http:// in --endpoint and --iam-endpoint. Tokens and passwords then cross the network readable: for tests only.
    #[arg(long, env)]
    allow_insecure_endpoint: bool,
    /// Further roots for the cloud's endpoints, a PEM file; the system's roots stay.
    #[arg(long, env, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Namespace to work on; repeatable. All namespaces if left out.
    #[arg(long, env, value_name = "NS", value_parser = values::namespace, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Work only on objects with these labels, such as team=fleet,tier!=prod. All objects if empty.
    #[arg(long, env, value_name = "LABELS", default_value = "")]
    selector: Selector,
    /// Address and port for /healthz and /readyz; port 0 takes a free one, which is logged.
    #[arg(long, env, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Whether processes with the same --namespace and --selector elect one that works. Safety does not rest on it: without it, or
    /// with a lease that is stolen, two at once only repeat each other's reads.
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,
    /// Namespace of the Lease by which they elect; it needs a role there (get, create, update). The process's own if left out: the
    /// pod's, or that of the kubeconfig's context. The Lease's name is logged at start.
    #[arg(long, env, value_name = "NS", value_parser = values::namespace)]
    pub lease_namespace: Option<String>,
    /// Most delete calls per second for one account, above 0 to 1000; a throttled account is called more slowly.
    #[arg(long, env, value_name = "N", default_value = "2", value_parser = values::rate)]
    pub delete_rate: f64,
    /// Most reads per second for one account, above 0 to 1000; a throttled account is called more slowly.
    #[arg(long, env, value_name = "N", default_value = "10", value_parser = values::rate)]
    pub read_rate: f64,
    /// Delete calls in flight for one object, 1 to 64.
    #[arg(long, env, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel_calls: u8,
    /// Time between two looks at the open instances of an object.
    #[arg(long, env, value_name = "D", default_value = "5s", value_parser = durations::parse)]
    poll_min: Duration,
    /// Longest time after which an unfinished object is decided upon again.
    #[arg(long, env, value_name = "D", default_value = "2m", value_parser = durations::parse)]
    poll_max: Duration,
    /// How long a read may lag behind a call; also the least time between two not-found reads.
    #[arg(long, env, value_name = "D", default_value = "30s", value_parser = durations::parse)]
    settle: Duration,
    /// Shortest backoff.
    #[arg(long, env, value_name = "D", default_value = "1s", value_parser = durations::parse)]
    retry_min: Duration,
    /// Longest backoff, and the time between tries where a person has to act.
    #[arg(long, env, value_name = "D", default_value = "5m", value_parser = durations::parse)]
    retry_max: Duration,
    /// An instance that has had no end for longer than this, in whatever phase, is named with its last read in the message of
    /// the condition Ready, and in one event. Not while the object is suspended.
    #[arg(long, env, value_name = "D", default_value = "1h", value_parser = durations::parse)]
    stuck_after: Duration,
    /// Total time for one cloud call. After SIGTERM the process waits up to this and 20 s more for running calls; above 40s, raise
    /// the pod's terminationGracePeriodSeconds too.
    #[arg(long, env, value_name = "D", default_value = "30s", value_parser = durations::parse)]
    pub request_timeout: Duration,
    /// Form of log lines, on stderr. Left out: text on a terminal, else json.
    #[arg(long, env, value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// What is logged: a level (error, warn, info, debug, trace, off), or TARGET=LEVEL, several with commas between, such as
    /// warn,instance_deletion_controller=debug. Libraries that could print tokens say no more than errors, whatever is asked for.
    #[arg(long, env, value_name = "FILTER", default_value = "info")]
    pub log_level: String,
}

/// Flags that contradict each other, or ask for what is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArgs {
    /// A lower bound above its upper bound.
    #[error("--{low} is above --{high}; make it smaller")]
    Bounds {
        /// The lower one.
        low: &'static str,
        /// The upper one.
        high: &'static str,
    },
    /// A region twice.
    #[error("--{flag} names region {region} twice; leave one out")]
    Twice {
        /// The flag.
        flag: &'static str,
        /// The region.
        region: String,
    },
    /// A URL that is none.
    #[error("--{flag} {region}: {source}")]
    Endpoint {
        /// The flag.
        flag: &'static str,
        /// The region.
        region: String,
        /// Why.
        source: EndpointError,
    },
}

impl RunArgs {
    /// Checks what no single flag can tell, and returns the endpoints.
    pub fn check(&self) -> Result<Endpoints, InvalidArgs> {
        if self.poll_min > self.poll_max {
            return Err(InvalidArgs::Bounds { low: "poll-min", high: "poll-max" });
        }
        if self.retry_min > self.retry_max {
            return Err(InvalidArgs::Bounds { low: "retry-min", high: "retry-max" });
        }
        let iam = self.endpoints("iam-endpoint", &self.iam_endpoint)?;
        self.endpoints("endpoint", &self.endpoint).map(|clouddc| Endpoints::new(clouddc, iam))
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

    /// What the process works on.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::new(self.namespace.clone(), self.selector.clone())
    }

    /// The flags that decisions depend on.
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
        let table: [(&[&str], &str); 14] = [
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
