//! `watch`: how far deletions are, until they have ended.

mod object;
mod screen;

use std::{collections::BTreeSet, time::Duration};

use clap::Args;
use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, utils::Backoff, watcher, watcher::Event},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::{object::Watched, screen::Screen};
use crate::{
    args::{ClusterArgs, duration},
    cluster::Cluster,
    failure::Failure,
    progress::{Entries, Outcome},
    targets::Targets,
};

/// Objects of a page of the first list: one of 5,000 ids has a megabyte.
const PAGE: u32 = 10;
/// Seconds after which the API server ends a watch, so that a connection that died in silence is noticed soon after.
const WATCH_SECONDS: u32 = 30;
/// First and longest wait before the API server is asked again.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the screen is drawn while nothing changes: rates and times left move on.
const TICK: Duration = Duration::from_secs(1);

/// Arguments of `watch`.
#[derive(Args, Debug)]
#[command(
    after_help = "It ends when each object has ended, or rests as planned or at its rollout limit. Exit code 0: all of them well; \
    1: one ended badly or was deleted; 3: the time limit passed."
)]
pub struct WatchArgs {
    #[command(flatten)]
    targets: Targets,

    /// How long to watch; else until the end.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// Without a terminal: the least time between two lines of an object that stays in its phase.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    interval: Duration,
}

/// The waits before the API server is asked again.
struct Waits(Duration);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let next = (self.0 * 2).min(LONGEST_WAIT);
        Some(std::mem::replace(&mut self.0, next))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.0 = FIRST_WAIT;
    }
}

struct Watch {
    cluster: Cluster,
    targets: Targets,
    entries: Entries,
    started: Instant,
    /// Names of the list that is being read.
    listed: Option<BTreeSet<String>>,
    complete: bool,
}

/// Shows the objects until they have ended.
pub async fn run(cluster: &ClusterArgs, args: WatchArgs) -> Result<(), Failure> {
    args.targets.check()?;
    let cluster = Cluster::connect(cluster).await?;
    let mut screen = Screen::open(args.interval);
    let api: Api<Watched> = args.targets.api(&cluster);
    let mut config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
    if let Some(selector) = &args.targets.selector {
        config = config.labels(selector);
    }
    if let [name] = &args.targets.names[..] {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let mut events = std::pin::pin!(watcher(api, config).backoff(Waits(FIRST_WAIT)));
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end = args.timeout.map(|limit| Instant::now() + limit);
    let mut watch = Watch {
        cluster,
        targets: args.targets,
        entries: Entries::new(),
        started: Instant::now(),
        listed: None,
        complete: false,
    };
    loop {
        let limit = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    screen.connected();
                    watch.take(event)?;
                }
                Some(Err(error)) => screen.disconnected(&watch.failure(&error)?),
                None => return Err(Failure::failed("the watch ended")),
            },
            _ = tick.tick() => {}
            () = limit => {
                screen.close(&watch.entries, watch.started.elapsed());
                return Err(watch.out_of_time());
            }
        }
        if watch.complete {
            screen.draw(&watch.entries, watch.started.elapsed());
            if watch.entries.values().all(|entry| entry.view.outcome() != Outcome::Open) {
                screen.close(&watch.entries, watch.started.elapsed());
                return watch.ended();
            }
        }
    }
}

impl Watch {
    fn take(&mut self, event: Event<Watched>) -> Result<(), Failure> {
        match event {
            Event::Init => self.listed = Some(BTreeSet::new()),
            Event::InitApply(object) | Event::Apply(object) => self.saw(&object),
            Event::Delete(object) => {
                if let Some(entry) = self.entries.get_mut(&place(&object)) {
                    entry.view.deleted = true;
                }
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                for (place, entry) in &mut self.entries {
                    entry.view.deleted |= !listed.contains(place);
                }
                self.complete = true;
                return self.all_there();
            }
        }
        Ok(())
    }

    fn saw(&mut self, object: &Watched) {
        if !self.targets.names.is_empty() && !self.targets.names.contains(&object.name_any()) {
            return;
        }
        let place = place(object);
        if let Some(listed) = &mut self.listed {
            listed.insert(place.clone());
        }
        let entry = self.entries.entry(place).or_default();
        entry.view = object.view();
        entry.pace.saw(self.started.elapsed(), entry.view.gone);
    }

    /// Refuses names that are not there, and an empty choice.
    fn all_there(&self) -> Result<(), Failure> {
        let missing =
            |name: &&String| !self.entries.contains_key(&format!("{}/{name}", self.cluster.namespace));
        match self.targets.names.iter().find(missing) {
            Some(name) => Err(Failure::failed(format!(
                "there is no InstanceDeletion {name} in the namespace {}; `kubectl get idel -A` lists all",
                self.cluster.namespace
            ))),
            None if self.entries.is_empty() => Err(self.targets.nothing(&self.cluster)),
            None => Ok(()),
        }
    }

    /// What to say of a failure that passes; an error if it does not.
    fn failure(&self, error: &watcher::Error) -> Result<String, Failure> {
        let source = match error {
            watcher::Error::InitialListFailed(source)
            | watcher::Error::WatchStartFailed(source)
            | watcher::Error::WatchFailed(source) => source,
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return Ok(error.to_string()),
        };
        let failure = self.cluster.failure("watching", source);
        let lasting = matches!(source, kube::Error::Api(status) if (400..=404).contains(&status.code))
            || (!self.complete && !matches!(source, kube::Error::Api(_)));
        if lasting { Err(failure) } else { Ok(failure.to_string()) }
    }

    fn ended(&self) -> Result<(), Failure> {
        let bad: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.view.outcome() == Outcome::Bad)
            .map(|(place, entry)| format!("{place} ({})", entry.view.word()))
            .collect();
        if bad.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("ended badly: {}; `kubectl idel explain` says why", bad.join(", "))))
    }

    fn out_of_time(&self) -> Failure {
        let open = self.entries.values().filter(|entry| entry.view.outcome() == Outcome::Open).count();
        Failure::still_running(if self.complete {
            format!("{open} of {} still running when the time limit passed", self.entries.len())
        } else {
            "the API server listed no objects before the time limit passed".to_owned()
        })
    }
}

fn place(object: &Watched) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
