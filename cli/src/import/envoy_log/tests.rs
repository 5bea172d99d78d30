//! The access log: one source for importer and example, failures told so that they happen again, and
//! no line that breaks the program.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Harvest, LeftOut, day, envoy_log};
use super::{EXAMPLE, Field, read};

/// A line as Envoy 1.40 wrote it, with these fields changed.
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

/// The line of the trace that these changes make.
fn exchange(changes: &Value) -> Value {
    let text = trace(&line(changes)).expect("a line that can be read");
    let exchange = text.lines().find(|line| line.contains("\"request\":")).expect("an exchange");
    serde_json::from_str(exchange).expect("JSON")
}

fn trace(log: &str) -> Result<String, String> {
    let harvest = envoy_log("day.jsonl", log.as_bytes()).map_err(|error| error.to_string())?;
    day::trace("day", harvest.records).map_err(|error| error.to_string())
}

fn refusal(log: &str) -> String {
    trace(log).expect_err("a mistake")
}

/// Every format entry below this one, by the path of its field.
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
fn importer_and_example_name_the_same_fields() {
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
fn an_ordinary_line_becomes_an_exchange() {
    let text = trace(&line(&json!({}))).expect("a trace");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let open = json!({ "protocol": "HTTP/1.1", "id": 2, "source": "127.0.0.1:44092" });
    assert_eq!(lines[0], json!({ "at": "0s", "connection": "c2", "open": open }));
    let expected = json!({
        "at": "0s", "id": "day.jsonl:1", "connection": "c2",
        "request": { "method": "GET", "scheme": "http", "authority": "shop.example.com", "path": "/a?x=1",
                     "headers": [["accept", "*/*"], ["user-agent", "curl/7.88.1"]] },
        "upstream": { "after": "3ms", "status": 200,
                      "headers": [["content-length", "2"], ["content-type", "text/plain"]],
                      "body": [{ "after": "2ms", "bytes": 2 }] },
        "expect": { "status": 200, "route": "api", "body_bytes": 2, "end": "complete",
                    "decision": { "phase": "response", "body": "stream", "timeout_ms": null, "per_try_ms": null,
                                  "read_ms": null, "send_ms": null, "retry": null, "drain": null, "hold": null,
                                  "close": null, "accel": null, "epoch": null, "reason": null },
                    "upstream": { "attempts": 1 } }
    });
    assert_eq!(lines[1..], [expected]);
}

#[test]
fn failures_are_told_so_that_they_happen_again() {
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
        // What no upstream did stands as if it had.
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
        assert_eq!(found["expect"]["body_bytes"], Value::Null, "the proxy's own words may change");
        let end = if flags == "DC" { "client" } else { "complete" };
        assert_eq!(found["expect"]["end"], end, "{flags}");
    }
}

#[test]
fn a_response_that_was_cut_is_cut_again() {
    for (flags, end, outcome) in [
        ("UT", "never", json!("cut")),
        ("UC", "reset", json!("cut")),
        ("UPE", "reset", json!("cut")),
        ("SI", "reset", json!("cut")),
        ("DC", "never", json!("client")),
        // A trace knows no client that resets a single stream.
        ("DR", "reset", Value::Null),
    ] {
        let found =
            exchange(&json!({ "response_flags": flags, "timing": { "response_end": null } }));
        assert_eq!(found["upstream"]["end"], end, "{flags}");
        assert_eq!(found["expect"]["end"], outcome, "{flags}");
        assert_eq!(found["expect"]["body_bytes"], Value::Null, "{flags}: how much came is chance");
    }
}

