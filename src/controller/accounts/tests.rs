//! How accounts come and go, in virtual time. No call is made.

use std::convert::Infallible;

use futures::FutureExt;
use http::{Request, Response};
use k8s_openapi::jiff::Timestamp;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::{
    cloud::ClientOptions,
    engine::{InstanceId, object::state::spec::Meta, outcome::Effect, state::Live},
};

fn accounts(endpoints: Endpoints) -> Accounts {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let service =
        tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let api = ApiServer::new(kube::Client::new(service, "default"));
    let cloud = Client::new(&ClientOptions {
        request_timeout: Duration::from_secs(30),
        ca_file: None,
        user_agent: "test".to_owned(),
        no_proxy: true,
    });
    let clock = Clock::with_wall(|| Timestamp::UNIX_EPOCH);
    Accounts::new(api, Arc::new(cloud.unwrap()), (endpoints, None), clock, Settings::default(), (2.0, 10.0))
}

fn spec(project: usize, secret: &str) -> DeletionSpec {
    let spec = json!({
        "region": "ap-southeast-3",
        "projectID": format!("{project:032x}"),
        "credentialsSecretRef": {"name": secret},
        "instanceIDs": ["0198170e-4ca7-7ee4-89a7-fa631843920b"],
    });
    DeletionSpec::parse(&serde_json::from_value(spec).unwrap(), Meta::default()).unwrap()
}

impl Accounts {
    fn counts(&self) -> [usize; 3] {
        let names = self.governors.in_force().identities;
        [lock(&self.by_key).len(), lock(&self.call_history).len(), names]
    }

    async fn sweeps(&self, time: Duration) {
        let start = tokio::time::Instant::now();
        while start.elapsed() < time {
            tokio::time::sleep(SWEPT_EVERY).await;
            self.sweep();
        }
    }
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn x23_accounts_leave_within_ten_minutes_after_the_last_object() {
    let accounts = accounts(Endpoints::default());
    let before = tasks();
    for n in 0..20_000 {
        // Each pipeline has a Secret and a project of its own, and ends.
        let account = accounts.of(&format!("ns-{}", n % 100), &spec(n, &format!("secret-{n}"))).unwrap();
        assert_eq!(account.credentials.read().now_or_never().map(|_| ()), None);
    }
    assert!(accounts.counts()[0] <= MOST, "{:?}", accounts.counts());
    let used = accounts.of("fleet", &spec(7, "used")).unwrap();
    accounts.sweeps(Duration::from_mins(10)).await;
    assert_eq!(accounts.counts(), [1, 1, 1], "accounts, call histories, governors");
    assert!(tasks() <= before + 1, "{} tasks", tasks());
    assert!(Arc::ptr_eq(&used, &accounts.of("fleet", &spec(7, "used")).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_calls_outlives_the_account() {
    let accounts = accounts(Endpoints::default());
    let id = InstanceId::from_u128(1);
    let account = accounts.of("fleet", &spec(7, "used")).unwrap();
    assert!(lock(&account.call_history).claim(&[(id, Live::Running)]));
    lock(&account.call_history)
        .release(CallKind::Delete, &[id], accounts.clock.mono(), |_| Some(Effect::Accepted));
    drop(account);
    // It counts for ten times --settle, which is five minutes.
    accounts.sweeps(Duration::from_mins(5)).await;
    assert_eq!(accounts.counts()[1], 1);
    let again = accounts.of("fleet", &spec(7, "used")).unwrap();
    assert!(lock(&again.call_history).get(id, "fleet").ended.is_some());
    drop(again);
    accounts.sweeps(Duration::from_mins(10)).await;
    assert_eq!(accounts.counts(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn objects_beyond_the_bound_wait_and_say_so_until_others_leave() {
    let accounts = accounts(Endpoints::default());
    let trouble = |account: &Account| {
        let read = account.credentials.read().now_or_never().and_then(Result::err);
        read.map(|problem| problem.trouble)
    };
    let of = |n: usize| accounts.of("greedy", &spec(n, "secret")).unwrap();
    let mut held: Vec<_> = (0..MOST_OF_NAMESPACE).map(of).collect();
    assert_eq!(trouble(&of(MOST)), Some(Trouble::TooManyAccounts));
    assert!(Arc::ptr_eq(&of(MOST), &of(MOST + 1)), "they cost one account together");
    // Another namespace has room, and all of them together have a bound.
    assert_eq!(trouble(&accounts.of("modest", &spec(0, "secret")).unwrap()), None);
    for n in 0..MOST {
        held.push(accounts.of(&format!("ns-{}", n % 100), &spec(n, "secret")).unwrap());
    }
    assert_eq!(accounts.counts()[0], MOST);
    assert_eq!(trouble(&accounts.of("modest", &spec(1, "secret")).unwrap()), Some(Trouble::TooManyAccounts));
    held.clear();
    assert_eq!(trouble(&accounts.of("modest", &spec(1, "secret")).unwrap()), None, "others left");
}

#[tokio::test(start_paused = true)]
async fn a_region_that_may_not_be_called_has_no_credentials() {
    let accounts = accounts(Endpoints::default().limited_to(vec!["cn-east-3".to_owned()]));
    let account = accounts.of("fleet", &spec(7, "secret")).unwrap();
    let problem = account.credentials.read().await.err().unwrap();
    assert_eq!(problem.trouble, Trouble::RegionNotAllowed);
    assert!(account.credentials.current().await.is_err());
}
