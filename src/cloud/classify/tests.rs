//! Tables of replies and what they mean.

use super::*;
use crate::engine::{outcome::Limit, state::Live};

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

fn reply(status: u16, body: &str) -> CallOutcome {
    deleted(&heard(status, body), &[id(1), id(2)], &str::to_owned, Timestamp::UNIX_EPOCH)
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
    for (body, (expected, count)) in table {
        let CallOutcome::Accepted { ids, foreign, message } = reply(202, body) else { panic!("{body}") };
        assert_eq!((ids, foreign), (expected, count), "{body}");
        assert_eq!(message.request_id.as_deref(), Some("req-1"));
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
        let CallOutcome::Unknown { trouble, .. } = reply(status, body) else { panic!("{status} {body}") };
        assert_eq!(trouble, expected, "{status} {body}");
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
        let CallOutcome::Refused { trouble, .. } = reply(status, body) else { panic!("{status} {body}") };
        assert_eq!(trouble, expected, "{status} {body}");
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
        let heard = HttpReply { content_type: content_type.map(str::to_owned), ..heard(202, body) };
        let unknown = match deleted(&heard, &[id(1)], &str::to_owned, Timestamp::UNIX_EPOCH) {
            CallOutcome::Unknown { trouble, .. } => Some(trouble),
            CallOutcome::Accepted { .. } => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(unknown, expected, "{content_type:?}");
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
        let CallOutcome::Refused { trouble, message, .. } = reply(429, &body) else { panic!("{body}") };
        assert_eq!(trouble, Trouble::Throttled { retry_after: None }, "{body}");
        let minute = std::time::Duration::from_mins(1);
        assert_eq!(message.limit.as_deref(), Some(&Limit { calls: 10, window: minute }), "{body}");
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
    assert_eq!(seen("abc-ing", &redact).to_string(), "***-ing");
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
    let body = |code: &str, named: &[u128]| {
        let named: Vec<String> = named.iter().map(|n| id(*n).to_string().to_ascii_uppercase()).collect();
        format!(r#"{{"error_code":"{code}","error_msg":"bad: [{}]"}}"#, named.join(", "))
    };
    let one = vec![id(1)];
    let both = vec![id(1), id(2)];
    let table: [RefusalRow<'_>; 24] = [
        (404, "iMetal.0200", &[1], &both, Refusal::Missing(one.clone())),
        (404, "iMetal.0200", &[1, 2], &both, Refusal::Missing(both.clone())),
        (404, "iMetal.0200", &[], &both, Refusal::Unnamed),
        (404, "iMetal.0200", &[9], &both, Refusal::Unnamed),
        (404, "iMetal.0200", &[], &one, Refusal::Missing(one.clone())),
        (404, "APIGW.0101", &[1], &both, Refusal::Whole),
        (404, "", &[1], &both, Refusal::Whole),
        (400, "iMetal.0101", &[1], &both, Refusal::Conflict(one.clone())),
        (400, "iMetal.0201", &[1, 2], &both, Refusal::Conflict(both.clone())),
        (400, "iMetal.0201", &[], &both, Refusal::Unnamed),
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
        let heard = heard(status, &body(code, named));
        let reply = deleted(&heard, sent, &str::to_owned, Timestamp::UNIX_EPOCH);
        let CallOutcome::Refused { refusal, .. } = reply else { panic!("{status} {code}: {reply:?}") };
        assert_eq!(refusal, expected, "{status} {code:?} naming {named:?} of {}", sent.len());
    }
    let page = deleted(&heard(400, HTML), &both, &str::to_owned, Timestamp::UNIX_EPOCH);
    assert!(matches!(page, CallOutcome::Refused { refusal: Refusal::Whole, .. }), "a page is not this API's");
}