#[test]
fn a_client_that_left_closes_its_connection_after_its_last_request() {
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
fn an_upload_that_was_given_up_ends_only_after_its_client_left() {
    let uploaded = |came: u64, length: Value, timing: Value| {
        let found = exchange(&json!({
            "method": "POST", "response_code": 0, "response_flags": "DC", "duration": 3000, "timing": timing,
            "bytes_received": came, "request_headers": { "content-length": length },
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
    // A log without times says nothing of the upload's end.
    assert_eq!(uploaded(0, Value::Null, Value::Null), Value::Null);
}

#[test]
fn a_response_that_did_not_fit_is_told_whole_and_expected_cut() {
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
    assert_eq!(overflow(500)["expect"]["end"], "complete", "the proxy's own answer");
}

/// What the attempts before the last one met is not logged; the policy that tried again says what it may have been.
#[test]
fn attempts_before_the_last_one_fail_as_the_policy_retries() {
    let decided = |fields: &str| format!("{{\"phase\":\"response\",\"attempts\":3{fields}}}");
    for (fields, first) in [
        (r#","retry":"connect-failure,reset""#, json!({ "after": "250us", "end": "reset" })),
        (r#","retry":"connect-failure""#, json!({ "after": "250us", "end": "refused" })),
        (r#","retry":"refused-stream""#, json!({ "after": "250us", "end": "refused_stream" })),
        (r#","retry":"reset","per_try_ms":0"#, json!({ "end": "never" })),
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
fn what_the_filter_answers_by_itself_has_no_upstream() {
    let found = exchange(&json!({
        "method": "POST", "response_code": 413, "response_code_details": "", "upstream_request_attempt_count": 0,
        "request_headers": { "content-length": "2000" },
        "timing": { "request_end": null, "upstream_start": null, "response_start": null, "response_end": null },
    }));
    assert_eq!(found.get("upstream"), None);
    assert_eq!(
        found["request"]["body"],
        json!([{ "bytes": 2000 }]),
        "what the client meant to send"
    );
    assert_eq!(found["expect"]["status"], 413);
}

#[test]
fn what_the_filter_added_is_not_the_upstreams() {
    let added = |decision: &str| {
        let header = json!({ "x-accel-buffering": "no" });
        let found = exchange(&json!({ "response_headers": header, "decision": decision }));
        found["upstream"].to_string().contains("x-accel-buffering")
    };
    assert!(!added(r#"{"phase":"response","body":"stream","accel":"no"}"#));
    assert!(added(r#"{"phase":"response","body":"stream"}"#));
}

#[test]
fn lines_that_are_no_exchange_are_left_out() {
    for (changes, why) in [
        (
            json!({ "method": null, "path": null, "response_code": 400, "response_flags": "DPE" }),
            LeftOut::NoRequest,
        ),
        (json!({ "method": "CONNECT", "path": null }), LeftOut::Tunnel),
        (json!({ "response_code": 700 }), LeftOut::Status),
        // What an HTTP/2 client may write, and the proxy answers by itself.
        (json!({ "method": "G T" }), LeftOut::NoRequest),
        (json!({ "path": "/a b" }), LeftOut::NoRequest),
        (json!({ "authority": "shop\u{7}" }), LeftOut::NoRequest),
    ] {
        let read = read("x:1".to_owned(), &line(&changes)).expect("a line of the format");
        assert_eq!(read.expect_err("no exchange"), why);
    }
    let mut log = line(&json!({ "method": null }));
    log.push_str("\n\n");
    let Harvest { records, left_out } = envoy_log("day.jsonl", log.as_bytes()).expect("a log");
    assert_eq!((records.len(), left_out[&LeftOut::NoRequest]), (0, 1));
}

#[test]
fn mistakes_name_the_line_the_field_and_what_writes_it() {
    let without = |field: &str| {
        let mut value: Value = serde_json::from_str(&line(&json!({}))).expect("JSON");
        value.as_object_mut().expect("fields").remove(field);
        value.to_string()
    };
    let good = line(&json!({}));
    let message = refusal(&format!("{good}\n\n{}", without("response_code")));
    assert_eq!(
        message,
        "day.jsonl:3: response_code: missing; expected the entry \"response_code\": \"%RESPONSE_CODE%\" in the \
         log's format, as envoy-examples/access-log/access_log.yaml has it"
    );
    for (changes, mistake) in [
        (
            json!({ "response_code": "abc" }),
            "response_code: found \"abc\"; expected a whole number from 0, as %RESPONSE_CODE%",
        ),
        (
            json!({ "start_time": "yesterday" }),
            "start_time: found \"yesterday\"; expected a moment of RFC 3339",
        ),
        (json!({ "duration": -1 }), "duration: found -1; expected a whole number"),
        (json!({ "timing": 5 }), ""),
        (
            json!({ "protocol": "SPDY" }),
            "protocol: found \"SPDY\"; expected HTTP/1.1, HTTP/2 or HTTP/3",
        ),
        (json!({ "decision": "{" }), "decision: found \"{\"; expected a JSON object"),
        (json!({ "request_headers": { "a b": "x" } }), "request_headers.\"a b\": no header name"),
        (json!({ "request_headers": { "a": ["x"] } }), "request_headers: found"),
    ] {
        match (trace(&line(&changes)), mistake) {
            (Ok(_), "") => {}
            (Ok(_), _) => panic!("{changes} was read"),
            (Err(found), _) => assert!(
                !mistake.is_empty() && found.starts_with(&format!("day.jsonl:1: {mistake}")),
                "{found}"
            ),
        }
    }
    assert!(refusal("[1]").starts_with("day.jsonl:1: found a list; expected a JSON object"));
    let cut = &good[..good.len() / 2];
    assert!(
        refusal(cut).starts_with("day.jsonl:1: not JSON: EOF while parsing"),
        "{}",
        refusal(cut)
    );
    let long = " ".repeat(1 << 21);
    assert_eq!(
        refusal(&long),
        "day.jsonl:1: longer than 1048576 bytes; expected one JSON object a line"
    );
}

#[test]
fn text_and_numbers_are_the_same_and_fields_of_others_are_left_alone() {
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
fn bodies_beyond_what_a_trace_may_say_are_cut_to_that() {
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

    /// Whatever stands in the fields: it is refused in a sentence, or it is a trace that can be read.
    #[test]
    fn no_line_breaks_the_program(
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
        if let Err(message) = trace(&log) {
            prop_assert!(message.starts_with("day.jsonl:") || message.starts_with("day:"), "{message}");
        }
    }

    /// Nor does a byte that was lost, added or changed on the way.
    #[test]
    fn no_torn_line_breaks_the_program(at in 0..900usize, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = line(&json!({})).into_bytes();
        let at = at % bytes.len();
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] = byte,
        }
        if let Ok(harvest) = envoy_log("day.jsonl", &bytes[..]) {
            let _ = day::trace("day", harvest.records);
        }
    }
}
