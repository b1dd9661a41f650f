//! Starts the process: arguments, crypto provider, clients, election, controller.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use instance_deletion_controller::{
    api::{CONTROLLER_NAME, crd_yaml},
    clock::Clock,
    cloud::{Client, ClientOptions},
    controller::{ApiServer, Context, Options, listable, run},
    leadership::Leadership,
    random::Random,
    runtime::{
        args::{Cli, Command, RunArgs},
        election::Election,
        health,
        health::Health,
        logs,
        metrics::Metrics,
        panics::Panics,
        signals::cancel_on_signal,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Both HTTP clients refuse to start without a crypto provider, so it is installed first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Crd) => crd_yaml().map(|yaml| print!("{yaml}")).map_err(Into::into),
        Some(Command::Run(args)) => start(&args),
        None => start(&cli.run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not have started yet, so the error also goes to stderr as plain text.
            eprintln!("{CONTROLLER_NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn start(args: &RunArgs) -> Result<(), Error> {
    let endpoints = args.check()?;
    logs::init(args.log_format, &args.log_level)?;
    let panics = Panics::count();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        cancel_on_signal(stop.clone())?;
        let cloud = Client::new(&ClientOptions {
            request_timeout: args.request_timeout,
            ca_file: args.ca_file.clone(),
            user_agent: format!("{CONTROLLER_NAME}/{}", env!("CARGO_PKG_VERSION")),
            no_proxy: false,
        })?;
        let mut config = kube::Config::infer().await?;
        // The callers retry: they know the cause of a failure and their own deadline.
        config.default_retry = false;
        let (scope, clock, random) = (args.scope(), Clock::start(), Random::system());
        let own = args.lease_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config)?;
        let (election, leadership) = if args.leader_elect {
            let elected = Election::new(client.clone(), own, &scope, clock.clone(), random.clone());
            let (election, leadership) = elected.ok_or("the system gives no random numbers")?;
            (Some(election), leadership)
        } else {
            (None, Leadership::always())
        };
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
        let health = Health::unready("waiting for the first list of InstanceDeletions");
        let metrics = Metrics::new(|registry| {
            panics.register(registry);
            health.register(registry);
            leadership.register(registry, election.as_ref().map_or("", Election::lease));
            context.register(registry);
        });
        health::serve(args.listen, health.clone(), metrics, stop.clone()).await?;
        info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?scope.namespaces(), selector = %scope.selector(), "started");
        let listed = health.clone();
        let ready = move || {
            info!("ready");
            listed.set(None);
        };
        let work = run(context, scope.clone(), added, ready, stop.clone());
        let ended: Result<(), Error> = match election {
            None => work.await.map_err(Into::into),
            Some(election) => match election.lead(&health, listable(client, scope), work, &stop).await {
                Ok(done) => done.unwrap_or(Ok(())).map_err(Into::into),
                Err(lost) => Err(lost.into()),
            },
        };
        if let Err(error) = &ended {
            error!(%error, "ended");
        }
        ended
    });
    // Do not wait for blocking tasks: a DNS lookup may take long, and a process that lost its lease must end.
    runtime.shutdown_background();
    ended
}
