//! Bodies whose length is not the one that their headers announce: what the client receives.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::{Outcome, Trace};
use sluice_sim::{Limits, Module, Profile};
use sluice_tests::call_guest::{CallGuest, call};
use sluice_tests::envoy::Envoy;
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

use super::bootstrap;

/// A guest that replaces each body. `None` leaves it unchanged.
fn guest(request: Option<&str>, response: Option<&str>) -> Vec<u8> {
    let guard = "(if (i32.eqz (local.get $p1)) (then (return (i32.const 0))))";
    let mut guest = CallGuest::default();
    for (name, buffer, data) in [("request_body", 0, request), ("response_body", 1, response)] {
        if let Some(data) = data {
            let set = [buffer.into(), 0.into(), (-1).into(), data.into()];
            guest = guest.on_if(name, guard, &[call("set", "set_buffer_bytes", set)], 0);
        }
    }
    guest.module()
}

/// A case: the bytes of the request, the same for a trace, and what the guest does.
struct Case {
    request: (&'static str, Value),
    response: (&'static str, Value),
    replaces: (Option<&'static str>, Option<&'static str>),
    /// What the client receives: the status, the body, and how the response ends.
    expected: (u16, &'static str, Outcome),
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn case(
    response: (&'static str, Value),
    replaces: Option<&'static str>,
    expected: (u16, &'static str, Outcome),
) -> Case {
    Case { request: (GET, json!({})), response, replaces: (None, replaces), expected }
}

fn hello() -> (&'static str, Value) {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    (text, json!({ "headers": [["content-length", "5"]], "body": [{ "text": "hello" }] }))
}

fn cases() -> Vec<Case> {
    let upstream = |length: &str| json!({ "headers": [["content-length", length]], "body": [{ "text": "hello" }] });
    let chunked = (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        json!({ "body": [{ "text": "hello" }] }),
    );
    let post = |length: &str| json!({ "method": "POST", "headers": [["content-length", length]], "body": [{ "text": "hello" }] });
    let protocol_error =
        "upstream connect error or disconnect/reset before headers. reset reason: protocol error";
    vec![
        case(hello(), None, (200, "hello", Outcome::Complete)),
        // The upstream sends less, and closes, or not.
        case(
            ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhello", {
                let mut cut = upstream("10");
                cut["status"] = json!(200);
                cut["end"] = json!("reset");
                cut
            }),
            None,
            (200, "hello", Outcome::Cut),
        ),
        case(
            ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", upstream("10")),
            None,
            (200, "hello", Outcome::Open),
        ),
        // The upstream sends more.
        case(
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhello", upstream("3")),
            None,
            (200, "hel", Outcome::Complete),
        ),
        // The length is not valid.
        case(
            ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nhello", upstream("x")),
            None,
            (502, protocol_error, Outcome::Complete),
        ),
        case(
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
                json!({ "headers": [["content-length", "5"], ["content-length", "5"]], "body": [{ "text": "hello" }] }),
            ),
            None,
            (502, protocol_error, Outcome::Complete),
        ),
        // The guest changes the length of the response.
        case(hello(), Some("abc"), (200, "abc", Outcome::Open)),
        case(hello(), Some(""), (200, "", Outcome::Open)),
        case(hello(), Some("0123456789"), (200, "01234", Outcome::Complete)),
        case(chunked.clone(), Some("abc"), (200, "abc", Outcome::Complete)),
        case(chunked, Some("0123456789"), (200, "0123456789", Outcome::Complete)),
        // The client sends less, or more.
        Case {
            request: ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello", post("10")),
            response: hello(),
            replaces: (None, None),
            expected: (0, "", Outcome::Open),
        },
        Case {
            request: ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nhello", post("3")),
            response: hello(),
            replaces: (None, None),
            expected: (200, "hello", Outcome::Complete),
        },
        // The guest changes the length of the request.
        Case {
            request: ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", post("5")),
            response: hello(),
            replaces: (Some("0123456789"), None),
            expected: (200, "hello", Outcome::Complete),
        },
        Case {
            request: ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", post("5")),
            response: hello(),
            replaces: (Some("abc"), None),
            expected: (0, "", Outcome::Open),
        },
    ]
}

/// Sends the bytes, and reads for a while.
fn in_envoy(case: &Case) -> (u16, String, Outcome) {
    let response = case.response.0;
    let upstream = Upstream::start(move |_, reply| {
        reply.write(response.as_bytes());
        if response.contains("connection: close") {
            reply.close();
        }
    });
    let wasm = guest(case.replaces.0, case.replaces.1);
    let envoy = Envoy::start(bootstrap(&wasm, &json!({}), upstream.port));
    let mut client = Client::connect(envoy.port).with_timeout(Duration::from_millis(700));
    client.write(case.request.0.as_bytes());
    let socket = client.handle();
    let text = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    let open = socket.peek(&mut [0]).is_err();
    let Some((headers, body)) = text.split_once("\r\n\r\n") else {
        return (0, String::new(), Outcome::Open);
    };
    let status = headers[9..12].parse().expect("a status");
    let header = |name: &str| {
        let mut lines = headers.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    };
    let (body, complete) = match header("content-length") {
        Some(length) => {
            let length: usize = length.parse().expect("a length");
            (body[..body.len().min(length)].to_owned(), body.len() >= length)
        }
        None => dechunked(body),
    };
    let end = match (complete, open) {
        (true, _) => Outcome::Complete,
        (false, true) => Outcome::Open,
        (false, false) => Outcome::Cut,
    };
    (status, body, end)
}

fn dechunked(mut text: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return (body, true);
        }
        body.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    (body, false)
}

fn in_the_simulator(case: &Case) -> (u16, u64, Outcome) {
    let wasm = guest(case.replaces.0, case.replaces.1);
    let module = Module::new(&wasm, &Limits::default()).expect("the simulator loads it");
    let event = json!({ "at": "0s", "connection": "c", "request": case.request.1, "upstream": case.response.1 });
    // The client gives up before a timeout of the proxy.
    let trace = format!("{event}\n{{\"at\":\"1s\",\"connection\":\"c\",\"close\":\"client\"}}");
    let trace = Trace::parse("test", &trace).expect("a valid trace");
    let options = Options::new(Profile::Envoy).with_configuration("");
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    let exchange = &report.exchanges[0];
    let end = match exchange.end {
        Outcome::Client => Outcome::Open,
        end => end,
    };
    (exchange.status.unwrap_or(0), exchange.body_bytes, end)
}

#[test]
fn bodies_with_another_length_end_the_same_in_both_hosts() {
    for (index, case) in cases().iter().enumerate() {
        let (status, body, end) = case.expected;
        let simulated = in_the_simulator(case);
        assert_eq!(simulated, (status, body.len() as u64, end), "case {index}: the simulator");
        assert_eq!(in_envoy(case), (status, body.to_owned(), end), "case {index}: Envoy");
    }
}
