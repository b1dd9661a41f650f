//! Command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use clouddc_simulator::{
    AccessKey, EndTime, LastPage, Options, Projects, RateKind, RateLimit, RetryAfter, RowFacts, ThrottleBody,
    Token, UnauthorizedCode, User, Vocabulary, parse_duration,
};

/// Simulates the part of Huawei Cloud CloudDC that powers off and deletes bare-metal instances.
///
/// Served are, as documented by the vendor:
///   POST /v1/{project}/instances/batch-delete      DeleteInstances
///   GET  /v1/{project}/instances/{id}/status       ShowInstanceStatus
///   GET  /v1/{project}/instances?instance_id=…     ListInstances
///   PUT  /v1/{project}/physicalservers/power-state ChangeServerPowerState
///   GET  /v1/{project}/physicalservers             ListServers
///   GET  /v1/{project}/physicalservers/{id}        ShowServer
///   POST /v3/auth/tokens                           a token of IAM, for a user's password
/// Requests have an X-Auth-Token or are signed with an access key (SDK-HMAC-SHA256).
/// Accepted instances go to shutting-down and later to terminated, or to error; those whose server is powered off
/// become stopped. A second port has the admin interface: add instances, set states, switch their power, script
/// faults, read the log of all requests (GET /log).
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(version, verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Address of the cloud API; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Address of the admin interface; it knows no authentication
    #[arg(long, default_value = "127.0.0.1:0")]
    admin_listen: SocketAddr,

    /// A file that is written once both ports are open, with the same two lines as stdout
    #[arg(long)]
    pub(crate) ready_file: Option<PathBuf>,

    /// A project that gets instances; may be repeated
    #[arg(long = "project", default_value = "demo-project")]
    pub(crate) projects: Vec<String>,

    /// Running instances to begin with, in each project (ids: GET admin /projects/{project}/instances)
    #[arg(long, default_value_t = 0)]
    pub(crate) instances: usize,

    /// LABEL=VALUE or LABEL=VALUE@PROJECT,PROJECT: an X-Auth-Token; may be repeated
    #[arg(long = "token", value_parser = parse_token, default_value = "demo=demo-token")]
    tokens: Vec<Token>,

    /// LABEL=ID:SECRET or LABEL=ID:SECRET:SECURITY_TOKEN, either with @PROJECT,PROJECT: an access key (AK:SK), a
    /// temporary one if it has a security token; may be repeated
    #[arg(long = "access-key", value_parser = parse_access_key)]
    access_keys: Vec<AccessKey>,

    /// NAME@DOMAIN=PASSWORD or NAME@DOMAIN=PASSWORD@PROJECT,PROJECT: an IAM user; may be repeated
    #[arg(long = "user", value_parser = parse_user)]
    users: Vec<User>,

    /// NAME=ID: the name under which IAM knows a project; else its id is its name; may be repeated
    #[arg(long = "project-name", value_parser = parse_project_name)]
    project_names: Vec<(String, String)>,

    /// A token issued by IAM is good for this long
    #[arg(long, value_parser = parse_duration, default_value = "24h")]
    token_life: Duration,

    /// The wall clock is fast by so many seconds, or slow by a negative number: Date, and the check of X-Sdk-Date
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "SECONDS")]
    clock_offset: i64,

    /// Seed of ids and of random times
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// A deletion takes this long
    #[arg(long, value_parser = parse_duration, default_value = "20s", conflicts_with_all = ["end_random", "end_never"])]
    end_after: Duration,

    /// A deletion takes a random time: median=10m,sigma=0.5 (log-normal) or min=5s,max=1m (uniform)
    #[arg(long, value_parser = parse_random, conflicts_with = "end_never")]
    end_random: Option<EndTime>,

    /// Deletions never end
    #[arg(long)]
    end_never: bool,

    /// A change of a server's power takes this long
    #[arg(long, value_parser = parse_duration, default_value = "5s", conflicts_with_all = ["power_random", "power_never"])]
    power_after: Duration,

    /// A change of a server's power takes a random time: median=10s,sigma=0.5 or min=5s,max=1m
    #[arg(long, value_parser = parse_random, conflicts_with = "power_never")]
    power_random: Option<EndTime>,

    /// Changes of power never end
    #[arg(long)]
    power_never: bool,

    /// A terminated instance vanishes after this time; else it stays visible
    #[arg(long, value_parser = parse_duration)]
    vanish_after: Option<Duration>,

    /// Reads show the state before a delete call, or before a change of power, for this long
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    visibility_lag: Duration,

    /// Each reply is delayed at random, by no more than this
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    reply_delay: Duration,

    /// Refuse to delete running instances
    #[arg(long)]
    keep_running: bool,

    /// Refuse to delete instances in error
    #[arg(long)]
    keep_error: bool,

    /// A refusal to delete instances in their state does not name them
    #[arg(long)]
    unnamed_refusals: bool,

    /// The next marker of the last page
    #[arg(long, value_enum, default_value_t = LastPageArg::Null)]
    last_page: LastPageArg,

    /// The most rows of a page of a list, whatever limit is asked for
    #[arg(long, value_name = "ROWS")]
    page_rows: Option<usize>,

    /// Each row of a list has user data of so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    user_data_bytes: usize,

    /// Which facts the rows of lists have: name, VPC, tags, server, times
    #[arg(long, value_enum, default_value_t = RowFactsArg::Documented)]
    row_facts: RowFactsArg,

    /// Names of states of old SDKs: teminated (sic), failed, stopping, no operation_state
    #[arg(long)]
    old_states: bool,

    /// error_code of a 401
    #[arg(long, value_enum, default_value_t = UnauthorizedArg::Imetal0003)]
    unauthorized: UnauthorizedArg,

    /// Rate limit of deletes and power calls per token, access key or user: bucket:20/1s, fixed:10/1m or sliding:10/1m
    #[arg(long)]
    rate_deletes: Option<RateKind>,

    /// Rate limit of reads per token, access key or user
    #[arg(long)]
    rate_reads: Option<RateKind>,

    /// Refused requests count for the rate limits
    #[arg(long)]
    count_refusals: bool,

    /// Body of a 429
    #[arg(long, value_enum, default_value_t = ThrottleArg::Imetal)]
    throttle_body: ThrottleArg,

    /// Retry-After of a 429: exact, or a number of seconds
    #[arg(long, value_parser = parse_retry_after)]
    retry_after: Option<RetryAfter>,
}

