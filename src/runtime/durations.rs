//! Parses durations of flags: `300ms`, `5s`, `2m`, `1h`.

use std::time::Duration;

/// The longest duration: a year. It is beyond every use, and a date plus a year is still a valid date.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Parses a duration above zero.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("{text:?} is no duration; write a number with a unit, such as 300ms, 5s, 2m or 1h");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refused()),
    };
    let duration = Duration::from_millis(number.saturating_mul(milliseconds));
    if duration.is_zero() {
        Err(format!("{text:?} is zero; write a duration above zero, such as 5s"))
    } else if duration > LONGEST {
        Err(format!("{text:?} is longer than a year; write at most 8760h"))
    } else {
        Ok(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit() {
        let good =
            [("300ms", 300), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("8760h", 31_536_000_000)];
        for (text, ms) in good {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        let bad = [
            ("", "a number with a unit"),
            ("5", "a number with a unit"),
            ("s", "a number with a unit"),
            ("-5s", "a number with a unit"),
            ("5 s", "a number with a unit"),
            ("1.5s", "a number with a unit"),
            ("1m30s", "a number with a unit"),
            ("5S", "a number with a unit"),
            ("1d", "a number with a unit"),
            ("5\u{b5}s", "a number with a unit"),
            ("99999999999999999999s", "a number with a unit"),
            ("0s", "above zero"),
            ("0ms", "above zero"),
            ("8761h", "at most 8760h"),
            ("9999999999999999999h", "at most 8760h"),
        ];
        for (text, expected) in bad {
            let message = parse(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }
}
