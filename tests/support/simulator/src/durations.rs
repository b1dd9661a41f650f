//! Durations as text: `250ms`, `20s`, `1m`, `2h`.

use std::time::Duration;

use crate::clock::millis;

/// Reads a whole number with one of the units ms, s, m, h; `0` needs none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| format!("'{text}' is no duration such as 250ms, 20s, 1m"))?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if number == 0 => 1,
        _ => return Err(format!("'{text}' needs one of the units ms, s, m, h")),
    };
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| format!("'{text}' is too long"))
}

/// Writes a duration such that [`parse_duration`] reads it back.
pub(crate) fn format_duration(duration: Duration) -> String {
    match millis(duration) {
        ms if ms % 1_000 != 0 => format!("{ms}ms"),
        ms if ms == 0 || ms % 60_000 != 0 => format!("{}s", ms / 1_000),
        ms => format!("{}m", ms / 60_000),
    }
}

/// `#[serde(with = "durations::text")]`
pub(crate) mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_back() {
        for (text, ms) in [("0s", 0), ("250ms", 250), ("20s", 20_000), ("90s", 90_000), ("2m", 120_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(parse_duration("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for bad in ["", "s", "5", "1.5s", "-1s", "1d", "99999999999999999999s", "9999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
