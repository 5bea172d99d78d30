//! The importer and the example name the same fields, failures happen again in the replay, and no
//! line crashes the program.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_filter::decision;

use super::super::error::ImportError;
use super::super::imported::{Imported, LeftOut};
use super::super::secrets::Secrets;
use super::field::{EXAMPLE, Field};
use super::line::Line;
use super::{Proxy, read, record};

/// A line that Envoy 1.40 wrote, with these changes.
fn line(changes: &Value) -> String {
    let mut line = json!({
        "start_time": "2026-11-21T13:23:18.058536Z", "duration": 12, "connection_id": 2,
        "downstream_remote_address": "127.0.0.1:44092", "protocol": "HTTP/1.1", "method": "GET",
        "scheme": "http", "authority": "shop.example.com", "path": "/a?x=1",
        "request_headers": { "accept": "*/*", "content-length": null, "user-agent": "curl/7.88.1" },
        "route_name": null, "policy": null, "bytes_received": 0, "upstream_request_attempt_count": 1,
        "response_code": 200, "response_code_details": "via_upstream", "response_flags": "-",
        "response_headers": { "content-length": "2", "content-type": "text/plain", "x-accel-buffering": null },
        "bytes_sent": 2,
        "timing": { "request_end": 1000, "upstream_start": 1500, "response_start": 4000, "response_end": 6000 },
        "decision": "{\"phase\":\"response\",\"body\":\"stream\",\"route\":\"api\"}"
    });
    merge(&mut line, changes);
    line.to_string()
}

fn merge(into: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().expect("fields") {
        match value.is_object() && into[name].is_object() {
            true => merge(&mut into[name], value),
            false => into[name] = value.clone(),
        }
    }
}

/// The exchange in the trace of a line with these changes.
fn exchange(changes: &Value) -> Value {
    let text = trace(&line(changes)).expect("a valid line");
    let exchange = text.lines().find(|line| line.contains("\"request\":")).expect("an exchange");
    serde_json::from_str(exchange).expect("JSON")
}

fn parsed(text: &str) -> Line {
    Line::new(Line::parse(text).expect("an object"))
}

fn trace(log: &str) -> Result<String, ImportError> {
    imported(log.as_bytes())?.text("day.jsonl")
}

fn imported(log: &[u8]) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    read("day.jsonl", log, Proxy::Envoy, &mut imported)?;
    Ok(imported)
}

fn error(log: &str) -> String {
    trace(log).expect_err("a mistake").to_string()
}

/// Collects every format entry below `format`, by the path of its field.
fn entries(format: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    for (name, value) in format.as_object().expect("an object") {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::String(text) => drop(into.insert(path, text.clone())),
            object => entries(object, &path, into),
        }
    }
}

#[test]
fn importer_and_example_have_the_same_fields() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let text = std::fs::read_to_string(root.join(EXAMPLE)).expect("the example");
    let example: Value = serde_saphyr::from_str(&text).expect("YAML");
    let format = &example["access_log"][0]["typed_config"]["log_format"]["json_format"];
    let mut written = BTreeMap::new();
    entries(format, "", &mut written);
    for (object, operator) in [("request_headers", "REQ"), ("response_headers", "RESP")] {
        let headers: Vec<String> =
            written.keys().filter(|path| path.starts_with(object)).cloned().collect();
        assert!(headers.len() >= 3, "{headers:?}");
        for path in headers {
            let name = path.rsplit('.').next().expect("a name").to_uppercase();
            assert_eq!(written.remove(&path), Some(format!("%{operator}({name})%")));
        }
        written.insert(object.to_owned(), format!("%{operator}(NAME)% for each"));
    }
    let read = Field::ALL.iter().map(|field| (field.path().to_owned(), field.format().to_owned()));
    assert_eq!(read.collect::<BTreeMap<_, _>>(), written);
}

