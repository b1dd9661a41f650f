//! Logs and counts panics in all threads and tasks. What a panic hits is taken up again, or the process ends
//! ([`crate::supervise`]).

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
};

use tracing::error;

use crate::metrics::{Counter, Registry};

/// Most characters of a panic's message and of its backtrace in the log.
const TEXT: usize = 1000;

/// The number of panics since [`Panics::watch`].
#[derive(Clone, Debug, Default)]
pub struct Panics {
    counter: Counter,
}

impl Panics {
    /// Logs and counts panics of all threads from now on, in place of the standard text on stderr: a write to stderr may
    /// wait for ever.
    #[must_use]
    pub fn watch() -> Self {
        let panics = Self::default();
        let counts = panics.clone();
        panic::set_hook(Box::new(move |info| counts.panicked(info)));
        panics
    }

    fn panicked(&self, info: &PanicHookInfo<'_>) {
        self.counter.inc();
        let bounded = |text: &str| text.chars().take(TEXT).collect::<String>();
        let text = info.payload_as_str().map(bounded);
        let at = info.location().map(ToString::to_string);
        // Only with RUST_BACKTRACE.
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| bounded(&backtrace.to_string()));
        error!(panic = text, at, backtrace, "panicked; this is a bug");
    }

    /// Registers the counter `panics`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Panics: what they hit is taken up again, or the process ends";
        registry.register("panics", help, self.counter.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{
        super::logs::{LogFormat, Logs},
        *,
    };
    use crate::metrics::testing::{sample, scraped};

    const IN_CHILD: &str = "PANICS_TEST_CHILD";

    /// Not a test by itself: the process that panics before its command line is parsed.
    #[test]
    fn child() {
        if std::env::var_os(IN_CHILD).is_none() {
            return;
        }
        let _logs = Logs::start(LogFormat::Json);
        let _panics = Panics::watch();
        panic!("as the test asks");
    }

    #[test]
    fn a_panic_is_a_log_line_from_the_start_and_stderr_has_nothing_else() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::panics::tests::child", "--nocapture", "--test-threads=1"])
            .env(IN_CHILD, "1")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<serde_json::Value> = told
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{told}")))
            .collect();
        let [line] = &lines[..] else { panic!("{told}") };
        assert_eq!((&line["level"], &line["panic"]), (&"ERROR".into(), &"as the test asks".into()));
        assert!(line["timestamp"].is_string() && line["message"].is_string(), "{line}");
    }

    #[test]
    fn a_panic_that_is_caught_is_counted() {
        let panics = Panics::default();
        // Other tests that fail meanwhile still tell why.
        let (counts, before) = (panics.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            counts.panicked(info);
            before(info);
        }));
        for _ in 0..3 {
            assert!(std::thread::spawn(|| panic!("counted")).join().is_err());
        }
        // Other tests may panic meanwhile.
        assert!(sample(&scraped(|registry| panics.register(registry)), "panics_total") >= 3.0);
    }
}
