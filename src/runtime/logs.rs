//! Log lines, to stderr. Work never waits for them: a thread writes them, and when too many wait, further ones are lost and
//! counted.
//!
//! Nothing else writes to stderr once logging has started: a write to a pipe that nobody reads waits for ever.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry::{self, LookupSpan},
    util::SubscriberInitExt,
};

use super::args::LogFormat;
use crate::metrics::Registry;

/// Most lines that wait to be written. A line takes 2 KB at most, so they take 8 MB at most.
const WAITING: usize = 4096;

/// Targets that may print headers or bodies, and so tokens and Secrets.
///
/// `kube_client` logs a whole body at WARN when it can't decode it, and headers at TRACE. `reqwest` can print every byte of a
/// connection at TRACE, and proxies at DEBUG. `hyper`, `h2` and `rustls` print parts of what they read and write below INFO
/// where their logs are compiled in, which a feature of any other library may do. The others lie between those.
const TALKATIVE: [&str; 9] =
    ["h2", "hyper", "hyper_rustls", "hyper_util", "kube_client", "reqwest", "rustls", "tower", "tower_http"];

/// `--log-level` is not a filter.
#[derive(Debug, thiserror::Error)]
#[error(
    "--log-level {0:?} is not a filter; write a level (error, warn, info, debug, trace, off) or TARGET=LEVEL, such as warn,instance_deletion_controller=debug"
)]
pub struct InvalidFilter(String);

/// The log lines that wait to be written. Dropping it writes them, for at most a second.
#[derive(Debug)]
pub struct Logs {
    lost: Lost,
    _writes: WorkerGuard,
}

impl Logs {
    /// Registers the counter `log_lines_lost`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.lost.clone()));
    }
}

/// Counts the lines that were lost.
#[derive(Clone, Debug)]
struct Lost {
    /// Since too many waited.
    full: ErrorCounter,
    /// Since they could not be written.
    failed: Arc<AtomicU64>,
}

impl Lost {
    fn lines(&self) -> u64 {
        let full = u64::try_from(self.full.dropped_lines()).unwrap_or(u64::MAX);
        full.saturating_add(self.failed.load(Ordering::Relaxed))
    }
}

impl Collector for Lost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lines = ConstCounter::new(self.lines());
        let help = "Log lines that were lost, since nobody reads them fast enough or they can't be written.";
        lines.encode(encoder.encode_descriptor("log_lines_lost", help, None, lines.metric_type())?)
    }
}

