//! The command line. Each flag has an environment variable ([`environment`]).

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use super::{
    configuration::Configuration,
    durations, environment,
    logs::{LogFilter, LogFormat},
    values,
    values::RegionUrl,
};
use crate::{
    api::CONTROLLER_NAME,
    cloud::{ClientOptions, Endpoint, EndpointError, Endpoints},
    engine::Settings,
    scope::{Scope, Selector},
    text::without_passwords,
};

/// Deletes the CloudDC bare-metal instances that InstanceDeletion objects list, and reports when they are gone.
///
/// The cluster comes from KUBECONFIG or from the pod's service account. Without a command, `run` is assumed. Each flag of `run`
/// has an environment variable: --poll-min is INSTANCE_DELETION_POLL_MIN. A flag goes before its variable, and an empty variable
/// counts as absent. An unknown variable with this prefix is refused. A repeatable flag takes values separated by commas.
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
    /// Tell what `run` would do with the same flags and variables, and what is in its way: the values and where they come from,
    /// the endpoints, the Lease, the permissions and the objects. It never writes and never calls the cloud. Exits with 0 if
    /// nothing is in the way, 1 if something is, and 2 if a flag or a variable is refused.
    Check(Box<CheckArgs>),
    /// Print the CustomResourceDefinition of this version as YAML.
    Crd,
}

/// Flags of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Do not ask the cluster: check the flags and variables alone.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// Flags of `run`. A duration is written as Kubernetes writes it: 300ms, 5s, 1m30s, 1.5h.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Base URL of a region's CloudDC API, instead of https://clouddc.REGION.myhuaweicloud.com (.eu for eu-west-101); repeatable.
    #[arg(long, value_name = "REGION=URL", value_parser = values::region_url, value_delimiter = ',')]
    endpoint: Vec<RegionUrl>,
    /// Base URL of a region's IAM, instead of https://iam.REGION.myhuaweicloud.com (.eu for eu-west-101); repeatable. Only Secrets with a password need it.
    #[arg(long, value_name = "REGION=URL", value_parser = values::region_url, value_delimiter = ',')]
    iam_endpoint: Vec<RegionUrl>,
    /// Region that objects may name; repeatable. Default: every region. An object of another region says RegionNotAllowed, and
    /// nothing is read or sent for it.
    #[arg(long, value_name = "REGION", value_parser = values::region, value_delimiter = ',')]
    allowed_region: Vec<String>,
    /// Type that a Secret must have to be used, such as clouddc.dev/credentials. Default: any type but those of Kubernetes
    /// itself (kubernetes.io/...), which are never used.
    #[arg(long, value_name = "TYPE", value_parser = values::secret_type)]
    pub secret_type: Option<String>,
    /// Accept http:// in --endpoint and --iam-endpoint. Anyone on the network can then read tokens and passwords: for tests only.
    #[arg(long)]
    allow_insecure_endpoint: bool,
    /// PEM file with root certificates to trust for the cloud's endpoints, in addition to the system's. It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Namespace to work on; repeatable. Default: all namespaces.
    #[arg(long, value_name = "NS", value_parser = values::namespace, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Label selector of the objects to work on, such as team=fleet,tier!=prod. Default: all objects.
    #[arg(long, value_name = "LABELS", default_value = "")]
    selector: Selector,
    /// Address and port that serve /metrics. [::] means every address, of IPv4 and IPv6; on a host without IPv6, of IPv4. Port 0
    /// takes a free port and logs it.
    #[arg(long, value_name = "ADDR", default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// Address and port that serve /healthz and /readyz, for the kubelet alone. [::] as in --listen. Port 0 takes a free port and
    /// logs it.
    #[arg(long, value_name = "ADDR", default_value = "[::]:8081")]
    pub health_listen: SocketAddr,
    /// Elect one leader among the processes with the same --namespace and --selector. Safety does not depend on it: two
    /// processes that work at the same time only repeat each other's reads.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,
    /// Namespace of the Lease for leader election; the process needs get, create and update for Leases there. Default: the
    /// pod's namespace, or that of the kubeconfig's context. The process logs the name of the Lease at start.
    #[arg(long, value_name = "NS", value_parser = values::namespace)]
    pub lease_namespace: Option<String>,
    /// Maximum rate of calls that delete or power off for one account, per second: above 0, at most 1000. A throttled account is called more slowly.
    #[arg(long, value_name = "N", default_value = "2", value_parser = values::rate)]
    pub delete_rate: f64,
    /// Maximum rate of reads for one account, per second: above 0, at most 1000. A throttled account is called more slowly.
    #[arg(long, value_name = "N", default_value = "10", value_parser = values::rate)]
    pub read_rate: f64,
    /// Maximum number of calls in flight for one object: 1 to 64.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel_calls: u8,
    /// Shortest time between two reads of an object's open instances.
    #[arg(long, value_name = "D", default_value = "5s", value_parser = durations::parse)]
    poll_min: Duration,
    /// Longest time between two reads of an object's open instances, and between two reconciles of an unfinished object.
    #[arg(long, value_name = "D", default_value = "2m", value_parser = durations::parse)]
    poll_max: Duration,
    /// How long the cloud's reads may lag behind a call; also the shortest time between the two reads that prove an id not found.
    #[arg(long, value_name = "D", default_value = "30s", value_parser = durations::parse)]
    settle: Duration,
    /// Shortest backoff after a failure.
    #[arg(long, value_name = "D", default_value = "1s", value_parser = durations::parse)]
    retry_min: Duration,
    /// Longest backoff, and the time between two tries while a person has to act.
    #[arg(long, value_name = "D", default_value = "5m", value_parser = durations::parse)]
    retry_max: Duration,
    /// Time after which the message of the condition Ready, and one event, name an instance that has not ended, with its last
    /// read. Does not apply while the object is suspended.
    #[arg(long, value_name = "D", default_value = "1h", value_parser = durations::parse)]
    stuck_after: Duration,
    /// Total time for one call of the cloud. After SIGTERM the process waits for running calls, at most this time plus 20 s. Above
    /// 40s, raise the pod's terminationGracePeriodSeconds too.
    #[arg(long, value_name = "D", default_value = "30s", value_parser = durations::parse)]
    pub request_timeout: Duration,
    /// Format of the log lines on stderr. Default: text on a terminal, json otherwise.
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// Log filter: a level (error, warn, info, debug, trace, off) or TARGET=LEVEL, several separated by commas, such as
    /// warn,instance_deletion_controller=debug. Libraries that could print tokens never log below error.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log_level: LogFilter,
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

