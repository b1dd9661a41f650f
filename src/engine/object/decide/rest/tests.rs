//! Objects at their end, and objects with an invalid spec.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::engine::object::{state::spec::tests::meta, tests::case::then};

fn now() -> Now {
    Now { mono: then(), wall: Timestamp::from_second(1_800_000_000).unwrap() }
}

#[test]
fn an_invalid_spec_is_said_once() {
    let said = decide_invalid("it is odd", &meta(2), &InstanceDeletionStatus::default(), &now());
    let status = said.write.clone().unwrap();
    assert_eq!(
        said,
        Decision {
            write: said.write.clone(),
            events: vec![events::invalid_spec("it is odd")],
            ..Decision::rest()
        }
    );
    assert_eq!(decide_invalid("it is odd", &meta(2), &status, &now()), Decision::rest());
}

#[test]
fn a_finished_object_says_that_an_edit_was_seen_and_goes_when_its_time_is_over() {
    let status = status::invalid_spec("x", &meta(2), &InstanceDeletionStatus::default(), &now());
    let ttl = |seconds| Some(Duration::from_secs(seconds));
    let at = |seconds| Now { mono: then(), wall: now().wall + Duration::from_secs(seconds) };
    assert_eq!(finished(&meta(2), &status, None, &now()), Decision::rest());
    let edited = finished(&meta(3), &status, ttl(9), &now());
    assert_eq!((edited.write, edited.wake), (Some(status::observed(&status, &meta(3))), Some(then())));
    assert_eq!(finished(&meta(3), &status, None, &now()).wake, None);
    let wakes = |seconds, passed| finished(&meta(2), &status, ttl(seconds), &at(passed)).wake;
    assert_eq!(wakes(9, 0), Some(then() + Duration::from_secs(9)));
    assert_eq!(wakes(9, 8), Some(then() + Duration::from_secs(1)));
    assert_eq!(wakes(86_400, 0), Some(then() + LONGEST_SLEEP));
    for passed in [9, 10] {
        assert_eq!(
            finished(&meta(2), &status, ttl(9), &at(passed)),
            Decision { next: Next::Delete, ..Decision::rest() }
        );
    }
}
