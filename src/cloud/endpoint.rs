//! Endpoints of the API by region. They come from the operator's configuration, never from users.

use std::{collections::HashMap, fmt};

use reqwest::Url;

/// The base URL of an API, without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

/// Why a text is not an endpoint. No message shows a text that may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL of this kind.
    #[error("{0:?} is not a URL such as https://clouddc.ap-southeast-3.myhuaweicloud.com")]
    Invalid(String),
    /// `http`, so tokens would cross the network in the clear.
    #[error("{0} is not https; use https, or --allow-insecure-endpoint for a test")]
    Insecure(String),
    /// The URL has parts that a base URL may not have.
    #[error("it has a user, a query or a fragment; a base URL has none")]
    Surplus,
    /// Not the name of a region.
    #[error("{0:?} is not a region's name such as ap-southeast-3")]
    Region(String),
}

impl Endpoint {
    /// Parses a base URL: https, or http where that is allowed; a path may follow.
    pub fn parse(text: &str, allow_insecure: bool) -> Result<Self, EndpointError> {
        // The text before an @ may be a password, also in a URL that does not parse.
        let shown = || if text.contains('@') { "(hidden)".to_owned() } else { text.to_owned() };
        let url = Url::parse(text).map_err(|_| EndpointError::Invalid(shown()))?;
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(EndpointError::Surplus);
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_insecure => {}
            "http" => return Err(EndpointError::Insecure(shown())),
            _ => return Err(EndpointError::Invalid(shown())),
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Endpoints by region: the operator's if configured, else the vendor's.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    clouddc: HashMap<String, Endpoint>,
    iam: HashMap<String, Endpoint>,
    /// The regions that may be called; all if empty.
    allowed: Vec<String>,
}

impl Endpoints {
    /// Endpoints that override the vendor's, by region.
    #[must_use]
    pub fn new(clouddc: HashMap<String, Endpoint>, iam: HashMap<String, Endpoint>) -> Self {
        Self { clouddc, iam, allowed: Vec::new() }
    }

    /// The same endpoints, for calls to these regions only. No region: calls to all.
    #[must_use]
    pub fn limited_to(self, allowed: Vec<String>) -> Self {
        Self { allowed, ..self }
    }

    /// Whether the operator lets the controller call a region.
    #[must_use]
    pub fn allows(&self, region: &str) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|allowed| allowed == region)
    }

    /// Whether the operator lets the controller call every region.
    #[must_use]
    pub fn allows_every(&self) -> bool {
        self.allowed.is_empty()
    }

    /// CloudDC in a region, by default `https://clouddc.{region}.{domain}` with the domain of [`domain`].
    pub fn of(&self, region: &str) -> Result<Endpoint, EndpointError> {
        of(&self.clouddc, "clouddc", region)
    }

    /// IAM in a region, by default `https://iam.{region}.{domain}` with the domain of [`domain`].
    pub fn iam(&self, region: &str) -> Result<Endpoint, EndpointError> {
        of(&self.iam, "iam", region)
    }
}

fn of(overrides: &HashMap<String, Endpoint>, service: &str, region: &str) -> Result<Endpoint, EndpointError> {
    if let Some(endpoint) = overrides.get(region) {
        return Ok(endpoint.clone());
    }
    // Callers pass a parsed region; this check makes sure that it can't become another host.
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = (1..=63).contains(&region.len())
        && region.bytes().all(inner)
        && !region.starts_with('-')
        && !region.ends_with('-');
    if !label {
        return Err(EndpointError::Region(region.to_owned()));
    }
    Endpoint::parse(&format!("https://{service}.{region}.{}", domain(region)), false)
}

/// The domain of a region (vendor: region tables of the SDKs, such as `iam_region.py`): the European site has its own.
fn domain(region: &str) -> &'static str {
    match region {
        "eu-west-101" => "myhuaweicloud.eu",
        _ => "myhuaweicloud.com",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_or_an_explicit_permission() {
        let good = [
            "https://clouddc.cn-east-3.myhuaweicloud.com",
            "https://10.0.0.1:8443/clouddc/",
            "http://127.0.0.1:1",
        ];
        for text in good {
            assert!(Endpoint::parse(text, true).is_ok(), "{text}");
        }
        assert!(matches!(Endpoint::parse("http://127.0.0.1:1", false), Err(EndpointError::Insecure(_))));
        let bad = [
            "",
            "clouddc",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://u@x",
            "https://x?y",
            "https://x?",
            "https://x#y",
            "https://x:port",
            "file:///etc/passwd",
        ];
        for text in bad {
            assert!(Endpoint::parse(text, true).is_err(), "{text}");
        }
        let same = Endpoint::parse("HTTPS://X.example:443/", false).unwrap();
        assert_eq!(same, Endpoint::parse("https://x.example", false).unwrap());
        assert_eq!(Endpoint::parse("https://x/y/", false).unwrap().to_string(), "https://x/y");
    }

    #[test]
    fn a_region_of_another_site_has_the_domain_of_that_site() {
        let endpoints = Endpoints::default();
        for (region, domain) in
            [("eu-west-101", "eu"), ("eu-west-0", "com"), ("ap-southeast-3", "com"), ("nowhere-1", "com")]
        {
            let host = format!("{region}.myhuaweicloud.{domain}");
            assert_eq!(endpoints.of(region).unwrap().to_string(), format!("https://clouddc.{host}"));
            assert_eq!(endpoints.iam(region).unwrap().to_string(), format!("https://iam.{host}"));
        }
    }

    #[test]
    fn the_vendors_endpoint_unless_overridden() {
        let own = Endpoint::parse("https://own.example", false).unwrap();
        let other = Endpoint::parse("https://iam.example", false).unwrap();
        let only = |endpoint: &Endpoint| HashMap::from([("cn-east-3".to_owned(), endpoint.clone())]);
        let endpoints = Endpoints::new(only(&own), only(&other));
        assert_eq!(endpoints.of("cn-east-3").unwrap(), own);
        assert_eq!(endpoints.iam("cn-east-3").unwrap(), other);
        let iam = endpoints.iam("ap-southeast-3").unwrap().to_string();
        assert_eq!(iam, "https://iam.ap-southeast-3.myhuaweicloud.com");
        assert_eq!(
            endpoints.of("ap-southeast-3").unwrap().to_string(),
            "https://clouddc.ap-southeast-3.myhuaweicloud.com"
        );
        for region in ["", "evil.example/", "a.b", "-a", "a-", "A", "a@b", "a b", &"a".repeat(64)] {
            assert_eq!(endpoints.of(region), Err(EndpointError::Region(region.to_owned())));
            assert!(endpoints.iam(region).is_err());
        }
    }

    #[test]
    fn regions_may_be_limited() {
        let all = Endpoints::default();
        assert!(all.allows("cn-east-3") && all.allows("ap-southeast-3") && all.allows_every());
        let one = all.limited_to(vec!["cn-east-3".to_owned()]);
        assert!(!one.allows_every());
        assert!(one.allows("cn-east-3") && !one.allows("ap-southeast-3") && !one.allows("cn-east-30"));
    }

    #[test]
    fn s11_no_error_shows_a_password() {
        for text in
            ["https://u:hunter2@x", "http://u:hunter2@x", "https://u:hunter2@x:port", "ftp://u:hunter2@x"]
        {
            let error = Endpoint::parse(text, false).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