/// Counts the lines that can't be written.
struct Counted<W> {
    to: W,
    failed: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        self.to.write_all(line).inspect_err(|_| {
            self.failed.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Starts logging. The default format is text on a terminal and JSON otherwise.
pub fn init(format: Option<LogFormat>, filter: &str) -> Result<Logs, InvalidFilter> {
    let terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let (writer, logs) = writer(io::stderr());
    let layer = layer(format, filter, writer, terminal)?;
    // Fails only if a test has started logging before.
    let _ = registry::Registry::default().with(layer).try_init();
    Ok(logs)
}

/// A writer that never waits for `to`.
fn writer(to: impl Write + Send + 'static) -> (NonBlocking, Logs) {
    let failed = Arc::<AtomicU64>::default();
    let to = Counted { to, failed: failed.clone() };
    let builder = NonBlockingBuilder::default().buffered_lines_limit(WAITING).lossy(true).thread_name("log");
    let (writer, writes) = builder.finish(to);
    let lost = Lost { full: writer.error_counter(), failed };
    (writer, Logs { lost, _writes: writes })
}

fn layer<S, W>(
    format: LogFormat,
    filter: &str,
    to: W,
    ansi: bool,
) -> Result<Box<dyn Layer<S> + Send + Sync>, InvalidFilter>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wanted = parse(filter)?;
    // By itself it tells its own errors by a write to stderr.
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_writer(to).with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_writer(to).boxed(),
    };
    let shown = filter_fn(|metadata| harmless(metadata) && !repeats(metadata));
    Ok(lines.with_filter(shown).with_filter(wanted).boxed())
}

/// Refuses what `EnvFilter` would misread: it takes a mistyped level for the name of a target, after which nothing is logged,
/// and an empty text for `error`.
fn parse(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    let meant = |directive: &str| {
        let level = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
        level || directive.contains(['=', '['])
    };
    if filter.split(',').all(|directive| meant(directive.trim())) {
        EnvFilter::try_new(filter).map_err(|_| InvalidFilter(filter.to_owned()))
    } else {
        Err(InvalidFilter(filter.to_owned()))
    }
}

/// Limits these targets to errors, whatever the user asks for.
fn harmless(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let talkative = TALKATIVE.iter().any(|crate_name| {
        target.strip_prefix(crate_name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    !talkative || *metadata.level() == tracing::Level::ERROR
}

/// kube's span around each reconcile: every line of it names the object by itself.
fn repeats(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("kube_runtime")
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::metrics::testing::{sample, scraped};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = layer(format, filter, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(registry::Registry::default().with(layer), || {
            tracing::info!(batch = 3, "ours");
            tracing::trace!("ours, in detail");
            tracing::warn!(target: "kube_client::client", "a body with a secret");
            tracing::trace!(target: "kube_client", "a header with a secret");
            tracing::trace!(target: "h2::codec", "a frame with a secret");
            tracing::trace!(target: "hyper::proto", "a header with a secret");
            tracing::debug!(target: "hyper_util::client", "a header with a secret");
            tracing::trace!(target: "reqwest::connect", "bytes with a secret");
            tracing::debug!(target: "rustls::client", "bytes with a secret");
            let _span =
                tracing::debug_span!(target: "tower_http::trace", "span", header = "secret").entered();
            let _span = tracing::info_span!(target: "kube_runtime::controller", "reconciling").entered();
            tracing::error!(target: "kube_client::client", "an error");
        });
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn s11_no_filter_makes_libraries_print_bodies_or_headers() {
        let asked = "kube_client=trace,kube_client::client=trace,h2=trace,hyper=trace,hyper_util=trace,reqwest=trace,\
                     rustls=trace,tower_http=trace,[span]=trace,info";
        for filter in ["info", "trace", asked] {
            let text = logged(LogFormat::Text, filter);
            assert!(text.contains("ours") && text.contains("an error"), "{filter}: {text}");
            assert!(!text.contains("secret"), "{filter}: {text}");
        }
        assert!(logged(LogFormat::Text, "trace").contains("in detail"));
        assert!(!logged(LogFormat::Text, "info").contains("in detail"));
    }

    #[test]
    fn a_line_names_its_object_once() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, "trace");
            assert!(text.contains("an error") && !text.contains("reconciling"), "{text}");
        }
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(LogFormat::Json, "info");
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["message"].is_string() && value["level"].is_string(), "{line}");
        }
        assert!(text.contains(r#""batch":3"#), "{text}");
    }

    /// A pipe that nobody reads: a write waits until the sender of `opened` is gone.
    struct Unread {
        opened: std::sync::mpsc::Receiver<()>,
        began: std::sync::mpsc::Sender<()>,
        to: Buffer,
    }

    impl Write for Unread {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.began.send(());
            let _ = self.opened.recv();
            self.to.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_lost_and_counted_and_hold_up_nobody() {
        let (open, opened) = std::sync::mpsc::channel();
        let (began, begun) = std::sync::mpsc::channel();
        let to = Buffer::default();
        let (mut writer, logs) = writer(Unread { opened, began, to: to.clone() });
        let lost =
            || sample(&scraped(|registry| logs.register(registry)), "log_lines_lost_total").to_string();
        writer.write_all(b"first\n").unwrap();
        begun.recv().unwrap();
        for _ in 0..WAITING {
            writer.write_all(b"waits\n").unwrap();
        }
        assert_eq!(lost(), "0");
        writer.write_all(b"lost\n").unwrap();
        writer.write_all(b"lost\n").unwrap();
        assert_eq!(lost(), "2");
        drop(open);
        // Writes what waits.
        drop(logs);
        let text = String::from_utf8(to.0.lock().unwrap().clone()).unwrap();
        assert_eq!((text.lines().count(), text.contains("lost")), (1 + WAITING, false));
    }

    /// A pipe that is closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_can_not_be_written_are_counted() {
        let (mut writer, Logs { lost, _writes: writes }) = writer(Closed);
        writer.write_all(b"one\n").unwrap();
        writer.write_all(b"two\n").unwrap();
        // Waits until both were tried.
        drop(writes);
        assert_eq!(lost.lines(), 2);
    }

    #[test]
    fn a_filter_is_levels_and_targets() {
        for filter in
            ["info", "WARN", "off", "info,kube_runtime=debug", "a::b=trace, warn", "[span{id=1}]=debug"]
        {
            assert!(parse(filter).is_ok(), "{filter}");
        }
        for filter in ["", "inof", "info,", "a=b=c", "a=loud", "debug,kube_runtime"] {
            let message = parse(filter).unwrap_err().to_string();
            assert!(message.contains("write a level"), "{filter:?}: {message}");
        }
    }
}
