//! Moments as users write them.

use std::borrow::Cow;

use k8s_openapi::jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment of RFC 3339. One that lies beyond what [`Timestamp`] can hold (9999-12-30T22:00:00Z) is held as the last
/// that it can: it never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

/// What the schema admits as a moment. The format `date-time` of the API server admits more: offsets of 99 hours, and
/// text behind a further `T`.
pub(super) const MOMENT: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?([Zz]|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$";

/// As [`MOMENT`], without the year 9999, whose last day is beyond what can be held: for times that controllers write.
pub(super) const WRITTEN_MOMENT: &str = "^([0-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?([Zz]|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$";

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        let text = short_fraction(text);
        // Both years have the same days.
        let a_year_before = || text.strip_prefix("9999").map(|rest| format!("9998{rest}"));
        match text.parse() {
            Ok(moment) => Some(Self(moment)),
            Err(_) => a_year_before()?.parse::<Timestamp>().ok().map(|_| Self(Timestamp::MAX)),
        }
    }
}

/// The text with at most nine digits of a second's fraction.
fn short_fraction(text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else { return text.to_owned() };
    let offset = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = rest.strip_suffix(offset).unwrap_or(rest);
    format!("{whole}.{}{offset}", digits.get(..9).unwrap_or(digits))
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no time such as 2026-12-01T00:00:00Z")))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time", "pattern": MOMENT})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Timestamp> {
        let json = serde_json::to_string(text).unwrap();
        serde_json::from_str::<Moment>(&json).ok().map(|moment| moment.0)
    }

    #[test]
    fn i02_every_time_that_the_schema_admits_can_be_read() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let never = Some(Timestamp::MAX);
        let table = [
            ("2026-12-01T00:00:00Z", at("2026-12-01T00:00:00Z")),
            ("2026-12-01t00:00:00z", at("2026-12-01T00:00:00Z")),
            ("2026-12-01T00:00:00.5+02:00", at("2026-11-30T22:00:00.5Z")),
            ("2026-12-01T00:00:00.1234567890123Z", at("2026-12-01T00:00:00.123456789Z")),
            ("2026-12-01T00:00:00-23:59", at("2026-12-01T23:59:00Z")),
            ("0000-01-01T00:00:00Z", at("0000-01-01T00:00:00Z")),
            ("0000-01-01T00:00:00+23:59", at("-000001-12-31T00:01:00Z")),
            ("9999-12-30T21:59:59Z", at("9999-12-30T21:59:59Z")),
            ("9999-12-31T23:59:59Z", never),
            ("9999-12-31T23:59:59.9999999999Z", never),
            ("9999-12-31T23:59:59-23:59", never),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T00:00:00",
            "tomorrow",
            "2026-12-01T00:00:00ZT",
            "2026-13-01T00:00:00Z",
            "9999-12-32T00:00:00Z",
            "9999-12-31T23:59:59ZT",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(
            serde_json::to_string(&Moment(at("2026-12-01T00:00:00Z").unwrap())).unwrap(),
            "\"2026-12-01T00:00:00Z\""
        );
    }
}