/// The request that the command line and the environment make.
#[derive(Debug)]
pub enum Request {
    /// `run`.
    Run(Box<Checked>),
    /// `check`.
    Check {
        /// The flags of `run`.
        checked: Box<Checked>,
        /// Whether the cluster is left alone.
        offline: bool,
    },
    /// `crd`.
    Crd,
}

/// Flags of `run` that contradict neither themselves nor one another.
#[derive(Debug)]
pub struct Checked {
    /// The flags.
    pub args: RunArgs,
    /// The endpoints of `--endpoint`, `--iam-endpoint` and `--allowed-region`.
    pub endpoints: Endpoints,
    /// Where each value comes from.
    pub configuration: Configuration,
}

/// The command line, with a variable for each flag.
#[must_use]
pub fn command() -> clap::Command {
    environment::with_variables(Cli::command())
}

/// Parses the arguments, beginning with the program's name, and the environment. clap's error also carries the text
/// of `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let refused = |command: &mut clap::Command, why: &dyn std::fmt::Display| {
        command.error(ErrorKind::ValueValidation, why)
    };
    let (args, offline) = match cli.command {
        Some(Command::Crd) => return Ok(Request::Crd),
        Some(Command::Run(args)) => (*args, None),
        Some(Command::Check(check)) => (check.run, Some(check.offline)),
        None => (cli.run, None),
    };
    let configuration = Configuration::of(&command, matches.subcommand().map_or(&matches, |(_, own)| own));
    environment::check(configuration.flags(), std::env::vars_os()).map_err(|e| refused(&mut command, &e))?;
    let endpoints = args.check().map_err(|e| refused(&mut command, &e))?;
    let checked = Box::new(Checked { args, endpoints, configuration });
    Ok(match offline {
        None => Request::Run(checked),
        Some(offline) => Request::Check { checked, offline },
    })
}

