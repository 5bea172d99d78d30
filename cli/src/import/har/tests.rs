//! HAR files: what Chromium and Firefox write, and no file that breaks the program.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{LeftOut, day, har};

/// A page as Chromium exports it, and requests as Firefox does.
fn recording() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::fs::read_to_string(root.join("tests/recordings/shop.har")).expect("the recording")
}

fn trace(text: &str) -> Result<Vec<Value>, String> {
    let harvest = har("shop.har", text.as_bytes()).map_err(|error| error.to_string())?;
    let text = day::trace("shop", harvest.records).map_err(|error| error.to_string())?;
    Ok(text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

fn exchange(lines: &[Value], path: &str) -> Value {
    let found = lines.iter().find(|line| line["request"]["path"] == path);
    found.unwrap_or_else(|| panic!("nothing asks for {path}")).clone()
}

#[test]
fn a_page_becomes_a_trace() {
    let lines = trace(&recording()).expect("a trace");
    let first = json!({
        "at": "0s", "id": "shop.har:0", "connection": "HTTP/2 1021",
        "request": { "method": "GET", "scheme": "https", "authority": "shop.example.com", "path": "/",
                     "headers": [["accept", "text/html"],
                                 ["user-agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0"]] },
        "upstream": { "after": "84.25ms", "status": 200,
                      "headers": [["content-type", "text/html; charset=utf-8"], ["content-length", "5120"]],
                      "body": [{ "after": "2.75ms", "bytes": 5120 }] },
        "expect": { "status": 200, "body_bytes": 5120 }
    });
    assert_eq!(lines[0]["open"], json!({ "protocol": "HTTP/2" }));
    assert_eq!(lines[1], first);
    // Sent when the browser had its connection: 24 ms late for the page, 0.4 ms for the script.
    let script = exchange(&lines, "/app.js?v=3");
    assert_eq!(script["at"], "106.4ms");
    assert_eq!(script["upstream"], json!({ "after": "12ms", "status": 304 }));
    let cart = exchange(&lines, "/api/cart");
    assert_eq!(cart["request"]["body"], json!([{ "after": "200us", "bytes": 17 }]));
    assert!(!cart.to_string().contains("secret"), "{cart}");
    let feed = &exchange(&lines, "/api/feed")["upstream"];
    assert_eq!(feed["headers"][1], json!(["x-accel-buffering", "no"]));
    assert_eq!(
        feed["body"],
        json!([{ "bytes": 435 }, { "after": "1s", "bytes": 433, "times": 5 }])
    );
}

/// HTTP/2 needs no `content-length`, and not every browser counts the bytes.
#[test]
fn an_upload_that_nobody_counted_is_as_long_as_its_text() {
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
fn what_a_browser_calls_a_connection_may_be_a_port() {
    let lines = trace(&recording()).expect("a trace");
    let connection = |path| exchange(&lines, path)["connection"].clone();
    assert_eq!(connection("/api/cart"), "HTTP/2 1021");
    assert_eq!(connection("/api/items"), "HTTP/2 shop.example.com");
    assert_eq!(connection("/assets/map.json"), "HTTP/3 shop.example.com");
    let old = lines.iter().find(|line| line["request"]["authority"] == "old.example.com");
    assert_eq!(old.expect("a request of HTTP/1.1")["connection"], Value::Null);
}

#[test]
fn what_never_came_to_the_proxy_is_left_out() {
    let harvest = har("shop.har", recording().as_bytes()).expect("a recording");
    let left_out = [(LeftOut::NotHttp, 2), (LeftOut::NoAnswer, 1), (LeftOut::Cached, 1)];
    assert_eq!(harvest.left_out, BTreeMap::from(left_out));
    assert_eq!(harvest.records.len(), 8);
}

#[test]
fn what_no_request_can_carry_is_left_out() {
    for (from, to) in [("/api/items", "/api/two items"), ("\"POST\"", "\"PO ST\"")] {
        let text = recording().replacen(from, to, 1);
        let harvest = har("shop.har", text.as_bytes()).expect("a recording");
        assert_eq!((harvest.left_out[&LeftOut::NotHttp], harvest.records.len()), (3, 7), "{to}");
        day::trace("shop", harvest.records).expect("a trace of the others");
    }
}

#[test]
fn mistakes_name_the_line_and_the_field() {
    let refusal = |text: &str| trace(text).expect_err("a mistake");
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
        assert!(refusal(text).starts_with(mistake), "{}", refusal(text));
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
        assert_ne!(text, recording(), "{from} stands in the recording");
        assert!(refusal(&text).contains(mistake), "{}", refusal(&text));
    }
}

#[test]
fn a_byte_order_mark_is_no_mistake_and_an_empty_page_is_a_trace() {
    assert_eq!(trace(&format!("\u{feff}{}", recording())), trace(&recording()));
    assert_eq!(trace(r#"{"log":{"entries":[]}}"#), Ok(Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A file that was cut or changed anywhere is refused in a sentence, or makes a trace.
    #[test]
    fn no_torn_file_breaks_the_program(
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
        if let Ok(harvest) = har("shop.har", &text[..]) {
            let _ = day::trace("shop", harvest.records);
        }
    }

    /// Nor do values that no browser would write.
    #[test]
    fn no_value_breaks_the_program(
        field in prop::sample::select(&["status", "bodySize", "url", "method", "httpVersion", "connection",
                                        "startedDateTime", "wait", "receive", "value", "size"][..]),
        value in prop_oneof![
            any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from), any::<String>().prop_map(Value::from),
            Just(Value::Null), Just(json!("http://[::1]:x@/?")), Just(json!("-9999-01-01T00:00:00Z")), Just(json!("9999-12-30T22:00:00Z")),
        ],
    ) {
        let mut recording: Value = serde_json::from_str(&recording()).expect("JSON");
        replace(&mut recording, field, &value);
        if let Err(message) = trace(&recording.to_string()) {
            prop_assert!(message.starts_with("shop"), "{message}");
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
