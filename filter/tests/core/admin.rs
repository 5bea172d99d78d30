//! The admin path: which requests it accepts, and its replies.

use serde_json::{Value, json};
use sluice_filter::Headers;
use sluice_filter::admin::{self, AdminRequest};
use sluice_filter::drain::{CommandOutcome, EpochTooHigh, Record};
use sluice_filter::load::load;
use sluice_filter::request::RequestView;
use sluice_filter::rules::Rules;
use sluice_filter::state::State;

/// The SHA-256 of `open sesame`.
const HASH: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";

fn rules(drain: &Value) -> Result<Rules, String> {
    let document = json!({ "version": 1, "drain": drain }).to_string();
    load(document.as_bytes()).map(|loaded| loaded.rules).map_err(|error| error.to_string())
}

fn guarded() -> Rules {
    rules(&json!({ "admin": { "path": "/.sluice/drain", "token_sha256": HASH } }))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn parse(
    method: &str,
    path: &str,
    authorization: &[&str],
    length: Option<&str>,
    ended: bool,
) -> Option<AdminRequest> {
    let pairs = [(":method", method), (":path", path)];
    let more = authorization.iter().map(|value| ("authorization", *value));
    let length = length.map(|length| ("content-length", length));
    let headers = pairs.into_iter().chain(more).chain(length);
    let headers: Headers = headers.collect();
    admin::parse(&guarded(), &RequestView::new(&headers), ended)
}

const TOKEN: &[&str] = &["Bearer open sesame"];

#[test]
fn a_request_with_the_token_reads_and_changes_the_drain() {
    assert_eq!(parse("GET", "/.sluice/drain", TOKEN, None, true), Some(AdminRequest::ReadState));
    assert_eq!(
        parse("GET", "/.sluice/drain?a=b", &["bearer open sesame"], None, true),
        Some(AdminRequest::ReadState)
    );
    assert_eq!(
        parse("POST", "/.sluice/drain", TOKEN, Some("4096"), false),
        Some(AdminRequest::AwaitBody)
    );
    assert_eq!(parse("POST", "/.sluice/drain", TOKEN, None, false), Some(AdminRequest::AwaitBody));
    assert_eq!(
        parse("POST", "/.sluice/drain", TOKEN, Some("4097"), false),
        Some(AdminRequest::TooLarge)
    );
    let query = parse("POST", "/.sluice/drain?mode=off", TOKEN, None, true);
    assert!(matches!(query, Some(AdminRequest::Command(Ok(_)))));
    let empty = parse("POST", "/.sluice/drain", TOKEN, None, true);
    assert!(matches!(empty, Some(AdminRequest::Command(Err(_)))));
}

#[test]
fn a_request_without_the_token_goes_to_the_upstream() {
    let wrong: [&[&str]; 7] = [
        &[],
        &["Bearer open sesam"],
        &["Bearer open sesame "],
        &["Basic open sesame"],
        &["open sesame"],
        &["Bearer "],
        &["Bearer open sesame", "Bearer open sesame"],
    ];
    for authorization in wrong {
        for method in ["GET", "POST"] {
            assert_eq!(
                parse(method, "/.sluice/drain", authorization, None, true),
                None,
                "{authorization:?}"
            );
        }
    }
    for (method, path) in [
        ("PUT", "/.sluice/drain"),
        ("HEAD", "/.sluice/drain"),
        ("GET", "/.sluice/drain/"),
        ("GET", "/"),
    ] {
        assert_eq!(parse(method, path, TOKEN, None, true), None, "{method} {path}");
    }
    let headers = [(":method", "GET"), (":path", "/.sluice/drain"), ("authorization", TOKEN[0])];
    let headers: Headers = headers.into_iter().collect();
    let without = rules(&json!({})).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(admin::parse(&without, &RequestView::new(&headers), true), None);
}

#[test]
fn a_token_instead_of_its_hash_is_refused_and_not_repeated() {
    for wrong in [
        json!("open sesame"),
        json!(7),
        json!(HASH[1..]),
        json!(format!("{HASH}0")),
        json!(HASH.replace('4', "g")),
    ] {
        let error = rules(&json!({ "admin": { "path": "/a", "token_sha256": wrong } })).err();
        let expected = "drain.admin.token_sha256: found another value (not shown), expected the 64 hexadecimal digits of the token's SHA-256";
        assert_eq!(error.as_deref(), Some(expected));
    }
}

#[test]
fn each_outcome_of_a_command_has_its_reply() {
    let record =
        Record::parse(br#"{"epoch":7,"mode":"terminate","started_ms":1}"#).expect("a record");
    let state =
        State { record: Some(&record), instance: "i", in_flight: 2, now_ms: 0, waits_for: &[] };
    let cases = [
        (
            CommandOutcome::Conflicting(7),
            409,
            "epoch 7 is in force with other settings; expected a higher epoch",
        ),
        (
            CommandOutcome::Lower(6),
            409,
            "epoch 6 is lower than epoch 7, which is in force; expected a higher epoch",
        ),
        (
            CommandOutcome::TooHigh(EpochTooHigh { epoch: 9, highest: 8 }),
            400,
            "epoch 9 is too high; expected at most 8, the Unix time in microseconds plus 50 days",
        ),
        (CommandOutcome::UnknownRoute("api".into()), 400, "this configuration has no route api"),
        (CommandOutcome::Busy, 503, "other writers changed the drain at every attempt; retry"),
    ];
    for (outcome, status, error) in cases {
        let reply = admin::command_reply(&outcome, &state, 0);
        assert_eq!((reply.status, reply.body), (status, format!("{{\"error\":\"{error}\"}}\n")));
    }
    let reply = admin::command_reply(&CommandOutcome::InForce, &state, 5);
    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
    assert_eq!(
        (reply.status, &body["epoch"], &body["in_flight"], &body["closed"]),
        (200, &json!(7), &json!(2), &json!(5))
    );
}
