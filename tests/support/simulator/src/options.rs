//! What can be chosen about a simulator.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    access_keys::AccessKey, durations, facts::RowFacts, random::Random, rate_limit::RateLimit, tokens::Token,
    users::User,
};

/// How a simulator behaves. Every choice the vendor's documents leave open is a field here.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the cloud API; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the admin interface; port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// Seed of ids and of random ending times.
    pub seed: u64,
    /// How long a deletion takes.
    pub end: EndTime,
    /// How long a terminated instance stays visible (undocumented); `None`: for ever.
    pub vanish_after: Option<Duration>,
    /// For how long reads go on showing the state before an accepted delete call, or before a change of power that has ended.
    pub visibility_lag: Duration,
    /// Each reply is delayed at random, by no more than this.
    pub reply_delay: Duration,
    /// Whether a running instance may be deleted: the SDKs' state diagrams say yes, the newest one of the
    /// documentation does not.
    pub running_deletable: bool,
    /// Whether an instance in error may be deleted: "Retry DeleteInstance" in the newest diagram only.
    pub error_deletable: bool,
    /// Whether a delete call that is refused for the state of instances names them (undocumented).
    pub refusals_named: bool,
    /// How long a change of a server's power takes.
    pub power_end: EndTime,
    /// How the last page of ListInstances is marked (undocumented).
    pub last_page: LastPage,
    /// The most rows of a page of ListInstances, whatever limit is asked for (undocumented); `None`: as many as asked
    /// for.
    pub page_rows: Option<usize>,
    /// Bytes of `user_data` in each row of ListInstances; 0: there is none. "Base64, at most 32 K" does not say whether
    /// that is before the encoding or after, so both lengths are possible: 32768 and 43692.
    pub user_data_bytes: usize,
    /// Which facts the rows of ListInstances and ListServers have.
    pub row_facts: RowFacts,
    /// Which names of states are spoken.
    pub vocabulary: Vocabulary,
    /// The code of the 401 for a missing or wrong token.
    pub unauthorized: UnauthorizedCode,
    /// Rate limit of DeleteInstances and ChangeServerPowerState together, per token, access key or user.
    pub delete_limit: Option<RateLimit>,
    /// Rate limit of ListInstances, ShowInstanceStatus, ListServers and ShowServer together, per token, access key or user.
    pub read_limit: Option<RateLimit>,
    /// Tokens known from the start.
    pub tokens: Vec<Token>,
    /// Access keys known from the start.
    pub access_keys: Vec<AccessKey>,
    /// IAM users known from the start.
    pub users: Vec<User>,
    /// For how long an issued token is good.
    pub token_life: Duration,
    /// Ids of projects by the name that IAM knows them under. A project that is not in here is its own name.
    pub project_names: BTreeMap<String, String>,
    /// By how much the cloud's wall clock is fast; negative: slow. `Date` and the check of `X-Sdk-Date` go by it, and
    /// the times of tokens as IAM shows them.
    pub clock_offset_seconds: i64,
}

impl Default for Options {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any_port,
            admin_listen: any_port,
            seed: 1,
            end: EndTime::Fixed(Duration::from_secs(20)),
            vanish_after: None,
            visibility_lag: Duration::ZERO,
            reply_delay: Duration::ZERO,
            running_deletable: true,
            error_deletable: true,
            refusals_named: true,
            power_end: EndTime::Fixed(Duration::from_secs(5)),
            last_page: LastPage::Null,
            page_rows: None,
            user_data_bytes: 0,
            row_facts: RowFacts::Documented,
            vocabulary: Vocabulary::Current,
            unauthorized: UnauthorizedCode::Imetal0003,
            delete_limit: None,
            read_limit: None,
            tokens: Vec::new(),
            access_keys: Vec::new(),
            users: Vec::new(),
            token_life: Duration::from_hours(24),
            project_names: BTreeMap::new(),
            clock_offset_seconds: 0,
        }
    }
}