const EXAMPLES: &str = r#"Example:
  clouddc-simulator --listen 127.0.0.1:8080 --admin-listen 127.0.0.1:8081 --instances 3 &
  curl -s 127.0.0.1:8081/projects/demo-project/instances
  curl -s -H 'X-Auth-Token: demo-token' -H 'Content-Type: application/json' \
       -d '{"instance_id_set":["ID"]}' 127.0.0.1:8080/v1/demo-project/instances/batch-delete
  curl -s -H 'X-Auth-Token: demo-token' 127.0.0.1:8080/v1/demo-project/instances/ID/status
  curl -s '127.0.0.1:8081/log?operation=DeleteInstances'

With --user u@account=secret, a token for a project (header X-Subject-Token):
  curl -si -H 'Content-Type: application/json' '127.0.0.1:8080/v3/auth/tokens?nocatalog=true' -d \
       '{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"u","password":"secret",
        "domain":{"name":"account"}}}},"scope":{"project":{"id":"demo-project"}}}}'

The next delete call gets no reply, though it takes effect:
  curl -s -H 'Content-Type: application/json' 127.0.0.1:8081/faults \
       -d '{"operation":"DeleteInstances","times":1,"drop_connection":"after_effect"}'"#;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LastPageArg {
    Null,
    Absent,
    Empty,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RowFactsArg {
    Documented,
    Absent,
    Odd,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnauthorizedArg {
    #[value(name = "iMetal.0003")]
    Imetal0003,
    #[value(name = "APIGW.0301")]
    Apigw0301,
    #[value(name = "APIGW.0307")]
    Apigw0307,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ThrottleArg {
    Imetal,
    Apigw,
    JsonString,
    PlainText,
}

impl Cli {
    pub(crate) fn options(&self) -> Options {
        let limit = |kind: RateKind| RateLimit {
            kind,
            count_refusals: self.count_refusals,
            body: match self.throttle_body {
                ThrottleArg::Imetal => ThrottleBody::Imetal,
                ThrottleArg::Apigw => ThrottleBody::Apigw,
                ThrottleArg::JsonString => ThrottleBody::JsonString,
                ThrottleArg::PlainText => ThrottleBody::PlainText,
            },
            retry_after: self.retry_after.unwrap_or_default(),
        };
        let end = |never: bool, random: &Option<EndTime>, fixed: Duration| match (never, random) {
            (true, _) => EndTime::Never,
            (false, Some(random)) => random.clone(),
            (false, None) => EndTime::Fixed(fixed),
        };
        Options {
            listen: self.listen,
            admin_listen: self.admin_listen,
            seed: self.seed,
            end: end(self.end_never, &self.end_random, self.end_after),
            power_end: end(self.power_never, &self.power_random, self.power_after),
            vanish_after: self.vanish_after,
            visibility_lag: self.visibility_lag,
            reply_delay: self.reply_delay,
            running_deletable: !self.keep_running,
            error_deletable: !self.keep_error,
            refusals_named: !self.unnamed_refusals,
            last_page: match self.last_page {
                LastPageArg::Null => LastPage::Null,
                LastPageArg::Absent => LastPage::Absent,
                LastPageArg::Empty => LastPage::Empty,
            },
            page_rows: self.page_rows,
            user_data_bytes: self.user_data_bytes,
            row_facts: match self.row_facts {
                RowFactsArg::Documented => RowFacts::Documented,
                RowFactsArg::Absent => RowFacts::Absent,
                RowFactsArg::Odd => RowFacts::Odd,
            },
            vocabulary: if self.old_states { Vocabulary::Old } else { Vocabulary::Current },
            unauthorized: match self.unauthorized {
                UnauthorizedArg::Imetal0003 => UnauthorizedCode::Imetal0003,
                UnauthorizedArg::Apigw0301 => UnauthorizedCode::Apigw0301,
                UnauthorizedArg::Apigw0307 => UnauthorizedCode::Apigw0307,
            },
            delete_limit: self.rate_deletes.map(limit),
            read_limit: self.rate_reads.map(limit),
            tokens: self.tokens.clone(),
            access_keys: self.access_keys.clone(),
            users: self.users.clone(),
            token_life: self.token_life,
            project_names: self.project_names.iter().cloned().collect(),
            clock_offset_seconds: self.clock_offset,
        }
    }
}

fn parse_token(text: &str) -> Result<Token, String> {
    let (label, rest) = text.split_once('=').ok_or("LABEL=VALUE is expected")?;
    let (value, projects) = split_projects(rest);
    if label.is_empty() || value.is_empty() {
        return Err("neither label nor value may be empty".to_owned());
    }
    Ok(Token::new(label, value, projects))
}

/// What is before `@PROJECT,PROJECT`, if there is that.
fn split_projects(text: &str) -> (&str, Projects) {
    match text.split_once('@') {
        None => (text, Projects::All),
        Some((value, list)) => (value, Projects::Only(list.split(',').map(str::to_owned).collect())),
    }
}

fn parse_access_key(text: &str) -> Result<AccessKey, String> {
    let (label, rest) = text.split_once('=').ok_or("LABEL=ID:SECRET is expected")?;
    let (value, projects) = split_projects(rest);
    let parts: Vec<&str> = value.split(':').collect();
    if label.is_empty() || parts.iter().any(|part| part.is_empty()) {
        return Err("neither label nor id, secret and token may be empty".to_owned());
    }
    match parts.as_slice() {
        [id, secret] => Ok(AccessKey::new(label, *id, *secret, projects)),
        [id, secret, token] => Ok(AccessKey::new(label, *id, *secret, projects).with_security_token(*token)),
        _ => Err("LABEL=ID:SECRET or LABEL=ID:SECRET:SECURITY_TOKEN is expected".to_owned()),
    }
}

fn parse_user(text: &str) -> Result<User, String> {
    let parts = text.split_once('=').and_then(|(who, rest)| Some((who.split_once('@')?, rest)));
    let ((name, domain), rest) = parts.ok_or("NAME@DOMAIN=PASSWORD is expected")?;
    let (password, projects) = split_projects(rest);
    if name.is_empty() || domain.is_empty() || password.is_empty() {
        return Err("neither name nor domain and password may be empty".to_owned());
    }
    Ok(User::new(name, password, domain, projects))
}

fn parse_project_name(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, id)| !name.is_empty() && !id.is_empty());
    pair.map(|(name, id)| (name.to_owned(), id.to_owned())).ok_or_else(|| "NAME=ID is expected".to_owned())
}

