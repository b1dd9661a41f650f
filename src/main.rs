//! Starts the process: arguments, crypto provider, clients, election, controller.

#![warn(clippy::disallowed_methods)]

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use instance_deletion_controller::{
    api::{CONTROLLER_NAME, crd_yaml},
    clock::Clock,
    cloud::{Client, ClientOptions, Endpoints},
    controller::{ApiServer, Context, Options, listable, run},
    leadership::Leadership,
    random::Random,
    runtime::{
        args::{Cli, Command, RunArgs},
        cluster::{self, check_proxies},
        election::Election,
        health::{self, Health},
        logs::{self, Logs},
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

fn main() -> ExitCode {
    // Both HTTP clients refuse to start without a crypto provider, so it is installed first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Crd) => print_crd(),
        Some(Command::Run(args)) => start(&args),
        None => start(&cli.run),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{CONTROLLER_NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn print_crd() -> Result<ExitCode, Error> {
    print!("{}", crd_yaml()?);
    Ok(ExitCode::SUCCESS)
}

/// Runs the controller. Returns an error only before logging has started: from then on, errors are log lines.
fn start(args: &RunArgs) -> Result<ExitCode, Error> {
    let endpoints = args.check()?;
    check_proxies(|name| std::env::var(name).ok())?;
    let logs = logs::init(args.log_format, &args.log_level)?;
    let panics = Panics::watch();
    let ended = serve(args, endpoints, &logs, &panics);
    if let Err(error) = &ended {
        error!(error = without_passwords(&error.to_string()), "ended");
    }
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(args: &RunArgs, endpoints: Endpoints, logs: &Logs, panics: &Panics) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        // What the process cannot do without: it ends when one of them does, which only a panic makes them do.
        let mut vital = JoinSet::new();
        vital.spawn(cancel_on_signal(stop.clone())?);
        let cloud = Client::new(&ClientOptions {
            request_timeout: args.request_timeout,
            ca_file: args.ca_file.clone(),
            user_agent: format!("{CONTROLLER_NAME}/{}", env!("CARGO_PKG_VERSION")),
            no_proxy: false,
        })?;
        let client = cluster::client().await?;
        let (probes, scrapes) =
            (Server::bind(args.health_listen, "probes").await?, Server::bind(args.listen, "metrics").await?);
        let health = Health::unready("starting");
        vital.spawn(probes.run(health::probes(health.clone(), stop.clone())));
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