#[test]
fn a_line_becomes_an_exchange() {
    let text = trace(&line(&json!({}))).expect("a trace");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let open = json!({ "protocol": "HTTP/1.1", "id": 2, "source": "127.0.0.1:44092" });
    assert_eq!(lines[0], json!({ "at": "0s", "connection": "c2", "open": open }));
    // Fields that the decision does not have are expected to be missing.
    let mut decision = json!({ "phase": "response", "body": "stream" });
    for field in decision::OPTIONAL.into_iter().filter(|field| *field != "route") {
        decision[field] = Value::Null;
    }
    let expected = json!({
        "at": "0s", "id": "day.jsonl:1", "connection": "c2",
        "request": { "method": "GET", "scheme": "http", "authority": "shop.example.com", "path": "/a?x=1",
                     "headers": [["accept", "*/*"], ["user-agent", "curl/7.88.1"]] },
        "upstream": { "after": "3ms", "status": 200,
                      "headers": [["content-length", "2"], ["content-type", "text/plain"]],
                      "body": [{ "after": "2ms", "bytes": 2 }] },
        "expect": { "status": 200, "route": "api", "body_bytes": 2, "end": "complete",
                    "decision": decision,
                    "upstream": { "attempts": 1 } }
    });
    assert_eq!(lines[1..], [expected]);
}

#[test]
fn response_flags_become_the_same_failure_of_the_upstream() {
    let nothing = json!({ "upstream_start": null, "response_start": null, "response_end": null });
    for (code, flags, details, upstream) in [
        (504, "UT", "response_timeout", json!({ "end": "never" })),
        (
            503,
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure}",
            json!({ "after": "12ms", "end": "refused" }),
        ),
        (
            503,
            "UC",
            "upstream_reset_before_response_started{connection_termination}",
            json!({ "after": "11ms", "end": "reset" }),
        ),
        (
            503,
            "UR",
            "upstream_reset_before_response_started{remote_refused_stream_reset}",
            json!({ "after": "12ms", "end": "refused_stream" }),
        ),
        (
            502,
            "UPE",
            "upstream_reset_before_response_started{protocol_error}",
            json!({ "after": "11ms", "end": "reset_in_header" }),
        ),
        (0, "DC", "downstream_remote_disconnect", json!({ "end": "never" })),
        // Envoy's own reply becomes a response of the upstream.
        (
            503,
            "UH",
            "no_healthy_upstream",
            json!({ "after": "11ms", "status": 503, "headers": [["content-type", "text/plain"]], "body": [{ "bytes": 19 }] }),
        ),
    ] {
        let found = exchange(&json!({
            "response_code": code, "response_flags": flags, "response_code_details": details, "timing": nothing,
            "bytes_sent": 19, "response_headers": { "content-length": null },
        }));
        assert_eq!(found["upstream"], upstream, "{flags}");
        let status = if code == 0 { Value::Null } else { json!(code) };
        assert_eq!(found["expect"]["status"], status, "{flags}");
        assert_eq!(
            found["expect"]["body_bytes"],
            Value::Null,
            "the body of a local reply may change"
        );
        let end = if flags == "DC" { "client" } else { "complete" };
        assert_eq!(found["expect"]["end"], end, "{flags}");
    }
}

#[test]
fn a_cut_response_is_cut_in_the_trace() {
    for (flags, end, outcome) in [
        ("UT", "never", json!("cut")),
        ("UC", "reset", json!("cut")),
        ("UPE", "reset", json!("cut")),
        ("SI", "reset", json!("cut")),
        ("DC", "never", json!("client")),
        // A trace does not have a client that resets one stream.
        ("DR", "reset", Value::Null),
    ] {
        let found =
            exchange(&json!({ "response_flags": flags, "timing": { "response_end": null } }));
        assert_eq!(found["upstream"]["end"], end, "{flags}");
        assert_eq!(found["expect"]["end"], outcome, "{flags}");
        assert_eq!(
            found["expect"]["body_bytes"],
            Value::Null,
            "{flags}: the received size depends on timing"
        );
    }
}

