//! Starts the process: arguments, crypto provider, clients, election, controller.

#![warn(clippy::disallowed_methods)]

use std::{process::ExitCode, sync::Arc};

use instance_deletion_controller::{
    api::{CONTROLLER_NAME, crds_yaml},
    clock::Clock,
    cloud::{Client, Endpoints},
    controller::{ApiServer, Context, Options, listable, run},
    leadership::Leadership,
    random::Random,
    runtime::{
        args::{self, Checked, Request, RunArgs},
        check::{Cluster, check},
        cluster::{self, check_proxies},
        election::Election,
        health::{self, Health},
        logs::{LogFormat, Logs},
        metrics::{self, Metrics},
        panics::Panics,
        server::Server,
        signals::cancel_on_signal,
    },
    scope::Scope,
    text::without_passwords,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Both HTTP clients refuse to start without a crypto provider, so it is installed first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<_> = std::env::args_os().collect();
    let logs = Logs::start(LogFormat::of(&arguments));
    let panics = Panics::watch();
    match args::parse(arguments) {
        Ok(Request::Run(checked)) => start(*checked, &logs, &panics),
        Ok(Request::Check { checked, offline }) => tell_check(&checked, offline),
        Ok(Request::Crd) => print_crd(),
        Err(refused) => tell(&refused, logs.format()),
    }
}

/// Prints what clap answers instead of a request: a help text, or why it refuses the command line.
fn tell(answer: &clap::Error, format: LogFormat) -> ExitCode {
    if !answer.use_stderr() {
        let _ = answer.print();
    } else if format == LogFormat::Json {
        error!(error = args::in_a_line(answer), "the command line is refused");
    } else {
        eprint!("{}", without_passwords(&answer.render().to_string()));
    }
    u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn print_crd() -> ExitCode {
    match crds_yaml() {
        Ok(crd) => {
            print!("{crd}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Says for people why a command failed that has no logs.
fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{CONTROLLER_NAME}: {}", without_passwords(&error.to_string()));
    ExitCode::FAILURE
}

/// Prints what `run` would do.
fn tell_check(checked: &Checked, offline: bool) -> ExitCode {
    let cluster = if offline { Cluster::LeftAlone } else { Cluster::Asked };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let good = runtime.block_on(check(checked, cluster));
    // A DNS lookup may take long.
    runtime.shutdown_background();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the controller.
fn start(Checked { args, endpoints, configuration }: Checked, logs: &Logs, panics: &Panics) -> ExitCode {
    logs.filter_by(&args.log_level);
    info!(settings = configuration.changed(), "configured; all other flags have their defaults");
    let ended = check_proxies(|name| std::env::var(name).ok())
        .map_err(Error::from)
        .and_then(|()| serve(&args, endpoints, logs, panics));
    if let Err(error) = &ended {
        error!(error = without_passwords(&error.to_string()), "ended");
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve(args: &RunArgs, endpoints: Endpoints, logs: &Logs, panics: &Panics) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        // Before all that may take long, so that the kubelet's first probe finds the port.
        let (probes, scrapes) =
            (Server::bind(args.health_listen, "probes")?, Server::bind(args.listen, "metrics")?);
        let stop = CancellationToken::new();
        // What the process cannot do without: it ends when one of them does, which only a panic makes them do.
        let mut vital = JoinSet::new();
        vital.spawn(cancel_on_signal(stop.clone())?);
        let health = Health::unready("starting");
        vital.spawn(probes.run(health::probes(health.clone(), stop.clone())));
        let cloud = Client::new(&args.client_options())?;
        let client = cluster::client().await?;
        let (scope, clock, random) = (args.scope(), Clock::start(), Random::system());
        let (election, leadership) = election(args, &client, &scope, &clock, &random)?;
        let options = Options {
            settings: args.settings(),
            rates: (args.delete_rate, args.read_rate),
            endpoints,
            secret_type: args.secret_type.clone(),
            clock,
            random,
            leadership: leadership.clone(),
        };
        let (context, added) =
            Context::new(ApiServer::new(client.clone()), Arc::new(cloud), options, &scope);
        let metrics = Metrics::new(|registry| {
            logs.register(registry);
            panics.register(registry);
            health.register(registry);
            leadership.register(registry, election.as_ref().map_or("", Election::lease));
            context.register(registry);
        });
        vital.spawn(scrapes.run(metrics::scrapes(metrics)));
        info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?scope.namespaces(), selector = %scope.selector(), "started");
        health.set(Some("waiting for the first list of InstanceDeletions"));
        let listed = health.clone();
        let ready = move || {
            info!("ready");
            listed.set(None);
        };
        let work = run(context, scope.clone(), added, ready, stop.clone());
        let work = async {
            match election {
                None => work.await.map_err(Error::from),
                Some(election) => {
                    let led = election.lead(&health, listable(client, scope), work, &stop).await?;
                    led.unwrap_or(Ok(())).map_err(Into::into)
                }
            }
        };
        tokio::select! {
            ended = work => ended,
            Some(_) = vital.join_next() => Err("a task that the process cannot do without panicked".into()),
        }
    });
    // Do not wait for blocking tasks: a DNS lookup may take long, and a process that lost its lease must end.
    runtime.shutdown_background();
    ended
}

/// The election that this process takes part in, if any, and whether it leads.
fn election(
    args: &RunArgs,
    client: &kube::Client,
    scope: &Scope,
    clock: &Clock,
    random: &Random,
) -> Result<(Option<Election>, Leadership), Error> {
    if !args.leader_elect {
        return Ok((None, Leadership::always()));
    }
    let own = args.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let elected = Election::new(client.clone(), own, scope, clock.clone(), random.clone());
    let (election, leadership) = elected.ok_or("the system gives no random numbers")?;
    Ok((Some(election), leadership))
}
