//! Parses durations of flags, written as Kubernetes writes them: `300ms`, `5s`, `1m30s`, `1.5h`.

use std::time::Duration;

/// The shortest duration: a shorter wait between two reads would be none.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest duration: a year. It is beyond every use, and a date plus a year is still a valid date.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// Most digits of a duration. An f64, with which kube's parser computes, holds them exactly; and `999999999999999h` fits a
/// [`Duration`], while that parser panics at a sum that does not.
const DIGITS: usize = 15;

/// Parses a duration from a millisecond to a year.
pub fn parse(text: &str) -> Result<Duration, String> {
    let duration = go_duration(text).ok_or_else(|| {
        format!("{text:?} is no duration; write numbers with units, such as 300ms, 5s, 1m30s or 1.5h")
    })?;
    if duration < SHORTEST {
        Err(format!("{text:?} is shorter than 1ms; write a duration above zero, such as 5s"))
    } else if duration > LONGEST {
        Err(format!("{text:?} is longer than a year; write at most 8760h"))
    } else {
        Ok(duration)
    }
}

/// Parses what Go's `time.ParseDuration` takes, without a sign. kube's parser panics at a second sign and at an overflow, and
/// takes an empty text; so these are left out before.
fn go_duration(text: &str) -> Option<Duration> {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let in_order = text.chars().all(|c| c.is_ascii_digit() || c == '.' || c.is_alphabetic());
    let ends_with_a_unit = text.ends_with(char::is_alphabetic);
    if digits > DIGITS || !in_order || !ends_with_a_unit {
        return None;
    }
    text.parse::<kube::core::Duration>().ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units() {
        let good = [
            ("300ms", 300),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("1h2m3.5s", 3_723_500),
            (".5s", 500),
            ("1500us", 1),
            ("8760h", 31_536_000_000),
            ("0h0m5s", 5_000),
        ];
        for (text, ms) in good {
            assert_eq!(parse(text).map(|duration| duration.as_millis()), Ok(ms), "{text}");
        }
        let bad = [
            ("", "numbers with units"),
            ("0", "numbers with units"),
            ("5", "numbers with units"),
            ("1m30", "numbers with units"),
            ("5s0", "numbers with units"),
            ("s", "numbers with units"),
            (".s", "numbers with units"),
            ("1.2.3s", "numbers with units"),
            ("-5s", "numbers with units"),
            ("+5s", "numbers with units"),
            ("1h-5m", "numbers with units"),
            ("5 s", "numbers with units"),
            ("5S", "numbers with units"),
            ("1d", "numbers with units"),
            ("1e3s", "numbers with units"),
            ("infs", "numbers with units"),
            ("nans", "numbers with units"),
            ("PT5M", "numbers with units"),
            ("1000000000000000h", "numbers with units"),
            ("0s", "above zero"),
            ("0ms", "above zero"),
            ("999us", "above zero"),
            ("8760h1s", "at most 8760h"),
            ("999999999999999h", "at most 8760h"),
        ];
        for (text, expected) in bad {
            let message = parse(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
        for unit in ["h", "m", "s"] {
            let message = parse(&format!("{}{unit}", "9".repeat(400))).unwrap_err();
            assert!(message.contains("numbers with units"), "{message}");
        }
    }
}
