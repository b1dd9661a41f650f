//! The metrics of a process that every Prometheus client has (`process_*`), read from `/proc` at each scrape.
//!
//! A figure that this process can't read is left out. Systems other than Linux have none of them.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::metrics::Registry;

/// Ticks per second of the times in `/proc/PID/stat`: USER_HZ, which Linux keeps at 100 on every architecture that it runs on
/// in a cloud; Prometheus' Go client takes it for constant too.
const TICKS: f64 = 100.0;

/// The figures of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
struct Figures {
    cpu_seconds: Option<f64>,
    start_time: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    threads: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

/// Registers the metrics; `registry` must have no prefix.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = Figures::read();
        if let Some(seconds) = figures.cpu_seconds {
            let help = "User and system CPU time spent, in seconds.";
            let counter = ConstCounter::new(seconds);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        }
        if let Some(seconds) = figures.start_time {
            let help = "Start time of the process since the Unix epoch, in seconds.";
            let gauge = ConstGauge::new(seconds);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor("process_start_time_seconds", help, None, kind)?)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory, in bytes.", figures.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory, in bytes.", figures.virtual_bytes),
            ("process_threads", "Threads.", figures.threads),
            ("process_open_fds", "Open file descriptors.", figures.open_fds),
            ("process_max_fds", "Most file descriptors that may be open.", figures.max_fds),
        ];
        for (name, help, figure) in gauges {
            if let Some(figure) = figure {
                let gauge = ConstGauge::new(figure);
                let kind = gauge.metric_type();
                gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
            }
        }
        Ok(())
    }
}

impl Figures {
    fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let fds = fs::read_dir("/proc/self/fd").ok().and_then(|fds| u64::try_from(fds.count()).ok());
        Self {
            // Without the descriptor that reads them.
            open_fds: fds.map(|fds| fds.saturating_sub(1)),
            ..Self::parse(
                &read("/proc/self/stat"),
                &read("/proc/self/status"),
                &read("/proc/self/limits"),
                &read("/proc/stat"),
            )
        }
    }

    /// Parses `/proc/self/stat`, `/proc/self/status`, `/proc/self/limits` and `/proc/stat` (proc(5)).
    fn parse(stat: &str, status: &str, limits: &str, system: &str) -> Self {
        // The name of the program stands in parentheses, and may hold any others. Behind it comes the third field.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let booted = after(system, "btime ").and_then(|seconds| seconds.parse::<f64>().ok());
        let kib =
            |name: &str| after(status, name)?.strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024);
        Self {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) / TICKS),
            start_time: booted.zip(ticks(22)).map(|(booted, started)| booted + started / TICKS),
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            threads: after(status, "Threads:").and_then(|threads| threads.parse().ok()),
            open_fds: None,
            max_fds: after(limits, "Max open files")
                .and_then(|limit| limit.split_whitespace().next()?.parse().ok()),
        }
    }
}

/// The rest of the line that begins so.
fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{sample, scraped};

    const STAT: &str =
        "9840 (a) R) S) S 9759 9759 10038 0 -1 4194304 100 0 0 0 1234 66 0 0 20 0 7 0 103412 3133440 388";
    const STATUS: &str = "Name:\ta\nVmSize:\t    3892 kB\nVmRSS:\t    2080 kB\nThreads:\t7\n";
    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max open files            1024                 524288               files     \n";
    const SYSTEM: &str = "cpu 1 2 3\nbtime 1796060558\nprocesses 7\n";

    #[test]
    fn the_figures_are_those_of_proc() {
        let whole = Figures {
            cpu_seconds: Some(13.0),
            start_time: Some(1_796_061_592.12),
            resident_bytes: Some(2080 * 1024),
            virtual_bytes: Some(3892 * 1024),
            threads: Some(7),
            open_fds: None,
            max_fds: Some(1024),
        };
        assert_eq!(Figures::parse(STAT, STATUS, LIMITS, SYSTEM), whole);
        let without_cpu = Figures { cpu_seconds: None, start_time: None, ..whole.clone() };
        let table = [
            ("", STATUS, LIMITS, SYSTEM, without_cpu.clone()),
            ("9840 (a) S 1", STATUS, LIMITS, SYSTEM, without_cpu),
            (
                STAT,
                "",
                "",
                SYSTEM,
                Figures { cpu_seconds: Some(13.0), start_time: whole.start_time, ..Figures::default() },
            ),
            (
                STAT,
                STATUS,
                "Max open files            unlimited            unlimited            files",
                SYSTEM,
                Figures { max_fds: None, ..whole.clone() },
            ),
            (STAT, STATUS, LIMITS, "", Figures { start_time: None, ..whole.clone() }),
            ("", "VmRSS: many kB\nThreads: -1", "", "btime x", Figures::default()),
        ];
        for (stat, status, limits, system, expected) in table {
            assert_eq!(
                Figures::parse(stat, status, limits, system),
                expected,
                "{stat:?} {status:?} {limits:?}"
            );
        }
    }

    #[test]
    fn this_process_has_them_all() {
        // A file that is open meanwhile is counted.
        let open = || Figures::read().open_fds.unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        assert!(open() >= 50, "{}", open());
        drop(files);
        let scrape = scraped(register);
        let of = |name| sample(&scrape, name);
        assert!(of("process_resident_memory_bytes") > 1e6, "{scrape}");
        assert!(of("process_virtual_memory_bytes") >= of("process_resident_memory_bytes"), "{scrape}");
        assert!(of("process_max_fds") >= of("process_open_fds"), "{scrape}");
        assert!(of("process_threads") >= 1.0 && of("process_cpu_seconds_total") >= 0.0, "{scrape}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - of("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
