use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response};
use kube::client::Body;

use super::*;
use crate::{
    clock::{Clock, Deadline},
    cloud::{Client, ClientOptions, Endpoints},
    controller::{ApiServer, Context, Options, WriteError},
    engine::Settings,
    leadership::{Leadership, LeadershipSetter},
    random::Random,
    scope::Scope,
};

const OBJECT: &str = r#"{"apiVersion":"clouddc.dev/v1alpha1","kind":"InstanceDeletion","metadata":{"name":"retire","namespace":"fleet","uid":"u","resourceVersion":"7","generation":1},"spec":{},"status":{"observedGeneration":-1}}"#;

fn key() -> Key {
    Key { namespace: "fleet".into(), name: "retire".into() }
}

/// A controller before an API server that answers everything with one object, and how often it was asked.
fn controller(leadership: Leadership, scope: &Scope) -> (Arc<Context>, Arc<AtomicUsize>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = tower::service_fn(move |_: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, std::convert::Infallible>(Response::new(Body::from(OBJECT.as_bytes().to_vec()))) }
    });
    let cloud = Client::new(&ClientOptions {
        request_timeout: Duration::from_secs(1),
        ca_file: None,
        user_agent: "test".to_owned(),
        no_proxy: true,
    });
    let options = Options {
        settings: Settings::default(),
        rates: (1.0, 1.0),
        endpoints: Endpoints::default(),
        clock: Clock::start(),
        random: Random::system(),
        leadership,
    };
    let api = ApiServer::new(kube::Client::new(service, "default"));
    let (context, _added) = Context::new(api, Arc::new(cloud.unwrap()), options, scope);
    (context, asked)
}

#[tokio::test]
async fn r06_a_process_that_does_not_lead_reads_writes_and_deletes_nothing() {
    let (setter, leadership) = LeadershipSetter::new();
    let (context, asked) = controller(leadership, &Scope::default());
    let term = || Deadline::after(Duration::from_mins(1), &context.clock);

    assert!(reconcile(&context, &key()).await.is_some(), "it comes back");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "not even a read");
    setter.until(term());
    let live = context.api.read(&key()).await.unwrap().unwrap();
    context.api.write_status(&live, &live.status).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let departure = context.departure_guard(context.clock.mono());
    assert!(departure.allows());
    // Lost between the read and the write, or between the write and the call.
    setter.end();
    assert!(!departure.allows());
    let refused = [
        context.api.write_status(&live, &live.status).await,
        context.api.write_intent(&live, &live.status).await.map(drop),
        context.api.delete(&live).await,
    ];
    assert!(refused.iter().all(|done| matches!(done, Err(WriteError::Unavailable(_)))), "{refused:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    setter.until(term());
    reconcile(&context, &key()).await;
    assert!(asked.load(Ordering::SeqCst) > 2, "it goes on when it leads again");
}

#[tokio::test]
async fn s13_an_object_of_another_shard_is_read_and_left_alone() {
    for (selector, written) in [("", true), ("team!=fleet", true), ("team=fleet", false)] {
        let scope = Scope::new(Vec::new(), selector.parse().unwrap());
        let (context, asked) = controller(Leadership::always(), &scope);
        reconcile(&context, &key()).await;
        // Its spec is none, which is written.
        assert_eq!(asked.load(Ordering::SeqCst) > 1, written, "{selector}");
        assert!(asked.load(Ordering::SeqCst) > 0);
    }
}
