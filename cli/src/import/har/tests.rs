//! Files of Chromium and Firefox are imported, and no file crashes the program.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::error::ImportError;
use super::super::imported::{Imported, LeftOut};
use super::read;

/// A page from Chromium, and requests from Firefox.
fn recording() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::fs::read_to_string(root.join("tests/recordings/shop.har")).expect("the recording")
}

fn trace(text: &str) -> Result<Vec<Value>, ImportError> {
    let text = imported(text.as_bytes())?.text("shop.har")?;
    Ok(text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

fn imported(text: &[u8]) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    read("shop.har", text, &mut imported)?;
    Ok(imported)
}

fn exchange(lines: &[Value], path: &str) -> Value {
    let found = lines.iter().find(|line| line["request"]["path"] == path);
    found.unwrap_or_else(|| panic!("no request for {path}")).clone()
}

#[test]
fn a_page_becomes_a_trace() {
    let lines = trace(&recording()).expect("a trace");
    let first = json!({
        "at": "0s", "id": "shop.har:0", "connection": "HTTP/2 1021",
        "request": { "method": "GET", "scheme": "https", "authority": "shop.example.com", "path": "/",
                     "headers": [["accept", "text/html"],
                                 ["user-agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0"],
                                 ["cookie", "session=redacted"]] },
        "upstream": { "after": "84.25ms", "status": 200,
                      "headers": [["content-type", "text/html; charset=utf-8"], ["content-length", "5120"]],
                      "body": [{ "after": "2.75ms", "bytes": 5120 }] },
        "expect": { "status": 200, "body_bytes": 5120 }
    });
    assert_eq!(lines[0]["open"], json!({ "protocol": "HTTP/2" }));
    assert_eq!(lines[1], first);
    // A request starts when its connection is open: after 24 ms for the page, 0.4 ms for the
    // script.
    let script = exchange(&lines, "/app.js?v=3");
    assert_eq!(script["at"], "106.4ms");
    assert_eq!(script["upstream"], json!({ "after": "12ms", "status": 304 }));
    let cart = exchange(&lines, "/api/cart");
    assert_eq!(cart["request"]["body"], json!([{ "after": "200us", "bytes": 17 }]));
    assert!(!cart.to_string().contains("Bearer secret"), "{cart}");
    let feed = &exchange(&lines, "/api/feed")["upstream"];
    assert_eq!(feed["headers"][1], json!(["x-accel-buffering", "no"]));
    assert_eq!(
        feed["body"],
        json!([{ "bytes": 435 }, { "after": "1s", "bytes": 433, "times": 5 }])
    );
}

#[test]
fn an_upload_without_a_size_is_as_long_as_its_text() {
    let upload = |fields: Value| {
        let mut recording: Value = serde_json::from_str(&recording()).expect("JSON");
        let entries = recording["log"]["entries"].as_array_mut().expect("entries");
        let cart = entries.iter_mut().map(|entry| &mut entry["request"]);
        let cart = cart.into_iter().find(|request| request["method"] == "POST").expect("a POST");
        cart["headers"] = json!([]);
        cart["bodySize"] = json!(-1);
        cart["postData"] = fields;
        let lines = trace(&recording.to_string()).expect("a trace");
        exchange(&lines, "/api/cart")["request"]["body"].clone()
    };
    let text = json!({ "mimeType": "text/plain", "text": "für 5 €" });
    assert_eq!(upload(text), json!([{ "after": "200us", "bytes": 10 }]));
    for nothing in
        [json!({ "mimeType": "text/plain", "params": [] }), json!({ "text": null }), Value::Null]
    {
        assert_eq!(upload(nothing), Value::Null);
    }
}

#[test]
fn the_port_of_the_server_is_not_a_connection() {
    let lines = trace(&recording()).expect("a trace");
    let connection = |path| exchange(&lines, path)["connection"].clone();
    assert_eq!(connection("/api/cart"), "HTTP/2 1021");
    assert_eq!(connection("/api/items"), "HTTP/2 shop.example.com");
    assert_eq!(connection("/assets/map.json"), "HTTP/3 shop.example.com");
    let old = lines.iter().find(|line| line["request"]["authority"] == "old.example.com");
    assert_eq!(old.expect("a request of HTTP/1.1")["connection"], Value::Null);
}

#[test]
fn requests_that_did_not_reach_a_proxy_are_left_out() {
    let imported = imported(recording().as_bytes()).expect("a recording");
    let left_out = [(LeftOut::NotHttp, 2), (LeftOut::NoResponse, 1), (LeftOut::Cached, 1)];
    assert_eq!(imported.left_out, BTreeMap::from(left_out));
    assert_eq!(imported.records, 8);
}

#[test]
fn invalid_requests_are_left_out() {
    for (from, to) in [("/api/items", "/api/two items"), ("\"POST\"", "\"PO ST\"")] {
        let text = recording().replacen(from, to, 1);
        let imported = imported(text.as_bytes()).expect("a recording");
        assert_eq!((imported.left_out[&LeftOut::NotHttp], imported.records), (3, 7), "{to}");
        imported.text("shop.har").expect("a trace of the others");
    }
}

#[test]
fn errors_name_the_line_and_the_field() {
    let error = |text: &str| trace(text).expect_err("a mistake").to_string();
    for (text, mistake) in [
        ("", "shop.har:1: file: not HAR 1.2: EOF while parsing a value"),
        ("{}", "shop.har:1: file: not HAR 1.2: missing field `log`"),
        (
            "{\"log\":{\n\"entries\":[{}]}}",
            "shop.har:2: log.entries[0]: not HAR 1.2: missing field `startedDateTime`",
        ),
        ("{\"log\":{\"entries\":[]}} {}", "shop.har:1: file: not HAR 1.2: trailing characters"),
        ("[]", "shop.har:1: file: "),
    ] {
        assert!(error(text).starts_with(mistake), "{}", error(text));
    }
    let changed = |from: &str, to: &str| recording().replacen(from, to, 1);
    for (from, to, mistake) in [
        (
            "\"status\": 304",
            "\"status\": \"304\"",
            "log.entries[1].response.status: not HAR 1.2: invalid type",
        ),
        (
            "\"wait\": 84.25",
            "\"wait\": 1e300",
            "log.entries[0].timings.wait: not HAR 1.2: found 1e300, expected milliseconds",
        ),
        (
            "2026-11-20T09:15:00.000Z\", \"time",
            "noon\", \"time",
            "log.entries[0].startedDateTime: ",
        ),
    ] {
        let text = changed(from, to);
        assert_ne!(text, recording(), "the recording has {from}");
        assert!(error(&text).contains(mistake), "{}", error(&text));
    }
}

#[test]
fn a_byte_order_mark_is_accepted_and_an_empty_page_is_an_empty_trace() {
    let marked = trace(&format!("\u{feff}{}", recording())).expect("a trace");
    assert_eq!(marked, trace(&recording()).expect("a trace"));
    let empty = trace(r#"{"log":{"entries":[]}}"#).expect("a trace");
    assert!(empty.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Lost and changed bytes give an error or a valid trace.
    #[test]
    fn no_damaged_file_crashes_the_program(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..4),
        keep in any::<bool>(),
    ) {
        let mut text = recording().into_bytes();
        let at = at.index(text.len());
        match keep {
            true => drop(text.splice(at..at + bytes.len().min(text.len() - at), bytes)),
            false => text.truncate(at),
        }
        let _ = imported(&text).and_then(|imported| imported.text("shop.har"));
    }

    /// Values that no browser writes give an error or a valid trace.
    #[test]
    fn no_value_crashes_the_program(
        field in prop::sample::select(&["status", "bodySize", "url", "method", "httpVersion", "connection",
                                        "startedDateTime", "wait", "receive", "value", "size"][..]),
        value in prop_oneof![
            any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from), any::<String>().prop_map(Value::from),
            Just(Value::Null), Just(json!("http://[::1]:x@/?")), Just(json!("-9999-01-01T00:00:00Z")), Just(json!("9999-12-30T22:00:00Z")),
        ],
    ) {
        let mut recording: Value = serde_json::from_str(&recording()).expect("JSON");
        replace(&mut recording, field, &value);
        if let Err(error) = trace(&recording.to_string()) {
            prop_assert!(error.to_string().starts_with("shop.har:"), "{error}");
        }
    }
}

fn replace(value: &mut Value, field: &str, with: &Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match name == field {
            true => value.clone_from(with),
            false => replace(value, field, with),
        }),
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, field, with)),
        _ => {}
    }
}