#[test]
fn a_client_that_leaves_closes_its_connection_after_its_last_request() {
    let left = line(&json!({ "response_flags": "DC", "protocol": "HTTP/2" }));
    let later = line(&json!({ "start_time": "2026-11-21T13:23:19Z", "protocol": "HTTP/2" }));
    let text = trace(&format!("{later}\n{left}\n")).expect("a trace");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last, json!({ "at": "941.464ms", "connection": "c2", "close": "client" }));
    let alone = trace(&line(&json!({ "response_flags": "DC", "connection_id": null })));
    let alone = alone.expect("a trace");
    assert!(
        alone.contains(r#""at":"13ms","connection":"day.jsonl:1","close":"client""#),
        "{alone}"
    );
}

#[test]
fn an_abandoned_upload_ends_after_its_client_leaves() {
    let uploaded = |received: u64, length: Value, timing: Value| {
        let found = exchange(&json!({
            "method": "POST", "response_code": 0, "response_flags": "DC", "duration": 3000, "timing": timing,
            "bytes_received": received, "request_headers": { "content-length": length },
        }));
        assert_eq!(found["upstream"], json!({ "end": "never" }));
        found["request"]["body"].clone()
    };
    let nothing = || json!({ "request_end": null, "response_start": null, "response_end": null });
    let half = json!([{ "bytes": 1 }, { "after": "1s", "bytes": 1, "times": 3 }, { "after": "1s", "bytes": 96 }]);
    assert_eq!(uploaded(4, json!("100"), nothing()), half);
    assert_eq!(uploaded(0, json!("100"), nothing()), json!([{ "after": "4s", "bytes": 100 }]));
    assert_eq!(uploaded(0, Value::Null, nothing()), json!([{ "after": "4s", "bytes": 1 }]));
    let whole = json!({ "request_end": 5000, "response_start": null, "response_end": null });
    assert_eq!(uploaded(100, json!("100"), whole), json!([{ "after": "5ms", "bytes": 100 }]));
    // Without timing, the end of the upload is unknown.
    assert_eq!(uploaded(0, Value::Null, Value::Null), Value::Null);
}

#[test]
fn a_response_over_the_buffer_limit_has_its_declared_size_and_is_cut() {
    let overflow = |status: u16| {
        exchange(&json!({
            "response_code": status, "response_code_details": "response_payload_too_large", "bytes_sent": 32760,
            "response_headers": { "content-length": "2000000" },
        }))
    };
    let found = overflow(200);
    let chunks = found["upstream"]["body"].as_array().expect("a body");
    let size = |chunk: &Value| {
        chunk["bytes"].as_u64().expect("a size") * chunk["times"].as_u64().unwrap_or(1)
    };
    assert_eq!(chunks.iter().map(size).sum::<u64>(), 2_000_000);
    assert_eq!(found["upstream"].get("end"), None);
    assert_eq!(found["expect"]["end"], "cut");
    assert_eq!(overflow(500)["expect"]["end"], "complete", "a local reply");
}

