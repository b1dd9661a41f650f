//! Log lines, to stderr. Work never waits for them: a thread writes them, and when too many wait, further ones are lost and
//! counted.
//!
//! Logging starts before the command line is parsed, so that its errors, and every panic, are log lines in the same format:
//! the kubelet shows the last lines of a Pod that failed. Nothing else writes to stderr where logs are JSON: a write to a pipe
//! that nobody reads waits for ever.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, IsTerminal, Write},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::ValueEnum;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use tracing::Metadata;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry, reload,
    util::SubscriberInitExt,
};

use super::environment::variable;
use crate::metrics::Registry;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The format that these arguments ask for, found without parsing the others, which may be wrong. The first argument is the
    /// program's name. Without a flag and a variable, text on a terminal and JSON otherwise.
    ///
    /// The commands that print something for people have no logs; their errors are text.
    #[must_use]
    pub fn of(arguments: &[OsString]) -> Self {
        let variable = std::env::var_os(variable(FLAG));
        Self::asked_for(arguments, variable.as_deref(), io::stderr().is_terminal())
    }

    fn asked_for(arguments: &[OsString], variable: Option<&OsStr>, terminal: bool) -> Self {
        let arguments: Vec<_> = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).collect();
        if arguments.first().is_some_and(|first| FOR_PEOPLE.contains(first)) {
            return Self::Text;
        }
        let given = arguments.iter().enumerate().filter_map(|(at, argument)| {
            match argument.strip_prefix("--")?.strip_prefix(FLAG)? {
                "" => arguments.get(at + 1).copied(),
                value => value.strip_prefix('='),
            }
        });
        let named = |value: &str| Self::from_str(value, false).ok();
        given.filter_map(named).next_back().or_else(|| named(variable?.to_str()?)).unwrap_or(if terminal {
            Self::Text
        } else {
            Self::Json
        })
    }
}

/// Name of the flag for the format.
const FLAG: &str = "log-format";
/// The commands without logs.
const FOR_PEOPLE: [&str; 3] = ["check", "crd", "help"];

/// The filter of `--log-level`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        parse(text).map(|_| Self(text.to_owned()))
    }
}

/// Most lines that wait to be written. A line takes 2 KB at most, so they take 8 MB at most.
const WAITING: usize = 4096;

/// Targets that may print headers or bodies, and so tokens and Secrets.
///
/// `kube_client` logs a whole body at WARN when it can't decode it, and headers at TRACE. `reqwest` can print every byte of a
/// connection at TRACE, and proxies at DEBUG. `hyper`, `h2` and `rustls` print parts of what they read and write below INFO
/// where their logs are compiled in, which a feature of any other library may do. The others lie between those.
const TALKATIVE: [&str; 9] =
    ["h2", "hyper", "hyper_rustls", "hyper_util", "kube_client", "reqwest", "rustls", "tower", "tower_http"];

/// A text is not a filter.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a filter; write a level (error, warn, info, debug, trace, off) or TARGET=LEVEL, such as warn,instance_deletion_controller=debug"
)]
pub struct InvalidFilter(String);

/// The log. Dropping it writes the lines that wait to be written, for at most a second.
#[derive(Debug)]
pub struct Logs {
    format: LogFormat,
    filter: Handle,
    lost: Lost,
    _writes: WorkerGuard,
}

/// Changes the filter of the log.
type Handle = reload::Handle<EnvFilter, registry::Registry>;

impl Logs {
    /// Starts logging, at the level info until [`filter_by`](Self::filter_by).
    #[must_use]
    pub fn start(format: LogFormat) -> Self {
        let (writer, lost, writes) = writer(io::stderr());
        let (layer, filter) = layer(format, EnvFilter::new("info"), writer, io::stderr().is_terminal());
        // Fails only if a test has started logging before.
        let _ = registry::Registry::default().with(layer).try_init();
        Self { format, filter, lost, _writes: writes }
    }

    /// The format of the lines.
    #[must_use]
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Logs from now on what the filter lets pass.
    pub fn filter_by(&self, filter: &LogFilter) {
        // Neither fails: the text was parsed before, and the log lives as long as the process.
        let _ = parse(&filter.0).map(|filter| self.filter.reload(filter));
    }

    /// Registers the counter `log_lines_lost`.
    pub fn register(&self, registry: &mut Registry) {
        self.lost.register(registry);
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
    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

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

/// A writer that never waits for `to`, the lines that it lost, and a guard that writes what waits when it is dropped.
fn writer(to: impl Write + Send + 'static) -> (NonBlocking, Lost, WorkerGuard) {
    let failed = Arc::<AtomicU64>::default();
    let to = Counted { to, failed: failed.clone() };
    let builder = NonBlockingBuilder::default().buffered_lines_limit(WAITING).lossy(true).thread_name("log");
    let (writer, writes) = builder.finish(to);
    let lost = Lost { full: writer.error_counter(), failed };
    (writer, lost, writes)
}

type LogLayer = Box<dyn Layer<registry::Registry> + Send + Sync>;

fn layer<W>(format: LogFormat, filter: EnvFilter, to: W, ansi: bool) -> (LogLayer, Handle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter);
    // By itself it tells its own errors by a write to stderr.
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_writer(to).with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_writer(to).boxed(),
    };
    let shown = filter_fn(|metadata| harmless(metadata) && !repeats(metadata));
    (lines.with_filter(shown).with_filter(filter).boxed(), handle)
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
        // As the process does: the filter of the command line replaces the first one.
        let (layer, handle) = layer(format, EnvFilter::new("off"), move || writer.clone(), false);
        tracing::subscriber::with_default(registry::Registry::default().with(layer), || {
            handle.reload(parse(filter).unwrap()).unwrap();
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
        let (mut writer, counter, writes) = writer(Unread { opened, began, to: to.clone() });
        let lost =
            || sample(&scraped(|registry| counter.register(registry)), "log_lines_lost_total").to_string();
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
        drop(writes);
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
        let (mut writer, lost, writes) = writer(Closed);
        writer.write_all(b"one\n").unwrap();
        writer.write_all(b"two\n").unwrap();
        // Waits until both were tried.
        drop(writes);
        assert_eq!(lost.lines(), 2);
    }

    #[test]
    fn the_format_is_known_before_the_command_line_is_parsed() {
        use LogFormat::{Json, Text};
        let table: [(&[&str], Option<&str>, bool, LogFormat); 15] = [
            (&[], None, false, Json),
            (&[], None, true, Text),
            (&["run"], None, false, Json),
            (&["run", "--log-format", "text"], None, false, Text),
            (&["run", "--log-format=json"], None, true, Json),
            (&["--log-format=json", "--log-format", "text"], None, true, Text),
            (&["run", "--nonsense", "--log-format", "json"], Some("text"), true, Json),
            (&["run"], Some("json"), true, Json),
            (&["run"], Some("text"), false, Text),
            (&["run"], Some(""), false, Json),
            (&["run", "--log-format", "xml"], None, false, Json),
            (&["run", "--log-format"], None, true, Text),
            (&["run", "--log-formats=json"], None, true, Text),
            (&["crd", "--nonsense"], Some("json"), false, Text),
            (&["nonsense"], None, false, Json),
        ];
        for (arguments, variable, terminal, expected) in table {
            let arguments: Vec<_> = ["controller"].iter().chain(arguments).map(OsString::from).collect();
            let format = LogFormat::asked_for(&arguments, variable.map(OsStr::new), terminal);
            assert_eq!(format, expected, "{arguments:?} {variable:?} {terminal}");
        }
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
