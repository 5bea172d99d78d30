//! Mistakes in traces: each is refused as a whole, with its line, its field and what was expected.

use sluice_sim::trace::{Kind, Trace};

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
fn a_mistake_names_its_line_field_and_what_was_expected() {
    let mistakes = [
        ("{", "line: not JSON: EOF while parsing an object"),
        ("[]", "line: found a list; expected an event, which is a JSON object"),
        ("42", "line: invalid type: integer `42`, expected an event, which is a JSON object"),
        (r#"{"request":{}}"#, "at: is missing"),
        (
            r#"{"at":"6s"}"#,
            "line: no event; expected one of configure, open, request, shared_data, respond, close, clock, stall, metrics",
        ),
        (
            r#"{"at":6,"request":{}}"#,
            "at: invalid type: integer `6`, expected a duration with a unit, such as \"250ms\"",
        ),
        (r#"{"at":"6","request":{}}"#, "at: \"6\" has no unit; write \"6s\" or \"6ms\""),
        (
            r#"{"at":"-6s","request":{}}"#,
            "at: \"-6s\" is negative; expected a duration such as \"250ms\"",
        ),
        (
            r#"{"at":"soon","request":{}}"#,
            "at: \"soon\" is no duration; expected one such as \"250ms\" or \"1m30s\"",
        ),
        (
            r#"{"at":"99999999999999999999s","request":{}}"#,
            "at: \"99999999999999999999s\" is no duration; expected one such as \"250ms\" or \"1m30s\"",
        ),
        (
            r#"{"at":"4s","request":{}}"#,
            "at: 4s is before the line above; expected events in the order of their time, here 5s or later",
        ),
        (r#"{"at":"6s","requets":{}}"#, "requets: unknown field `requets`"),
        (
            r#"{"at":"6s","request":{"headers":[["a"]]}}"#,
            "request.headers[0]: invalid length 1, expected a tuple of size 2",
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
            "request.body[0].bytes: invalid value: integer `-1`, expected u64",
        ),
        (
            r#"{"at":"6s","request":{"body":[{"text":"x","times":0}]}}"#,
            "request.body[0]: times is 0; expected at least 1, and at most 1073741824 bytes in all",
        ),
        (
            r#"{"at":"6s","request":{"headers":[["a","b"],["a:b","c"]]}}"#,
            "request.headers[1]: \"a:b\" is no header name",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"headers":[["a","b\r\nc: d"]]}}"#,
            "upstream.headers[0]: \"b\\r\\nc: d\" is no header value",
        ),
        (
            r#"{"at":"6s","request":{"path":""}}"#,
            "request.path: is empty; leave it out for the default",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"headers":[["a","b\u0001"]]}}"#,
            "upstream.headers[0]: \"b\\u{1}\" is no header value; expected one without control characters",
        ),
        (
            r#"{"at":"6s","request":{"method":"G T"}}"#,
            "request.method: \"G T\" is no method; expected one such as \"GET\"",
        ),
        (r#"{"at":"6s","request":{"method":""}}"#, "request.method: \"\" is no method"),
        (
            r#"{"at":"6s","request":{"scheme":""}}"#,
            "request.scheme: is empty; leave it out for the default",
        ),
        (
            r#"{"at":"6s","request":{"path":"/a b"}}"#,
            "request.path: \"/a b\" cannot be sent; expected neither spaces nor control characters",
        ),
        (
            r#"{"at":"6s","request":{"authority":"a\u007f"}}"#,
            "request.authority: \"a\\u{7f}\" cannot be sent",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"body_sha256":"00"}}"#,
            "expect.body_sha256: \"00\" is no SHA-256; expected 64 hexadecimal digits",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"upstream":{"body_sha256":"g"}}}"#,
            "expect.upstream.body_sha256: \"g\" is no SHA-256",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"status":42}}"#,
            "upstream.status: found 42; expected a final status from 200 to 599",
        ),
        (
            r#"{"at":"6s","request":{},"upstream":{"end":"explode"}}"#,
            "upstream.end: unknown variant `explode`",
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
            "expect.first_byte: \"30ms\" is no bound",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"ended_by":"nobody"}}"#,
            "expect.ended_by: unknown variant `nobody`, expected one of `upstream`, `client`, `filter`, `proxy`",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"reason":"Read Timeout"}}"#,
            "expect.reason: \"Read Timeout\" is no reason; expected a word such as \"read_timeout\", or \"\" for none",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"reason":504}}"#,
            "expect.reason: invalid type: integer `504`, expected a string",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"stauts":200}}"#,
            "expect.stauts: unknown field `stauts`",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"upstream":{"attempts":"two"}}}"#,
            "expect.upstream.attempts: invalid type: string \"two\", expected u32",
        ),
        (
            r#"{"at":"6s","request":{},"close":"client"}"#,
            "close: stands beside request; expected one event a line",
        ),
        (
            r#"{"at":"6s","id":"r0","request":{}}"#,
            "id: \"r0\" stands on line 1 already; expected an id of its own",
        ),
        (
            r#"{"at":"6s","connection":"nobody","close":"client"}"#,
            "connection: \"nobody\" is unknown",
        ),
        (
            r#"{"at":"6s","close":"client"}"#,
            "connection: is missing; expected the connection to close",
        ),
        (r#"{"at":"6s","connection":"c","open":{}}"#, "connection: \"c\" is open already"),
        (
            r#"{"at":"6s","connection":"d","open":{"protocol":"SPDY"}}"#,
            "open.protocol: unknown variant `SPDY`",
        ),
        (r#"{"at":"6s","respond":{}}"#, "cluster: is missing"),
        (
            r#"{"at":"6s","cluster":"etcd","respond":{"end":"refused_stream"}}"#,
            "respond.end: has no meaning for a call",
        ),
        (
            r#"{"at":"6s","configure":{},"upstream":{}}"#,
            "upstream: has no meaning beside configure; expected it beside request",
        ),
        (
            r#"{"at":"6s","configure":{},"expect":{"accepted":"yes"}}"#,
            "expect.accepted: invalid type: string \"yes\", expected a boolean",
        ),
        (r#"{"at":"6s","shared_data":{"key":"k"}}"#, "shared_data.value: is missing"),
        (
            r#"{"at":"6s","request":{}} {"at":"7s"}"#,
            "line: something stands behind the event; expected one a line",
        ),
    ];
    let mut wrong = Vec::new();
    for (line, expected) in mistakes {
        let text = seventh(line);
        let error = Trace::parse("day.jsonl", &text).expect_err(line).to_string();
        let expected = format!("day.jsonl:7: {expected}");
        if !error.starts_with(&expected) {
            wrong.push(format!("{line}\n  expected {expected}\n       got {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_request_on_a_closed_connection_is_refused() {
    let text = format!(
        "{GOOD}\n{}\n{}",
        r#"{"at":"2s","connection":"c","close":"client"}"#,
        r#"{"at":"3s","connection":"c","request":{}}"#
    );
    let error = Trace::parse("t", &text).expect_err("closed");
    assert_eq!(
        error.to_string(),
        "t:3: connection: \"c\" was closed on line 2; expected an open one"
    );
}

#[test]
fn a_closed_connection_can_be_opened_again_under_its_name() {
    let text = format!(
        "{GOOD}\n{}\n{}\n{}",
        r#"{"at":"2s","connection":"c","close":"client"}"#,
        r#"{"at":"3s","connection":"c","open":{}}"#,
        r#"{"at":"3s","connection":"c","request":{}}"#
    );
    let trace = Trace::parse("t", &text).expect("a good trace");
    assert_eq!(trace.connections, ["c", "c"]);
}

#[test]
fn empty_lines_and_a_byte_order_mark_are_skipped() {
    let text = format!("\u{feff}{GOOD}\r\n\r\n   \n");
    assert_eq!(Trace::parse("t", &text).expect("a good trace").events.len(), 1);
}

#[test]
fn a_configuration_is_handed_on_as_it_is_written() {
    let configuration = |line: &str| {
        let trace = Trace::parse("t", line).expect("a good trace");
        match &trace.events[0].kind {
            Kind::Configure { configuration, .. } => configuration.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(configuration(r#"{"at":"0s","configure":{"b": 1,  "a":2}}"#), r#"{"b": 1,  "a":2}"#);
    assert_eq!(configuration(r#"{"at":"0s","configure":"not \"JSON\""}"#), "not \"JSON\"");
    assert_eq!(configuration(r#"{"at":"0s","configure":null}"#), "null");
}