fn parse_random(text: &str) -> Result<EndTime, String> {
    let pairs: Option<Vec<(&str, &str)>> = text.split(',').map(|pair| pair.split_once('=')).collect();
    match pairs.as_deref() {
        Some([("median", median), ("sigma", sigma)]) => {
            let sigma: f64 = sigma.parse().map_err(|_| format!("'{sigma}' is no number"))?;
            if !(0.0..=10.0).contains(&sigma) {
                return Err("sigma is from 0 to 10".to_owned());
            }
            Ok(EndTime::LogNormal { median: parse_duration(median)?, sigma })
        }
        Some([("min", min), ("max", max)]) => {
            Ok(EndTime::Uniform { min: parse_duration(min)?, max: parse_duration(max)? })
        }
        _ => Err("median=TIME,sigma=NUMBER or min=TIME,max=TIME is expected".to_owned()),
    }
}

fn parse_retry_after(text: &str) -> Result<RetryAfter, String> {
    match text {
        "exact" => Ok(RetryAfter::Exact),
        _ => text.parse().map(RetryAfter::Seconds).map_err(|_| "'exact' or seconds are expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"clouddc-simulator").chain(args)).map(|cli| cli.options())
    }

    #[test]
    fn arguments_become_options() {
        let plain = options(&[]).unwrap();
        assert_eq!(plain.end, EndTime::Fixed(Duration::from_secs(20)));
        assert_eq!(plain.tokens, [Token::new("demo", "demo-token", Projects::All)]);

        let random = options(&["--end-random", "median=10m,sigma=0.5"]).unwrap();
        assert_eq!(random.end, EndTime::LogNormal { median: Duration::from_mins(10), sigma: 0.5 });

        assert_eq!((&plain.power_end, plain.refusals_named), (&EndTime::Fixed(Duration::from_secs(5)), true));
        for (args, power_end) in [
            (&["--power-after", "1m"][..], EndTime::Fixed(Duration::from_mins(1))),
            (
                &["--power-random", "min=1s,max=2s"],
                EndTime::Uniform { min: Duration::from_secs(1), max: Duration::from_secs(2) },
            ),
            (&["--power-never"], EndTime::Never),
        ] {
            let given = options(args).unwrap();
            assert_eq!((given.power_end, given.end), (power_end, plain.end.clone()), "{args:?}");
        }
        let refusing = options(&["--keep-running", "--unnamed-refusals"]).unwrap();
        assert_eq!((refusing.running_deletable, refusing.refusals_named), (false, false));

        let lists = options(&["--page-rows", "7", "--user-data-bytes", "9", "--row-facts", "odd"]).unwrap();
        assert_eq!((lists.page_rows, lists.user_data_bytes), (Some(7), 9));
        assert_eq!((plain.row_facts, lists.row_facts), (RowFacts::Documented, RowFacts::Odd));
        assert_eq!((plain.page_rows, plain.user_data_bytes), (None, 0));

        let args = ["--token", "a=b@p,q", "--rate-deletes", "fixed:10/1m", "--retry-after", "exact"];
        let limited = options(&args).unwrap();
        let projects = Projects::Only(vec!["p".to_owned(), "q".to_owned()]);
        assert_eq!(limited.tokens, [Token::new("a", "b", projects)]);
        let limit = RateLimit::fixed(10, Duration::from_mins(1)).retry_after(RetryAfter::Exact);
        assert_eq!(limited.delete_limit, Some(limit));

        let args =
            ["--access-key", "a=AK:SK@p", "--access-key", "t=AK2:SK2:tok+/==", "--clock-offset", "-900"];
        let keyed = options(&args).unwrap();
        let permanent = AccessKey::new("a", "AK", "SK", Projects::Only(vec!["p".to_owned()]));
        let temporary = AccessKey::new("t", "AK2", "SK2", Projects::All).with_security_token("tok+/==");
        assert_eq!(keyed.access_keys, [permanent, temporary]);
        assert_eq!(keyed.clock_offset_seconds, -900);

        let args = ["--user", "u@d=pw=x@p", "--project-name", "region=p", "--token-life", "1m"];
        let known = options(&args).unwrap();
        assert_eq!(known.users, [User::new("u", "pw=x", "d", Projects::Only(vec!["p".to_owned()]))]);
        assert_eq!(known.project_names.get("region").map(String::as_str), Some("p"));
        assert_eq!((plain.token_life, known.token_life), (Duration::from_hours(24), Duration::from_mins(1)));

        for bad in [
            &["--access-key", "a=AK"][..],
            &["--access-key", "a=AK:"],
            &["--access-key", "a=1:2:3:4"],
            &["--user", "u=pw"],
            &["--user", "u@d="],
            &["--project-name", "x"],
            &["--end-random", "sigma=1"],
            &["--end-random", "min=1s,max=2s", "--end-never"],
            &["--power-after", "1s", "--power-never"],
            &["--power-random", "sigma=1"],
            &["--rate-reads", "10/1m"],
            &["--rate-reads", "fixed:0/1m"],
            &["--token", "x"],
            &["--end-after", "5"],
        ] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }
}
