//! The admin path: for whom it is there, and what it answers.

use serde_json::{Value, json};
use sluice_filter::admin::{self, Asked, Ended};
use sluice_filter::drain::{Record, Standing};
use sluice_filter::state::State;
use sluice_filter::{RequestView, Rules, load};

/// The SHA-256 of `open sesame`.
const HASH: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";

fn config(drain: &Value) -> Result<Rules, String> {
    let document = json!({ "version": 1, "drain": drain }).to_string();
    load(document.as_bytes()).map(|loaded| loaded.rules).map_err(|error| error.to_string())
}

fn guarded() -> Rules {
    config(&json!({ "admin": { "path": "/.sluice/drain", "token_sha256": HASH } }))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn asked(
    method: &str,
    path: &str,
    authorization: &[&str],
    length: Option<&str>,
    ended: bool,
) -> Option<Asked> {
    let pairs = [(":method", method), (":path", path)];
    let more = authorization.iter().map(|value| ("authorization", *value));
    let length = length.map(|length| ("content-length", length));
    let headers = pairs.into_iter().chain(more).chain(length);
    let headers: Vec<_> =
        headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
    admin::asked(&guarded(), &RequestView::new(&headers), ended)
}

const TOKEN: &[&str] = &["Bearer open sesame"];

#[test]
fn whoever_has_the_token_sees_and_changes() {
    assert_eq!(asked("GET", "/.sluice/drain", TOKEN, None, true), Some(Asked::State));
    assert_eq!(
        asked("GET", "/.sluice/drain?a=b", &["bearer open sesame"], None, true),
        Some(Asked::State)
    );
    assert_eq!(asked("POST", "/.sluice/drain", TOKEN, Some("4096"), false), Some(Asked::Body));
    assert_eq!(asked("POST", "/.sluice/drain", TOKEN, None, false), Some(Asked::Body));
    assert_eq!(asked("POST", "/.sluice/drain", TOKEN, Some("4097"), false), Some(Asked::TooLarge));
    let query = asked("POST", "/.sluice/drain?mode=off", TOKEN, None, true);
    assert!(matches!(query, Some(Asked::Command(Ok(_)))));
    let empty = asked("POST", "/.sluice/drain", TOKEN, None, true);
    assert!(matches!(empty, Some(Asked::Command(Err(_)))));
}

#[test]
fn to_anybody_else_the_path_is_not_special() {
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
                asked(method, "/.sluice/drain", authorization, None, true),
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
        assert_eq!(asked(method, path, TOKEN, None, true), None, "{method} {path}");
    }
    let headers = [(":method", "GET"), (":path", "/.sluice/drain"), ("authorization", TOKEN[0])];
    let headers: Vec<_> =
        headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).into();
    let without = config(&json!({})).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(admin::asked(&without, &RequestView::new(&headers), true), None);
}

#[test]
fn a_token_in_the_place_of_its_hash_is_refused_and_not_repeated() {
    for wrong in [
        json!("open sesame"),
        json!(7),
        json!(HASH[1..]),
        json!(format!("{HASH}0")),
        json!(HASH.replace('4', "g")),
    ] {
        let error = config(&json!({ "admin": { "path": "/a", "token_sha256": wrong } })).err();
        let expected = "drain.admin.token_sha256: found something else, expected the 64 hexadecimal digits of the SHA-256 of the token";
        assert_eq!(error.as_deref(), Some(expected));
    }
}

#[test]
fn every_ending_of_a_command_has_its_answer() {
    let record =
        Record::parse(br#"{"epoch":7,"mode":"terminate","started_ms":1}"#).expect("a record");
    let state = State { record: Some(&record), instance: "i", in_flight: 2, now_ms: 0 };
    let cases = [
        (
            Ended::Refused(Standing::Taken, 7),
            409,
            "epoch 7 is in force and means something else; expected a higher one",
        ),
        (Ended::Refused(Standing::Lower, 6), 409, "epoch 6 is below 7, which is in force"),
        (Ended::NoEpochLeft, 409, "no epoch is left above the one in force"),
        (Ended::NoSuchRoute("api".into()), 400, "this configuration has no route api"),
        (Ended::Busy, 503, "others write the drain at the same time; try again"),
    ];
    for (ended, status, error) in cases {
        let reply = admin::answer(&ended, &state, 0);
        assert_eq!((reply.status, reply.body), (status, format!("{{\"error\":\"{error}\"}}\n")));
    }
    let reply = admin::answer(&Ended::InForce, &state, 5);
    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
    assert_eq!(
        (reply.status, &body["epoch"], &body["in_flight"], &body["closed"]),
        (200, &json!(7), &json!(2), &json!(5))
    );
}