/// How long after the accepted call an instance is terminated (or falls to error), or the power of a server is changed (or
/// that fails).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndTime {
    /// Always the same.
    Fixed(#[serde(with = "durations::text")] Duration),
    /// Anything from `min` to `max`.
    Uniform {
        /// The shortest.
        #[serde(with = "durations::text")]
        min: Duration,
        /// The longest.
        #[serde(with = "durations::text")]
        max: Duration,
    },
    /// Log-normal around a median.
    LogNormal {
        /// Half of them are over after this time.
        #[serde(with = "durations::text")]
        median: Duration,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// The instance stays in shutting-down, or the action under way.
    Never,
}

impl EndTime {
    /// Drawn from the seed, the id and the number of the attempt only: other requests do not change it.
    pub(crate) fn draw(&self, seed: u64, id: &str, attempt: u32) -> Option<Duration> {
        let mut random = Random::for_name(seed, id, u64::from(attempt));
        let longest = Duration::from_hours(24 * 365);
        match self {
            Self::Fixed(time) => Some(*time),
            Self::Uniform { min, max } => Some(*min + max.saturating_sub(*min).mul_f64(random.unit())),
            Self::LogNormal { median, sigma } => {
                let seconds = median.as_secs_f64() * (sigma * random.normal()).exp();
                Some(Duration::try_from_secs_f64(seconds).unwrap_or(longest).min(longest))
            }
            Self::Never => None,
        }
    }
}

/// `page_info.next_marker` of the last page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastPage {
    /// `"next_marker": null`
    Null,
    /// No such key.
    Absent,
    /// `"next_marker": ""`
    Empty,
}

/// Names of states, which differ between versions of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// `terminated`, `error`, with `operation_state` (SDK 3.1.191 and later).
    Current,
    /// `teminated` (sic), `failed`, without `operation_state` (SDK 3.1.171 and earlier); an instance that is being powered off
    /// is `stopping`.
    Old,
}

impl Vocabulary {
    pub(crate) fn terminated(self) -> &'static str {
        match self {
            Self::Current => "terminated",
            Self::Old => "teminated",
        }
    }

    pub(crate) fn error(self) -> &'static str {
        match self {
            Self::Current => "error",
            Self::Old => "failed",
        }
    }

    pub(crate) fn operation_state(self, state: &str) -> Option<String> {
        (self == Self::Current).then(|| state.to_owned())
    }
}

/// The `error_code` of a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnauthorizedCode {
    /// The service's own.
    #[serde(rename = "iMetal.0003")]
    Imetal0003,
    /// The gateway's "incorrect IAM authentication information".
    #[serde(rename = "APIGW.0301")]
    Apigw0301,
    /// The gateway's "the token must be updated".
    #[serde(rename = "APIGW.0307")]
    Apigw0307,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn ending_times_are_drawn_from_seed_id_and_attempt() {
        let uniform = EndTime::Uniform { min: S(10), max: S(20) };
        let log_normal = EndTime::LogNormal { median: S(600), sigma: 0.5 };
        let mut below = 0;
        for n in 0..1_000 {
            let id = format!("id-{n}");
            assert!(uniform.draw(1, &id, 0).is_some_and(|t| (S(10)..=S(20)).contains(&t)));
            below += u32::from(log_normal.draw(1, &id, 0) < Some(S(600)));
            assert_eq!(log_normal.draw(1, &id, 0), log_normal.draw(1, &id, 0));
        }
        assert!((400..600).contains(&below), "half of them before the median: {below}");
        assert_ne!(log_normal.draw(1, "a", 0), log_normal.draw(1, "a", 1));
        assert_ne!(log_normal.draw(1, "a", 0), log_normal.draw(2, "a", 0));
        assert_eq!(EndTime::Fixed(S(3)).draw(1, "a", 0), Some(S(3)));
        assert_eq!(EndTime::Never.draw(1, "a", 0), None);
    }
}
