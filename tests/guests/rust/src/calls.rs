//! Calls to other clusters: HTTP, gRPC messages and gRPC streams. A stream waits for its call.

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, BufferType, MapType};

use crate::text::{header, hexadecimal, result, say, value, word};
use crate::{Stream, raw};

const REQUEST: MapType = MapType::HttpRequestHeaders;

fn argument(name: &str, otherwise: &str) -> String {
    match raw::header(REQUEST, name) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => otherwise.to_owned(),
    }
}

fn timeout() -> Duration {
    Duration::from_millis(argument("x-timeout", "1000").parse().unwrap_or(1000))
}

/// Continues the stream with a header that has the result. The SDK has made the stream the current
/// context.
fn continue_with(stream: &Stream, name: &str, text: &str) {
    if stream.behavior == "http-call-response" {
        let _ = hostcalls::set_map_value(MapType::HttpResponseHeaders, name, Some(text));
        let _ = hostcalls::resume_http_response();
    } else {
        let _ = hostcalls::set_map_value(REQUEST, name, Some(text));
        let _ = hostcalls::resume_http_request();
    }
}

pub(crate) fn http_call_start(stream: &Stream, map: MapType) -> Action {
    // The request headers are not readable in the response phase.
    let (cluster, timeout) = match map {
        REQUEST => (argument("x-cluster", "callout"), timeout()),
        _ => ("callout".to_owned(), Duration::from_secs(1)),
    };
    let mut headers =
        vec![(":method", "POST"), (":authority", "callout.example"), ("x-asked", "1")];
    if stream.behavior != "http-call-bare" {
        headers.push((":path", "/answer"));
    }
    let call = hostcalls::dispatch_http_call(&cluster, headers, Some(b"question"), vec![], timeout);
    say(&stream.behavior, &format!("dispatch {}", result(&call)));
    if call.is_err() {
        let _ = hostcalls::set_map_value(map, "x-call", Some(result(&call)));
        return Action::Continue;
    }
    Action::Pause
}

pub(crate) fn http_call_end(stream: &Stream, headers: usize, body: usize, trailers: usize) {
    const CALL: MapType = MapType::HttpCallResponseHeaders;
    let mut code = header(CALL, ":status");
    let answer = header(CALL, "x-answer");
    let body = match body {
        0 => String::new(),
        _ => value(raw::buffer(BufferType::HttpCallResponseBody, 0, body)),
    };
    say(
        &stream.behavior,
        &format!("response {code} x-answer={answer} body={body} trailers={trailers}"),
    );
    if headers == 0 {
        code = "none".to_owned();
    }
    if stream.behavior != "http-call-reply" {
        return continue_with(stream, "x-call", &code);
    }
    let sent = hostcalls::send_http_response(401, vec![], Some(body.as_bytes()));
    say(&stream.behavior, &format!("reply {}", result(&sent)));
}

pub(crate) fn grpc_start(stream: &Stream) -> Action {
    let cluster = argument("x-cluster", "grpc");
    let metadata: Vec<(&str, &[u8])> = vec![("x-meta", b"m")];
    let message = b"\x00\x01\xffhi";
    let call = match &*stream.behavior {
        "grpc-stream" => hostcalls::open_grpc_stream(&cluster, "guest.Echo", "Say", metadata),
        _ => hostcalls::dispatch_grpc_call(
            &cluster,
            "guest.Echo",
            "Say",
            metadata,
            Some(message),
            timeout(),
        ),
    };
    say(&stream.behavior, &format!("open {}", result(&call)));
    let Ok(call) = call else {
        let _ = hostcalls::set_map_value(REQUEST, "x-grpc", Some(result(&call)));
        return Action::Continue;
    };
    match &*stream.behavior {
        "grpc-cancel" => {
            for _ in 0..2 {
                let canceled = hostcalls::cancel_grpc_call(call);
                say(&stream.behavior, &format!("cancel {}", result(&canceled)));
            }
            return Action::Continue;
        }
        "grpc-stream" => {
            for (message, end) in [("one", false), ("two", true)] {
                let message = Some(message.as_bytes());
                let sent = hostcalls::send_grpc_stream_message(call, message, end);
                say(&stream.behavior, &format!("send {}", result(&sent)));
            }
        }
        _ => {}
    }
    Action::Pause
}

pub(crate) fn grpc_initial(stream: &Stream) {
    let text = header(MapType::GrpcReceiveInitialMetadata, "x-initial");
    say(&stream.behavior, &format!("initial x-initial={text}"));
}

pub(crate) fn grpc_message(stream: &Stream, size: usize) {
    let message = match raw::buffer(BufferType::GrpcReceiveBuffer, 0, size) {
        Ok(bytes) => hexadecimal(&bytes),
        Err(status) => word(status).to_owned(),
    };
    say(&stream.behavior, &format!("message {message}"));
    // The host does not report the end of a unary call that succeeds.
    if stream.behavior == "grpc-call" {
        continue_with(stream, "x-grpc", "message");
    }
}

pub(crate) fn grpc_trailing(stream: &Stream) {
    let text = header(MapType::GrpcReceiveTrailingMetadata, "x-trailing");
    say(&stream.behavior, &format!("trailing x-trailing={text}"));
}

pub(crate) fn grpc_end(stream: &Stream, code: u32) {
    let status = hostcalls::get_grpc_status();
    let word = result(&status);
    let (status, message) = status.unwrap_or_default();
    let message = message.unwrap_or_default();
    say(&stream.behavior, &format!("close {code}, status {word} {status} {message}"));
    continue_with(stream, "x-grpc", if code == 0 { "ended" } else { "failed" });
}
