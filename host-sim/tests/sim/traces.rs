//! Reading of traces. A trace with a mistake is rejected as a whole, and the error has the line,
//! the field, what was found and what was expected.

use sluice_sim::trace::{EventKind, Trace};

const GOOD: &str = r#"{"at":"1s","id":"x","connection":"c","request":{}}"#;

/// A trace of ten lines whose seventh is `line`.
fn seventh(line: &str) -> String {
    let mut lines: Vec<String> = (0..10)
        .map(|index| {
            format!(r#"{{"at":"{index}s","id":"r{index}","connection":"c","request":{{}}}}"#)
        })
        .collect();
    lines[6] = line.to_owned();
    lines.join("\n")
}

#[test]
fn errors_have_line_field_found_and_expected() {
    let mistakes = [
        ("{", "line: is not valid JSON: EOF while parsing an object"),
        ("[]", "line: found a list; expected an event, which is a JSON object"),
        ("42", "line: found 42; expected an event, which is a JSON object"),
        (r#"{"request":{}}"#, "at: is missing"),
        (
            r#"{"at":"6s"}"#,
            "line: has no event; expected one of configure, open, request, shared_data, respond, close, clock, stall, metrics, or at the start proxy, plugin, clusters, start_time",
        ),
        (
            r#"{"at":6,"request":{}}"#,
            "at: found 6; expected a duration with a unit, such as \"250ms\"",
        ),
        (r#"{"at":"6","request":{}}"#, "at: \"6\" has no unit; write \"6s\" or \"6ms\""),
        (
            r#"{"at":"-6s","request":{}}"#,
            "at: \"-6s\" is negative; write a duration such as \"250ms\"",
        ),
        (
            r#"{"at":"soon","request":{}}"#,
            "at: \"soon\" is not a duration; write one such as \"250ms\" or \"1m30s\"",
        ),
        (
            r#"{"at":"99999999999999999999s","request":{}}"#,
            "at: \"99999999999999999999s\" is not a duration; write one such as \"250ms\" or \"1m30s\"",
        ),
        (
            r#"{"at":"4s","request":{}}"#,
            "at: 4s is before the previous event; expected 5s or later",
        ),
        (r#"{"at":"6s","requets":{}}"#, "requets: unknown field `requets`"),
        (
            r#"{"at":"6s","request":{"headers":[["a"]]}}"#,
            "request.headers[0]: found a list of 1; expected a list with a name and a value",
        ),
        (
            r#"{"at":"6s","request":{"body":[{"after":"1s"}]}}"#,
            "request.body[0]: expected either \"text\" or \"bytes\"",
        ),
        (
            r#"{"at":"6s","request":{"body":[{"bytes":1,"text":"x"}]}}"#,
            "request.body[0]: expected either \"text\" or \"bytes\"",
        ),
        (
            r#"{"at":"6s","request":{"body":[{"bytes":0}]}}"#,
            "request.body: a chunk is empty; expected at least 1 byte",
        ),
        (
            r#"{"at":"6s","request":{"body":[{"bytes":2000000000}]}}"#,
            "request.body[0]: bytes is 2000000000; expected at most 1073741824",
        ),
        (
            r#"{"at":"6s","request":{"body":[{"bytes":-1}]}}"#,
            "request.body[0].bytes: found -1; expected an integer that is not negative",
        ),
        (
            r#"{"at":"6s","request":{"body":[{"text":"x","times":0}]}}"#,
            "request.body[0]: times is 0; expected at least 1, and at most 1073741824 bytes in total",
        ),
        (
            r#"{"at":"6s","request":{"headers":[["a","b"],["a:b","c"]]}}"#,
            "request.headers[1]: \"a:b\" is not a header name",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"headers":[["a","b\r\nc: d"]]}}"#,
            "upstream.headers[0]: \"b\\r\\nc: d\" is not a header value",
        ),
        (
            r#"{"at":"6s","request":{"path":""}}"#,
            "request.path: is empty; remove the field for its default",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"headers":[["a","b\u0001"]]}}"#,
            "upstream.headers[0]: \"b\\u{1}\" is not a header value; expected no control characters",
        ),
        (
            r#"{"at":"6s","request":{"method":"G T"}}"#,
            "request.method: \"G T\" is not a method; write one such as \"GET\"",
        ),
        (r#"{"at":"6s","request":{"method":""}}"#, "request.method: \"\" is not a method"),
        (
            r#"{"at":"6s","request":{"scheme":""}}"#,
            "request.scheme: is empty; remove the field for its default",
        ),
        (
            r#"{"at":"6s","request":{"path":"/a b"}}"#,
            "request.path: \"/a b\" cannot be sent; expected no spaces and no control characters",
        ),
        (
            r#"{"at":"6s","request":{"authority":"a\u007f"}}"#,
            "request.authority: \"a\\u{7f}\" cannot be sent",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"body_sha256":"00"}}"#,
            "expect.body_sha256: \"00\" is not a SHA-256 hash; expected 64 hexadecimal digits",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"upstream":{"body_sha256":"g"}}}"#,
            "expect.upstream.body_sha256: \"g\" is not a SHA-256 hash",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"status":42}}"#,
            "upstream.status: found 42; expected a final status from 200 to 599",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"status":70000}}"#,
            "upstream.status: found 70000; expected an integer from 0 to 65535",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"headers":{}}}"#,
            "upstream.headers: found an object; expected a list",
        ),
        (r#"{"at":"6s","request":[]}"#, "request: found a list of 0; expected a JSON object"),
        (r#"{"at":"6s","request":null}"#, "line: has no event"),
        (
            r#"{"at":"6s","request":{},"upstream":"none"}"#,
            "upstream: found \"none\"; expected an attempt such as",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"end":"explode"}}"#,
            "upstream.end: unknown value `explode`",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":[]}"#,
            "upstream: the list is empty; expected at least one attempt",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"end":"refused","status":200}}"#,
            "upstream.end: such an attempt sends no response",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"end":"reset","body":[{"text":"x"}]}}"#,
            "upstream.status: is missing",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"first_byte":"30ms"}}"#,
            "expect.first_byte: \"30ms\" is not a bound; write",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"ended_by":"nobody"}}"#,
            "expect.ended_by: unknown value `nobody`; expected one of `upstream`, `client`, `filter`, `proxy`",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"reason":"Read Timeout"}}"#,
            "expect.reason: \"Read Timeout\" is not a reason; write a word such as \"read_timeout\", or \"\" for no reason",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"reason":504}}"#,
            "expect.reason: found 504; expected a string",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"stauts":200}}"#,
            "expect.stauts: unknown field `stauts`",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"upstream":{"attempts":"two"}}}"#,
            "expect.upstream.attempts: found \"two\"; expected an integer from 0 to 4294967295",
        ),
        (
            r#"{"at":"6s","request":{},"close":"client"}"#,
            "close: is a second event on a line with request; write each event on its own line",
        ),
        (
            r#"{"at":"6s","id":"r0","request":{}}"#,
            "id: \"r0\" is already used on line 1; expected a new id",
        ),
        (
            r#"{"at":"6s","connection":"nobody","close":"client"}"#,
            "connection: \"nobody\" is unknown",
        ),
        (
            r#"{"at":"6s","close":"client"}"#,
            "connection: is missing; expected the connection to close",
        ),
        (r#"{"at":"6s","connection":"c","open":{}}"#, "connection: \"c\" is already open"),
        (
            r#"{"at":"6s","connection":"d","open":{"protocol":"SPDY"}}"#,
            "open.protocol: unknown value `SPDY`",
        ),
        (r#"{"at":"6s","respond":{}}"#, "cluster: is missing"),
        (
            r#"{"at":"6s","cluster":"etcd","respond":{"messages":[{"hex":"0"}]}}"#,
            "respond.messages[0]: \"0\" is not hexadecimal",
        ),
        (
            r#"{"at":"6s","configure":{},"upstream":{}}"#,
            "upstream: has no meaning with configure; expected it with request",
        ),
        (
            r#"{"at":"6s","configure":{},"expect":{"accepted":"yes"}}"#,
            "expect.accepted: found \"yes\"; expected true or false",
        ),
        (r#"{"at":"6s","shared_data":{"key":"k"}}"#, "shared_data.value: is missing"),
        (
            r#"{"at":"6s","request":{}} {"at":"7s"}"#,
            "line: has text after the event; write each event on its own line",
        ),
    ];
    let mut wrong = Vec::new();
    for (line, expected) in mistakes {
        let text = seventh(line);
        let error = Trace::parse("trace.jsonl", &text).expect_err(line).to_string();
        let expected = format!("trace.jsonl:7: {expected}");
        if !error.starts_with(&expected) {
            wrong.push(format!("{line}\n  expected {expected}\n       got {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn request_on_closed_connection_is_rejected() {
    let text = format!(
        "{GOOD}\n{}\n{}",
        r#"{"at":"2s","connection":"c","close":"client"}"#,
        r#"{"at":"3s","connection":"c","request":{}}"#
    );
    let error = Trace::parse("t", &text).expect_err("closed");
    assert_eq!(
        error.to_string(),
        "t:3: connection: \"c\" was closed on line 2; expected an open connection"
    );
}

#[test]
fn closed_connection_can_be_opened_again_with_its_name() {
    let text = format!(
        "{GOOD}\n{}\n{}\n{}",
        r#"{"at":"2s","connection":"c","close":"client"}"#,
        r#"{"at":"3s","connection":"c","open":{}}"#,
        r#"{"at":"3s","connection":"c","request":{}}"#
    );
    let trace = Trace::parse("t", &text).expect("a valid trace");
    assert_eq!(trace.connections, ["c", "c"]);
}

#[test]
fn empty_lines_and_byte_order_mark_are_skipped() {
    let text = format!("\u{feff}{GOOD}\r\n\r\n   \n");
    assert_eq!(Trace::parse("t", &text).expect("a valid trace").events.len(), 1);
}

#[test]
fn configuration_text_is_kept_unchanged() {
    let configuration = |line: &str| {
        let trace = Trace::parse("t", line).expect("a valid trace");
        match &trace.events[0].kind {
            EventKind::Configure { configuration, .. } => configuration.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(configuration(r#"{"at":"0s","configure":{"b": 1,  "a":2}}"#), r#"{"b": 1,  "a":2}"#);
    assert_eq!(configuration(r#"{"at":"0s","configure":"not \"JSON\""}"#), "not \"JSON\"");
    assert_eq!(configuration(r#"{"at":"0s","configure":null}"#), "null");
}
