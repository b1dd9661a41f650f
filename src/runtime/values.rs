//! Parses values of flags; an error says what to write instead.

use crate::scope::is_of_kubernetes;

/// A region and its URL, as `REGION=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionUrl {
    /// Name of the region, a DNS label.
    pub region: String,
    /// Its URL, unchecked: `--allow-insecure-endpoint` decides which schemes are allowed.
    pub url: String,
}

/// Parses `REGION=URL`.
pub fn region_url(text: &str) -> Result<RegionUrl, String> {
    let (region, url) =
        text.split_once('=').filter(|(region, url)| !region.is_empty() && !url.is_empty()).ok_or_else(
            || format!("{text:?} is not REGION=URL, such as ap-southeast-3=https://clouddc.example"),
        )?;
    Ok(RegionUrl { region: self::region(region)?, url: url.to_owned() })
}

/// Parses the name of a region.
pub fn region(text: &str) -> Result<String, String> {
    if !is_label(text) {
        return Err(format!("{text:?} is not a region's name such as ap-southeast-3"));
    }
    Ok(text.to_owned())
}

/// Parses a type of Secrets. Those of Kubernetes itself hold other things than credentials of the cloud.
pub fn secret_type(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a type can't be empty; leave the flag out for the default".to_owned());
    }
    if is_of_kubernetes(text) {
        return Err(format!(
            "{text} is a type of Kubernetes itself; use a type of your own, such as clouddc.dev/credentials"
        ));
    }
    Ok(text.to_owned())
}

/// Parses the name of a namespace. An empty name is refused: to the API server it would mean all namespaces, and it usually
/// comes from an undefined variable.
pub fn namespace(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a namespace can't be empty; leave the flag out for the default".to_owned());
    }
    if !is_label(text) {
        return Err(format!("{text:?} is not a namespace's name such as fleet"));
    }
    Ok(text.to_owned())
}

/// Parses a number of calls per second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of calls per second"))?;
    // NaN is outside every range.
    if rate > 0.0 && rate <= 1000.0 {
        Ok(rate)
    } else {
        Err(format!("{text} is not above 0 and at most 1000"))
    }
}

/// A DNS label (RFC 1123): a region becomes part of a host name, and a namespace is one.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_and_its_url() {
        let parsed = region_url("ap-southeast-3=https://x.example/?a=b").unwrap();
        assert_eq!(
            (parsed.region.as_str(), parsed.url.as_str()),
            ("ap-southeast-3", "https://x.example/?a=b")
        );
        let long = format!("{}=https://x", "a".repeat(64));
        let table = [
            ("", "REGION=URL"),
            ("https://x", "REGION=URL"),
            ("=https://x", "REGION=URL"),
            ("r=", "REGION=URL"),
            ("R=https://x", "region's name"),
            ("-r=https://x", "region's name"),
            ("r-=https://x", "region's name"),
            ("r.x=https://x", "region's name"),
            (" r=https://x", "region's name"),
            (&long, "region's name"),
        ];
        for (text, expected) in table {
            let message = region_url(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_namespace() {
        assert_eq!(namespace("fleet-2"), Ok("fleet-2".to_owned()));
        for (text, expected) in
            [("", "leave the flag out"), ("Fleet", "such as fleet"), ("a/b", "such as fleet")]
        {
            let message = namespace(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_rate() {
        for (text, expected) in [("0.1", 0.1), ("2", 2.0), ("1000", 1000.0)] {
            assert!((rate(text).unwrap() - expected).abs() < f64::EPSILON, "{text}");
        }
        for text in ["", "fast", "0", "-1", "1000.1", "NaN", "inf"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
