//! Memory and processor time of a process, from `/proc`.

use std::fs::read_to_string;

use serde::{Deserialize, Serialize};

use crate::BenchError;

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Most memory resident at once, in bytes (`VmHWM`).
    pub peak_bytes: u64,
    /// Time of processors in user and kernel mode, in seconds, of all threads (`utime` + `stime`).
    pub processor_seconds: f64,
}

impl Usage {
    /// That of a running process, given as its id or as `self`.
    pub fn of(pid: &str) -> Result<Self, BenchError> {
        let read = |file: &str| {
            read_to_string(format!("/proc/{pid}/{file}")).map_err(BenchError::system("reading /proc"))
        };
        Self::parse(&read("status")?, &read("stat")?, rustix::param::clock_ticks_per_second())
    }

    fn parse(status: &str, stat: &str, ticks_per_second: u64) -> Result<Self, BenchError> {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        // The name in parentheses may hold spaces and parentheses. After it comes field 3; utime and stime are 14 and 15.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: Vec<u32> = fields.skip(11).take(2).map_while(|text| text.parse().ok()).collect();
        let [user, kernel] = ticks[..] else { return Err(BenchError::Proc("utime and stime")) };
        let per_second = f64::from(u32::try_from(ticks_per_second).unwrap_or(u32::MAX));
        Ok(Self {
            peak_bytes: kibibytes.ok_or(BenchError::Proc("VmHWM"))? * 1024,
            processor_seconds: (f64::from(user) + f64::from(kernel)) / per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let status = "Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 7 kB\n";
        let stat = "1 (a) b (c) S 2 3 4 5 6 7 8 9 10 11 150 50 12 13";
        let usage = Usage::parse(status, stat, 100).unwrap();
        assert_eq!(usage, Usage { peak_bytes: 2048 * 1024, processor_seconds: 2.0 });
        assert!(matches!(Usage::parse("", stat, 100), Err(BenchError::Proc("VmHWM"))));
        assert!(matches!(Usage::parse(status, "1 (a) S 2", 100), Err(BenchError::Proc("utime and stime"))));
    }

    #[test]
    fn this_process_uses_memory_and_its_use_only_grows() {
        let before = Usage::of("self").unwrap();
        assert!(before.peak_bytes > 0);
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = Usage::of("self").unwrap();
        drop(held);
        assert!(after.peak_bytes >= before.peak_bytes + (60 << 20), "{before:?} {after:?}");
        assert!(after.processor_seconds >= before.processor_seconds);
    }
}
