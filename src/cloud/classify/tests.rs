//! Tables of replies and what they mean.

use super::*;
use crate::engine::{InstanceId, ServerId, outcome::Limit, state::Live};

fn heard(status: u16, body: &str) -> HttpReply {
    HttpReply {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: None,
        retry_after: None,
        date: None,
        subject_token: None,
        request_id: Some("req-1".into()),
        body: body.as_bytes().to_vec().into(),
    }
}

fn id(n: u128) -> InstanceId {
    InstanceId::from_u128(n)
}

const BOTH: [ChangeKind; 2] = [ChangeKind::Delete, ChangeKind::PowerOff];

/// The server of an instance.
fn server(id: InstanceId) -> ServerId {
    let text = id.to_string();
    ServerId::parse(&format!("srv-{}", text.trim_start_matches(['0', '-']))).unwrap()
}

fn call(kind: ChangeKind, ids: &[InstanceId]) -> Change {
    match kind {
        ChangeKind::Delete => Change::delete(ids),
        ChangeKind::PowerOff => {
            let pairs: Vec<_> = ids.iter().map(|id| (*id, server(*id))).collect();
            Change::power_off(&pairs)
        }
    }
}

/// A reply to a delete call, as the other call has it.
fn of(kind: ChangeKind, body: &str) -> String {
    match kind {
        ChangeKind::Delete => body.to_owned(),
        ChangeKind::PowerOff => {
            let body = body.replace(r#""instances""#, r#""physical_servers""#);
            (1..10).fold(body, |body, n| body.replace(&id(n).to_string(), server(id(n)).as_str()))
        }
    }
}

fn meaning(heard: &HttpReply, kind: ChangeKind, ids: &[InstanceId]) -> CallOutcome {
    changed(heard, &call(kind, ids), &str::to_owned, Timestamp::UNIX_EPOCH)
}

fn reply(kind: ChangeKind, status: u16, body: &str) -> CallOutcome {
    meaning(&heard(status, &of(kind, body)), kind, &[id(1), id(2)])
}

const HTML: &str = "<html><body>Bad Gateway secret</body></html>";

#[test]
fn every_row_of_the_table_of_outcomes() {
    let accepted = |ids: &[u128], foreign| (ids.iter().map(|n| id(*n)).collect::<Vec<_>>(), foreign);
    let table = [
        (
            r#"{"instances":[{"id":"00000000-0000-0000-0000-000000000001"},{"id":"00000000-0000-0000-0000-000000000002"}]}"#,
            accepted(&[1, 2], 0),
        ),
        (r#"{"instances":[{"id":"00000000-0000-0000-0000-000000000002"}]}"#, accepted(&[2], 0)),
        (
            r#"{"instances":[{"id":"00000000-0000-0000-0000-000000000001"},{"id":"00000000-0000-0000-0000-000000000001"}]}"#,
            accepted(&[1], 0),
        ),
        (
            r#"{"instances":[{"id":"00000000-0000-0000-0000-000000000001"},{"id":"00000000-0000-0000-0000-000000000009"},{"id":"?"},{"id":null},7]}"#,
            accepted(&[1], 4),
        ),
    ];
    for (kind, (body, (expected, count))) in
        BOTH.into_iter().flat_map(|kind| table.clone().map(|row| (kind, row)))
    {
        // The vendor has 202 for one call and 200 for the other: either is a success.
        for status in [200, 202] {
            let reply = reply(kind, status, body);
            let CallOutcome::Accepted { ids, foreign, message } = reply else { panic!("{kind:?} {body}") };
            assert_eq!((ids, foreign), (expected.clone(), count), "{kind:?} {body}");
            assert_eq!(message.request_id.as_deref(), Some("req-1"));
        }
    }
    let unknown = [
        (202, "", Trouble::CloudUnreachable),
        (202, "{}", Trouble::CloudUnreachable),
        (202, r#"{"instances":[]}"#, Trouble::CloudUnreachable),
        (202, r#"{"instances":[{"id":"00000000-0000-0000-0000-000000000009"}]}"#, Trouble::CloudUnreachable),
        (202, r#"{"instances":[{"id":"0000"#, Trouble::CloudUnreachable),
        (200, HTML, Trouble::EndpointMisconfigured),
        (202, "null", Trouble::CloudUnreachable),
        (202, r#"{"instances":null}"#, Trouble::CloudUnreachable),
        (
            500,
            r#"{"error_code":"iMetal.0099","error_msg":"Internal server error"}"#,
            Trouble::CloudUnreachable,
        ),
        (502, HTML, Trouble::CloudUnreachable),
        (503, "", Trouble::CloudUnreachable),
        (504, "", Trouble::CloudUnreachable),
        (302, "", Trouble::EndpointMisconfigured),
        (405, "", Trouble::RequestRefused),
        (413, "", Trouble::RequestRefused),
    ];
    for (status, body, expected) in unknown {
        for kind in BOTH {
            let reply = reply(kind, status, body);
            let CallOutcome::Unknown { trouble, unavailable, .. } = reply else {
                panic!("{kind:?} {status} {body}")
            };
            assert_eq!((trouble, unavailable), (expected, status == 503), "{kind:?} {status} {body}");
        }
    }
}

#[test]
fn every_refusal_of_the_table_has_its_trouble() {
    let refused = [
        (400, r#"{"error_code":"iMetal.0001","error_msg":"x"}"#, Trouble::RequestRefused),
        (400, r#"{"error_code":"APIGW.0201","error_msg":"x"}"#, Trouble::RequestRefused),
        (
            401,
            r#"{"error_code":"APIGW.0307","error_msg":"The token must be updated"}"#,
            Trouble::CredentialsRejected,
        ),
        (403, r#"{"error_code":"iMetal.0004","error_msg":"x"}"#, Trouble::Forbidden),
        (
            404,
            r#"{"error_code":"iMetal.0200","error_msg":"Instances not found: [x]"}"#,
            Trouble::RequestRefused,
        ),
        (404, r#"{"error_code":"APIGW.0101","error_msg":"x"}"#, Trouble::EndpointMisconfigured),
        (404, HTML, Trouble::EndpointMisconfigured),
        (404, "", Trouble::EndpointMisconfigured),
        (409, "", Trouble::RequestRefused),
        (429, "slow down", Trouble::Throttled { retry_after: None }),
        (429, r#""slow down""#, Trouble::Throttled { retry_after: None }),
    ];
    for (status, body, expected) in refused {
        for kind in BOTH {
            let reply = reply(kind, status, body);
            let CallOutcome::Refused { trouble, .. } = reply else { panic!("{kind:?} {status} {body}") };
            assert_eq!(trouble, expected, "{kind:?} {status} {body}");
        }
    }
}

#[test]
fn c20_a_success_of_another_type_is_no_answer_of_this_api() {
    let body = r#"{"instances":[{"id":"00000000-0000-0000-0000-000000000001"}]}"#;
    let table = [
        (None, None),
        (Some("application/json"), None),
        (Some("Application/JSON; charset=utf-8"), None),
        (Some("application/problem+json"), None),
        (Some("text/plain"), Some(Trouble::CloudUnreachable)),
        (Some(""), Some(Trouble::CloudUnreachable)),
        (Some("text/html; charset=utf-8"), Some(Trouble::EndpointMisconfigured)),
    ];
    for (content_type, expected) in table {
        let typed =
            |body: &str| HttpReply { content_type: content_type.map(str::to_owned), ..heard(202, body) };
        for kind in BOTH {
            let unknown = match meaning(&typed(&of(kind, body)), kind, &[id(1)]) {
                CallOutcome::Unknown { trouble, .. } => Some(trouble),
                CallOutcome::Accepted { .. } => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(unknown, expected, "{kind:?} {content_type:?}");
        }
        let heard = typed(body);
        let list = listed(&heard, &str::to_owned, Timestamp::UNIX_EPOCH);
        assert_eq!(list.err().map(|(trouble, _)| trouble), expected, "{content_type:?}");
    }
}

#[test]
fn c07_a_stated_limit_is_found_in_any_body() {
    let message = "policy user over ratelimit,limit:10,time:1 minute";
    let bodies = [
        message.to_owned(),
        format!("{message:?}"),
        format!(r#"{{"error_msg":{message:?}}}"#),
        format!(r#"{{"e":{{"code":"APIGW.0308","message":{message:?}}}}}"#),
    ];
    for body in bodies {
        for kind in BOTH {
            let CallOutcome::Refused { trouble, message, .. } = reply(kind, 429, &body) else {
                panic!("{body}")
            };
            assert_eq!(trouble, Trouble::Throttled { retry_after: None }, "{body}");
            let minute = std::time::Duration::from_mins(1);
            assert_eq!(message.limit.as_deref(), Some(&Limit { calls: 10, window: minute }), "{body}");
        }
    }
}

#[test]
fn c07_a_date_to_wait_for_is_of_the_clock_that_states_it() {
    let until = "Tue, 24 Nov 2026 12:00:30 GMT";
    let own: Timestamp = "2026-11-24T12:00:10Z".parse().unwrap();
    for (date, seconds) in [
        (None, Some(20)),
        (Some("Tue, 24 Nov 2026 12:00:23 GMT"), Some(7)),
        (Some("Tue, 24 Nov 2026 12:01:00 GMT"), None),
        (Some("soon"), Some(20)),
    ] {
        let mut heard = heard(429, "");
        heard.retry_after = Some(until.to_owned());
        heard.date = date.map(str::to_owned);
        let (trouble, _) = read_failed(&heard, &str::to_owned, own);
        let expected = Trouble::Throttled { retry_after: seconds.map(std::time::Duration::from_secs) };
        assert_eq!(trouble, expected, "{date:?}");
    }
}

#[test]
fn notes_are_bounded_printable_and_without_pages_or_secrets() {
    let long = format!(r#"{{"error_code":"X\u0000","error_msg":"token abc {}"}}"#, "\u{e9}".repeat(999));
    let redact = |text: &str| text.replace("abc", "***");
    let message = heard(500, &long).message(&redact);
    assert!(message.text.starts_with("token *** ??"), "{}", message.text);
    assert_eq!((message.text.len(), message.code.as_deref()), (256, Some("X?")));
    assert_eq!(heard(502, HTML).message(&redact).text, "an HTML page");
    assert_eq!(shown(&heard(200, r#"{"state":"abc-ing"}"#), &redact).unwrap().to_string(), "***-ing");
    let nested = r#"{"error":{"code":"APIGW.0301","message":"Incorrect IAM authentication"}}"#;
    assert_eq!(heard(401, nested).message(&redact).code.as_deref(), Some("APIGW.0301"));
}

#[test]
fn only_the_service_says_not_found() {
    let table = [
        (200, r#"{"state":"running"}"#, Some(Seen::Live(Live::Running))),
        (200, r#"{"status":"stopped"}"#, Some(Seen::Live(Live::Stopped))),
        (200, r#"{"state":"terminated","operation_state":"uninstall-succeed"}"#, Some(Seen::Terminated)),
        (200, "{}", Some(Seen::Unreadable)),
        (200, HTML, Some(Seen::Unreadable)),
        (404, r#"{"error_code":"iMetal.0200","error_msg":"Instances not found: [x]"}"#, Some(Seen::NotFound)),
        (404, r#"{"error_code":"APIGW.0101","error_msg":"x"}"#, None),
        (404, HTML, None),
        (500, r#"{"error_code":"iMetal.0200","error_msg":"x"}"#, None),
    ];
    for (status, body, expected) in table {
        assert_eq!(shown(&heard(status, body), &str::to_owned), expected, "{status} {body}");
    }
}

/// Status, code, ids named, ids sent, meaning.
type RefusalRow<'a> = (u16, &'a str, &'a [u128], &'a [InstanceId], Refusal);

#[test]
fn a_refusal_says_which_ids_it_is_about() {
    let body = |kind, code: &str, named: &[u128], spell: fn(&str) -> String| {
        let named = named.iter().map(|n| match kind {
            ChangeKind::Delete => spell(&id(*n).to_string()),
            ChangeKind::PowerOff => spell(server(id(*n)).as_str()),
        });
        let named: Vec<String> = named.collect();
        format!(r#"{{"error_code":"{code}","error_msg":"bad: [{}]"}}"#, named.join(", "))
    };
    let spellings: [fn(&str) -> String; 2] = [str::to_owned, str::to_ascii_uppercase];
    let one = vec![id(1)];
    let both = vec![id(1), id(2)];
    let table: [RefusalRow<'_>; 28] = [
        (404, "iMetal.0200", &[1], &both, Refusal::Missing(one.clone())),
        (404, "iMetal.0200", &[1, 2], &both, Refusal::Missing(both.clone())),
        (404, "iMetal.0200", &[], &both, Refusal::Unnamed),
        (404, "iMetal.0200", &[9], &both, Refusal::Unnamed),
        (404, "iMetal.0200", &[], &one, Refusal::Missing(one.clone())),
        (404, "iMetal.0100", &[1], &both, Refusal::Missing(one.clone())),
        (404, "iMetal.0100", &[], &one, Refusal::Missing(one.clone())),
        (404, "APIGW.0101", &[1], &both, Refusal::Whole),
        (404, "", &[1], &both, Refusal::Whole),
        (400, "iMetal.0101", &[1], &both, Refusal::Conflict(one.clone())),
        (400, "iMetal.0101", &[1, 2], &both, Refusal::Conflict(both.clone())),
        (400, "iMetal.0101", &[], &one, Refusal::Conflict(one.clone())),
        (400, "iMetal.0201", &[1, 2], &both, Refusal::Conflict(both.clone())),
        (400, "iMetal.0201", &[], &both, Refusal::UnnamedState),
        (400, "iMetal.0201", &[], &one, Refusal::Conflict(one.clone())),
        (400, "iMetal.0001", &[1], &both, Refusal::Conflict(one.clone())),
        (400, "iMetal.0001", &[1, 2], &both, Refusal::Unnamed),
        (400, "iMetal.0001", &[1], &one, Refusal::Conflict(one.clone())),
        (400, "iMetal.0001", &[], &both, Refusal::Unnamed),
        (400, "iMetal.0001", &[9], &both, Refusal::Unnamed),
        (400, "iMetal.0001", &[], &one, Refusal::Unnamed),
        (400, "", &[], &both, Refusal::Unnamed),
        (400, "APIGW.0201", &[1], &both, Refusal::Whole),
        (409, "iMetal.0201", &[1], &both, Refusal::Conflict(one.clone())),
        (409, "", &[], &both, Refusal::UnnamedConflict),
        (409, "", &[], &one, Refusal::Conflict(one.clone())),
        (401, "iMetal.0003", &[1], &both, Refusal::Whole),
        (403, "iMetal.0004", &[1], &both, Refusal::Whole),
    ];
    for (status, code, named, sent, expected) in table {
        for (kind, spell) in BOTH.into_iter().flat_map(|kind| spellings.map(|spell| (kind, spell))) {
            let reply = meaning(&heard(status, &body(kind, code, named, spell)), kind, sent);
            let CallOutcome::Refused { refusal, .. } = reply else { panic!("{status} {code}: {reply:?}") };
            assert_eq!(refusal, expected, "{kind:?} {status} {code:?} naming {named:?} of {}", sent.len());
        }
    }
    for kind in BOTH {
        let page = meaning(&heard(400, HTML), kind, &both);
        assert!(
            matches!(page, CallOutcome::Refused { refusal: Refusal::Whole, .. }),
            "a page is not this API's"
        );
    }
}

#[test]
fn the_reply_to_a_power_call_is_about_servers_and_its_outcome_about_instances() {
    let accepted = |ids: &[u128], foreign| Some((ids.iter().map(|n| id(*n)).collect::<Vec<_>>(), foreign));
    let table = [
        (r#"{"physical_servers":[{"id":"SRV-2"},{"id":" srv-1 "}]}"#, accepted(&[2, 1], 0)),
        (r#"{"physical_servers":[{"id":"srv-1"},{"id":"SRV-1"},{"id":"srv-11"}]}"#, accepted(&[1], 1)),
        // The ids of the instances are not those of the servers.
        (r#"{"physical_servers":[{"id":"00000000-0000-0000-0000-000000000001"}]}"#, None),
        (r#"{"instances":[{"id":"srv-1"}]}"#, None),
        (r#"{"servers":[{"id":"srv-1"}]}"#, None),
    ];
    for (body, expected) in table {
        let outcome = meaning(&heard(200, body), ChangeKind::PowerOff, &[id(1), id(2)]);
        let told = match outcome {
            CallOutcome::Accepted { ids, foreign, .. } => Some((ids, foreign)),
            CallOutcome::Unknown { .. } => None,
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(told, expected, "{body}");
    }
    let body =
        r#"{"error_code":"iMetal.0101","error_msg":"Physical servers state is not ready: [srv-11, SRV-2]"}"#;
    let outcome = meaning(&heard(400, body), ChangeKind::PowerOff, &[id(1), id(2)]);
    let CallOutcome::Refused { refusal, message, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(refusal, Refusal::Conflict(vec![id(2)]), "srv-1 is a part of another id, and not named");
    assert_eq!(message.code.as_deref(), Some("iMetal.0101"));
}

#[test]
fn a_success_that_lists_nothing_says_what_it_should_list() {
    for (kind, text) in BOTH.into_iter().zip(["instances", "servers"]) {
        let CallOutcome::Unknown { message, .. } = reply(kind, 200, "{}") else { panic!("{kind:?}") };
        assert_eq!(message.text, format!("HTTP 200 with a body that lists no {text}"));
    }
}
