//! Arguments, crypto provider, start.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use instance_deletion_controller::{
    api::{CONTROLLER_NAME, crd_yaml},
    clock::Clock,
    cloud::{Client, ClientOptions},
    controller::{ApiServer, Context, Options, Scope},
    random::Random,
    runtime::{
        args::{Cli, Command, RunArgs},
        health::{self, Health},
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
    // Before any client is made: without a provider both HTTP clients refuse to start.
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
            // Logging may not have started; a person at a terminal reads this either way.
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
    runtime.block_on(async {
        let stop = CancellationToken::new();
        cancel_on_signal(stop.clone())?;
        let cloud = Client::new(&ClientOptions {
            request_timeout: args.request_timeout,
            ca_file: args.ca_file.clone(),
            user_agent: format!("{CONTROLLER_NAME}/{}", env!("CARGO_PKG_VERSION")),
            no_proxy: false,
        })?;
        let mut config = kube::Config::infer().await?;
        // Retries are decided where their cause is known, each within its deadline.
        config.default_retry = false;
        let api = ApiServer::new(kube::Client::try_from(config)?);
        let scope = Scope { namespaces: args.namespace.clone(), selector: args.selector.clone() };
        let options = Options {
            settings: args.settings(),
            rates: (args.delete_rate, args.read_rate),
            endpoints,
            clock: Clock::start(),
            random: Random::system(),
        };
        let (context, wakes) = Context::new(api, Arc::new(cloud), options, &scope);
        let health = Health::unready("waiting for the first list of InstanceDeletions");
        let metrics = Metrics::new(|registry| {
            panics.register(registry);
            health.register(registry);
            context.register(registry);
        });
        health::serve(args.listen, health.clone(), metrics, stop.clone()).await?;
        info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?scope.namespaces, selector = scope.selector, "started");
        let ready = move || {
            info!("ready");
            health.set(None);
        };
        let ended = instance_deletion_controller::controller::run(context, scope, wakes, ready, stop).await;
        if let Err(error) = &ended {
            error!(%error, "ended");
        }
        ended.map_err(Into::into)
    })
}