/// The log does not have the failures of these attempts, but the retry policy limits them.
#[test]
fn earlier_attempts_fail_in_a_way_that_the_policy_retries() {
    let decided = |fields: &str| format!("{{\"phase\":\"response\",\"attempts\":3{fields}}}");
    for (fields, first) in [
        (r#","retry":"connect-failure,reset""#, json!({ "after": "250us", "end": "reset" })),
        (r#","retry":"connect-failure""#, json!({ "after": "250us", "end": "refused" })),
        (r#","retry":"refused-stream""#, json!({ "after": "250us", "end": "refused_stream" })),
        (r#","retry":"reset","per_try_ms":0"#, json!({ "end": "never" })),
        (
            r#","retry":"retriable-status-codes","retry_status":"429,503""#,
            json!({ "after": "250us", "status": 429 }),
        ),
    ] {
        let found =
            exchange(&json!({ "upstream_request_attempt_count": 3, "decision": decided(fields) }));
        let upstream = found["upstream"].as_array().expect("an entry for each attempt");
        assert_eq!(upstream[..2], [first.clone(), first], "{fields}");
        assert_eq!((upstream.len(), &upstream[2]["status"]), (3, &json!(200)));
        assert_eq!(found["expect"]["upstream"], json!({ "attempts": 3 }));
    }
}

#[test]
fn a_local_reply_of_the_filter_has_no_upstream() {
    let found = exchange(&json!({
        "method": "POST", "response_code": 413, "response_code_details": "", "upstream_request_attempt_count": 0,
        "request_headers": { "content-length": "2000" },
        "timing": { "request_end": null, "upstream_start": null, "response_start": null, "response_end": null },
    }));
    assert_eq!(found.get("upstream"), None);
    assert_eq!(found["request"]["body"], json!([{ "bytes": 2000 }]), "the declared size");
    assert_eq!(found["expect"]["status"], 413);
}

#[test]
fn a_header_that_the_filter_added_is_not_assigned_to_the_upstream() {
    let added = |decision: &str| {
        let header = json!({ "x-accel-buffering": "no" });
        let found = exchange(&json!({ "response_headers": header, "decision": decision }));
        found["upstream"].to_string().contains("x-accel-buffering")
    };
    assert!(!added(r#"{"phase":"response","body":"stream","accel":"no"}"#));
    assert!(added(r#"{"phase":"response","body":"stream"}"#));
}

#[test]
fn lines_without_an_exchange_are_left_out() {
    for (changes, why) in [
        (
            json!({ "method": null, "path": null, "response_code": 400, "response_flags": "DPE" }),
            LeftOut::NoRequest,
        ),
        (json!({ "method": "CONNECT", "path": null }), LeftOut::Tunnel),
        (json!({ "response_code": 700 }), LeftOut::Status),
        // HTTP/2 clients can send these, and the proxy replies itself.
        (json!({ "method": "G T" }), LeftOut::NoRequest),
        (json!({ "path": "/a b" }), LeftOut::NoRequest),
        (json!({ "authority": "shop\u{7}" }), LeftOut::NoRequest),
    ] {
        let record = record("x:1".to_owned(), &parsed(&line(&changes))).expect("a valid line");
        assert_eq!(record.expect_err("no exchange"), why);
    }
    let mut log = line(&json!({ "method": null }));
    log.push_str("\n\n");
    let Imported { records, left_out, .. } = imported(log.as_bytes()).expect("a log");
    assert_eq!((records, left_out[&LeftOut::NoRequest]), (0, 1));
}

#[test]
fn errors_name_the_line_the_field_and_its_format_entry() {
    let without = |field: &str| {
        let mut value: Value = serde_json::from_str(&line(&json!({}))).expect("JSON");
        value.as_object_mut().expect("fields").remove(field);
        value.to_string()
    };
    let good = line(&json!({}));
    let message = error(&format!("{good}\n\n{}", without("response_code")));
    assert_eq!(
        message,
        "day.jsonl:3: response_code: missing; add the entry \"response_code\": \"%RESPONSE_CODE%\" to the \
         log format, as in envoy-examples/access-log/access_log.yaml"
    );
    for (changes, mistake) in [
        (
            json!({ "response_code": "abc" }),
            "response_code: found \"abc\"; expected a whole number of at least 0, as %RESPONSE_CODE%",
        ),
        (
            json!({ "start_time": "yesterday" }),
            "start_time: found \"yesterday\"; expected a time in RFC 3339",
        ),
        (json!({ "duration": -1 }), "duration: found -1; expected a whole number"),
        (json!({ "timing": 5 }), ""),
        (
            json!({ "protocol": "SPDY" }),
            "protocol: found \"SPDY\"; expected HTTP/1.1, HTTP/2 or HTTP/3",
        ),
        (json!({ "decision": "{" }), "decision: found \"{\"; expected a JSON object"),
        (
            json!({ "request_headers": { "a b": "x" } }),
            "request_headers.\"a b\": not a header name",
        ),
        (json!({ "request_headers": { "a": ["x"] } }), "request_headers: found"),
    ] {
        match (trace(&line(&changes)), mistake) {
            (Ok(_), "") => {}
            (Ok(_), _) => panic!("{changes} was accepted"),
            (Err(found), _) => {
                let found = found.to_string();
                let begin = format!("day.jsonl:1: {mistake}");
                assert!(!mistake.is_empty() && found.starts_with(&begin), "{found}");
            }
        }
    }
    let cut = error(&good[..good.len() / 2]);
    let begin = "day.jsonl:1: not valid JSON: EOF while parsing a";
    assert!(cut.starts_with(begin) && cut.contains(" at column "), "{cut}");
    let long = " ".repeat(1 << 21);
    assert_eq!(
        error(&long),
        "day.jsonl:1: longer than 1048576 bytes; expected one JSON object per line"
    );
}

#[test]
fn numbers_can_be_strings_and_unknown_fields_are_ignored() {
    let as_text = exchange(
        &json!({ "response_code": "200", "bytes_sent": "2", "connection_id": "2",
                                    "timing": { "response_start": "4000" }, "team": { "name": ["x"] } }),
    );
    assert_eq!(as_text, exchange(&json!({})));
    let minimal = json!({ "start_time": "2026-11-21T13:23:18Z", "duration": 1, "method": "GET", "path": "/",
                          "response_code": 200, "response_flags": "-" });
    assert!(trace(&minimal.to_string()).is_ok());
    let uncounted = exchange(&json!({ "upstream_request_attempt_count": null }));
    assert_eq!(uncounted["upstream"], exchange(&json!({}))["upstream"]);
}

#[test]
fn held_headers_need_the_option_of_the_plugin() {
    let decision = |holds: bool| json!({ "phase": "response", "body": "stream", "route": "api", "holds_headers": holds });
    let setup = json!({ "at": "0s", "proxy": { "allow_on_headers_stop_iteration": true } });
    let first = |text: &str| -> Value {
        serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
    };
    let held = line(&json!({ "decision": decision(true) }));
    assert_eq!(first(&trace(&held).expect("a trace")), setup);
    let mut without = Imported::new(true, Secrets::default());
    read("day.jsonl", held.as_bytes(), Proxy::Envoy, &mut without).expect("a log");
    assert_eq!(first(&without.text("day.jsonl").expect("a trace")), setup, "with --no-expect");
    let other = trace(&line(&json!({ "decision": decision(false) }))).expect("a trace");
    assert!(!other.contains("allow_on_headers_stop_iteration"), "{other}");
}

#[test]
fn bodies_are_limited_to_the_size_that_a_trace_allows() {
    let found = exchange(&json!({ "bytes_sent": u64::MAX, "bytes_received": u64::MAX }));
    assert_eq!(found["expect"]["body_bytes"], Value::Null);
}

fn json_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
        Just(json!("2026-01-01T00:00:00Z")),
        Just(json!("-9999-01-02T00:00:00Z")),
        Just(json!("UT,UF,DC,URX")),
        Just(json!("HTTP/2")),
        Just(json!({ "a": "b", "content-length": "18446744073709551615" })),
        Just(json!([1])),
    ]
}

fn any_field() -> impl Strategy<Value = Field> {
    proptest::sample::select(Field::ALL)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any values in the fields give an error or a valid trace.
    #[test]
    fn no_line_crashes_the_program(
        lines in prop::collection::vec(
            prop::collection::vec((any_field(), json_value()), 0..6), 1..5),
    ) {
        let mut log = String::new();
        for changes in lines {
            let mut fields = json!({});
            for (field, value) in changes {
                match field.path().split_once('.') {
                    Some((object, name)) => fields[object] = json!({ name: value }),
                    None => fields[field.path()] = value,
                }
            }
            log.push_str(&line(&fields));
            log.push('\n');
        }
        if let Err(error) = trace(&log) {
            prop_assert!(error.to_string().starts_with("day.jsonl:"), "{error}");
        }
    }

    /// Lost and changed bytes give an error or a valid trace.
    #[test]
    fn no_damaged_line_crashes_the_program(at in 0..900usize, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = line(&json!({})).into_bytes();
        let at = at % bytes.len();
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] = byte,
        }
        let _ = imported(&bytes).and_then(|imported| imported.text("day.jsonl"));
    }
}