/// Writes clap's refusal in one line, without usage and passwords, for a log in JSON.
#[must_use]
pub fn in_a_line(refused: &clap::Error) -> String {
    let text = refused.render().to_string();
    let told = text.split("\n\n").filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let words: Vec<_> = told.flat_map(str::split_whitespace).collect();
    let line = words.join(" ");
    without_passwords(line.strip_prefix("error: ").unwrap_or(&line))
}

impl RunArgs {
    /// Checks the flags against each other and returns the endpoints.
    fn check(&self) -> Result<Endpoints, InvalidArgs> {
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

    /// The regions that flags name.
    #[must_use]
    pub fn regions(&self) -> BTreeSet<String> {
        let named = self.endpoint.iter().chain(&self.iam_endpoint).map(|named| &named.region);
        named.chain(&self.allowed_region).cloned().collect()
    }

    /// The settings of the cloud's client.
    #[must_use]
    pub fn client_options(&self) -> ClientOptions {
        ClientOptions {
            request_timeout: self.request_timeout,
            ca_file: self.ca_file.clone(),
            user_agent: format!("{CONTROLLER_NAME}/{}", env!("CARGO_PKG_VERSION")),
            no_proxy: false,
        }
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
    use super::{super::configuration::Source, *};

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
    fn what_clap_refuses_fits_a_line() {
        let refused = |flags: &[&str]| {
            let arguments = ["controller", "run"].iter().chain(flags).map(OsString::from);
            in_a_line(&parse(arguments).unwrap_err())
        };
        let maybe = refused(&["--leader-elect", "maybe"]);
        assert_eq!(maybe, "invalid value 'maybe' for '--leader-elect <BOOL>' [possible values: true, false]");
        assert!(refused(&["--pol-min", "1s"]).starts_with("unexpected argument '--pol-min' found"));
        assert_eq!(refused(&["--poll-min", "3m"]), "--poll-min is above --poll-max; make it smaller");
        let secret = refused(&["--endpoint", "https://u:hunter2@x"]);
        assert!(secret.contains("REGION=URL") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn each_value_comes_from_somewhere() {
        let of = |flags: &[&str]| {
            let arguments = ["controller"].iter().chain(flags).map(OsString::from);
            let Ok(Request::Run(checked)) = parse(arguments) else { panic!("{flags:?}") };
            checked.configuration
        };
        let flags = ["--poll-min", "7s", "--namespace", "a,b", "--allow-insecure-endpoint"];
        let expected = "--allow-insecure-endpoint=true --namespace=a,b --poll-min=7s";
        assert_eq!(of(&flags).changed(), expected, "without a command");
        assert_eq!(of(&[&["run"], &flags[..]].concat()).changed(), expected);
        assert_eq!(of(&["run"]).changed(), "");
        assert_eq!(of(&["--selector", "team in (a, b)"]).changed(), "--selector=\"team in (a, b)\"");
        let all = of(&["run"]);
        let poll_min = all.settings().iter().find(|setting| setting.flag == "poll-min").unwrap();
        assert_eq!((&poll_min.values[..], poll_min.source), (&["5s".to_owned()][..], Source::Default));
        assert!(!all.flags().any(|flag| ["help", "version"].contains(&flag)));
    }

    #[test]
    fn values_that_are_none_are_refused_with_what_to_write() {
        let table: [(&[&str], &str); 19] = [
            (&["--lease-namespace", ""], "leave the flag out"),
            (&["--selector", "team=\"fleet\""], "such as team=fleet"),
            (&["--poll-min", "5"], "such as 300ms, 5s"),
            (&["--poll-min", ""], "such as 300ms, 5s"),
            (&["--log-level", "inof"], "write a level"),
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
        let command = command();
        for command in [&command, command.find_subcommand("run").unwrap()] {
            for arg in command.get_arguments() {
                let flag = arg.get_long().unwrap();
                let expected = environment::variable(flag);
                assert!(expected.starts_with("INSTANCE_DELETION_"), "{expected}");
                assert_eq!(arg.get_env().unwrap().to_str(), Some(expected.as_str()));
                assert!(arg.get_help().is_some(), "{expected}");
            }
        }
    }
}
