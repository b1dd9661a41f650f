//! Parameters of ListInstances and ListServers.

use crate::{errors::ApiError, random::is_uuid};

/// What a page is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListQuery {
    /// None: all.
    pub(crate) ids: Vec<String>,
    pub(crate) server_ids: Vec<String>,
    pub(crate) state: Option<String>,
    /// Rows up to this place in the order are left out.
    pub(crate) after: u64,
    pub(crate) limit: usize,
}

/// What a page of ListServers is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerQuery {
    pub(crate) manage_state: Option<String>,
    /// Id of the last row of the page before.
    pub(crate) marker: Option<String>,
    pub(crate) limit: usize,
}

impl ServerQuery {
    pub(crate) fn read(query: &[(String, String)]) -> Result<Self, ApiError> {
        let value = |name: &str| given(query, name).map(str::to_owned);
        let marker = value("marker");
        if marker.as_deref().is_some_and(|marker| !is_uuid(marker)) {
            return Err(ApiError::invalid("marker"));
        }
        Ok(Self { manage_state: value("manage_state"), marker, limit: read_limit(given(query, "limit"))? })
    }
}

/// The value of a parameter that is there and not empty.
fn given<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

const MOST_IDS: usize = 100;

impl ListQuery {
    pub(crate) fn read(query: &[(String, String)]) -> Result<Self, ApiError> {
        let value = |name: &str| given(query, name);
        let list = |name: &str| {
            let all: Vec<String> =
                value(name).map_or(Vec::new(), |text| text.split(',').map(str::to_owned).collect());
            if all.len() > MOST_IDS {
                return Err(ApiError::invalid(&format!("{name}: more than {MOST_IDS}")));
            }
            match all.iter().find(|id| !is_uuid(id)) {
                Some(bad) => Err(ApiError::invalid(&format!("{name}: {bad}"))),
                None => Ok(all),
            }
        };
        let (ids, server_ids) = (list("instance_id")?, list("server_id")?);
        if !ids.is_empty() && !server_ids.is_empty() {
            return Err(ApiError::invalid("instance_id and server_id exclude each other"));
        }
        let after = match value("marker") {
            None => 0,
            Some(marker) => read_marker(marker).ok_or_else(|| ApiError::invalid("marker"))?,
        };
        let state = value("instance_state").map(str::to_owned);
        Ok(Self { ids, server_ids, state, after, limit: read_limit(value("limit"))? })
    }
}

/// Absent or below 10 means 10, above 1000 means 1000.
fn read_limit(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(10) };
    let limit: i64 = text.parse().map_err(|_| ApiError::invalid("limit"))?;
    Ok(usize::try_from(limit.clamp(10, 1000)).unwrap_or(10))
}

/// Markers are opaque: neither an id nor an offset that a client could make up.
const MASK: u64 = 0x5bd1_e995_97f4_a7c1;

pub(crate) fn write_marker(after: u64) -> String {
    format!("{:016x}", after.rotate_left(17) ^ MASK)
}

fn read_marker(marker: &str) -> Option<u64> {
    let after = (u64::from_str_radix(marker, 16).ok()? ^ MASK).rotate_right(17);
    (after < 1 << 40).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_traps() {
        for (text, limit) in [
            (None, 10),
            (Some("0"), 10),
            (Some("-5"), 10),
            (Some("9"), 10),
            (Some("11"), 11),
            (Some("1000"), 1000),
            (Some("5000"), 1000),
        ] {
            assert_eq!(read_limit(text).unwrap(), limit, "{text:?}");
        }
        assert!(read_limit(Some("many")).is_err());
    }

    #[test]
    fn markers_are_read_back_and_others_refused() {
        for after in [0, 1, 77, 1 << 30] {
            assert_eq!(read_marker(&write_marker(after)), Some(after));
        }
        for bad in ["10", "zz", "0198170e-4ca7-7ee4-89a7-000000000000"] {
            assert_eq!(read_marker(bad), None, "{bad}");
        }
    }
}
