//! Random small traces: what clients and upstreams do in them is ordinary, how it comes together is not.
//!
//! Pauses are short, because a real clock passes while a trace runs; limits are far from the pauses on
//! either side, because a loaded machine must not decide which of two comes first.

use proptest::prelude::*;
use serde_json::{Value, json};

/// The configurations that generated traces run under.
pub fn configurations() -> Vec<Value> {
    let routes = json!([
        { "name": "off", "match": { "path": { "prefix": "/off" } }, "buffering": "off" },
        { "name": "on", "match": { "path": { "prefix": "/on" } },
          "buffering": { "response": "on", "request": "on", "max_bytes": 65536 } },
        { "name": "short", "match": { "path": { "prefix": "/short" } }, "timeouts": { "request": "400ms" } },
        { "name": "again", "match": { "path": { "prefix": "/again" } },
          "timeouts": { "request": "5s", "per_try": "400ms" },
          "retry": { "on": ["reset", "gateway-error"], "attempts": 3 } }
    ]);
    let plain = json!({ "version": 1, "defaults": { "buffering": "auto" }, "routes": routes });
    let mut draining = plain.clone();
    draining["drain"] = json!({ "refresh": "250ms", "state": { "epoch": 1, "mode": "terminate" } });
    vec![plain, draining]
}

/// A trace of a few connections with a few exchanges each.
pub fn traces() -> impl Strategy<Value = String> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(exchange(), 1..4)), 1..4)
        .prop_map(|connections| lines(&connections))
}

/// An exchange without its place in a trace.
#[derive(Debug, Clone)]
struct Generated {
    path: &'static str,
    method: &'static str,
    upload: Vec<(u8, u32)>,
    upload_has_length: bool,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Clone)]
struct Attempt {
    after: u16,
    status: u16,
    kind: &'static str,
    chunks: Vec<(u8, u32)>,
    has_length: bool,
    end: &'static str,
    says: Option<&'static str>,
}

fn exchange() -> impl Strategy<Value = Generated> {
    let path = prop::sample::select(vec!["/", "/off", "/on", "/short", "/again"]);
    let method = prop::sample::select(vec!["GET", "GET", "POST", "PUT", "DELETE", "HEAD"]);
    let attempts = prop::collection::vec(attempt(), 1..4);
    (path, method, chunks(), any::<bool>(), attempts).prop_map(
        |(path, method, upload, upload_has_length, mut attempts)| {
            // Only limits of a second or less make a trace whose upstream says nothing worth waiting for.
            if path != "/short" {
                let silent = attempts.iter_mut().filter(|attempt| attempt.end == "never");
                silent.for_each(|attempt| attempt.end = "complete");
            }
            let upload = if matches!(method, "POST" | "PUT") { upload } else { Vec::new() };
            Generated { path, method, upload, upload_has_length, attempts }
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let after = prop::sample::select(vec![0u16, 0, 5, 40, 1000]);
    let status = prop::sample::select(vec![200u16, 200, 200, 201, 204, 304, 404, 500, 503]);
    let kind = prop::sample::select(vec![
        "text/plain",
        "application/json",
        "text/event-stream",
        "application/x-ndjson",
    ]);
    let end = prop::sample::select(vec![
        "complete",
        "complete",
        "complete",
        "complete",
        "cut",
        "reset",
        "reset_in_header",
        "never",
    ]);
    let says = prop::sample::select(vec![None, None, None, Some("no"), Some("yes")]);
    (after, status, kind, chunks(), any::<bool>(), end, says).prop_map(
        |(after, status, kind, chunks, has_length, end, says)| Attempt {
            after,
            status,
            kind,
            chunks: if matches!(status, 204 | 304) { Vec::new() } else { chunks },
            has_length,
            end: if matches!(status, 204 | 304) { "complete" } else { end },
            says,
        },
    )
}

/// Chunks with a pause in milliseconds before each.
fn chunks() -> impl Strategy<Value = Vec<(u8, u32)>> {
    let size = prop_oneof![1u32..100, Just(16_384u32), 30_000u32..70_000, Just(300_000u32)];
    prop::collection::vec((prop::sample::select(vec![0u8, 0, 1, 20]), size), 0..5)
}

fn lines(connections: &[(bool, Vec<Generated>)]) -> String {
    let mut opens = Vec::new();
    let mut events = Vec::new();
    for (number, (http2, exchanges)) in connections.iter().enumerate() {
        let protocol = if *http2 { "HTTP/2" } else { "HTTP/1.1" };
        opens.push(json!({ "at": "0s", "connection": format!("c{number}"), "open": { "protocol": protocol } }));
        for (index, exchange) in exchanges.iter().enumerate() {
            let id = format!("c{number}r{index}");
            events.push((index, event(&id, &format!("c{number}"), index, exchange)));
        }
    }
    events.sort_by_key(|(index, _)| *index);
    let all = opens.into_iter().chain(events.into_iter().map(|(_, event)| event));
    all.map(|event| format!("{event}\n")).collect()
}

fn event(id: &str, connection: &str, index: usize, exchange: &Generated) -> Value {
    let mut request = json!({ "method": exchange.method, "path": exchange.path });
    if !exchange.upload.is_empty() {
        request["body"] = body(&exchange.upload);
        if exchange.upload_has_length {
            request["headers"] = json!([["content-length", length(&exchange.upload)]]);
        }
    }
    json!({
        "at": format!("{}ms", 30 * index),
        "id": id,
        "connection": connection,
        "request": request,
        "upstream": exchange.attempts.iter().map(|attempt| {
            upstream(attempt, exchange.method == "HEAD")
        }).collect::<Vec<_>>(),
    })
}

fn upstream(attempt: &Attempt, head: bool) -> Value {
    let after = format!("{}ms", attempt.after);
    if matches!(attempt.end, "reset" | "reset_in_header") {
        return json!({ "after": after, "end": attempt.end });
    }
    // A response that is cut, or never ends, has begun.
    let end = match attempt.end {
        "cut" => "reset",
        other => other,
    };
    let mut headers = vec![json!(["content-type", attempt.kind])];
    let bodiless = head || matches!(attempt.status, 204 | 304);
    if attempt.has_length && !bodiless && !attempt.chunks.is_empty() {
        let missing = u32::from(end != "complete");
        let bytes: u32 = attempt.chunks.iter().map(|(_, size)| size).sum::<u32>() + missing;
        headers.push(json!(["content-length", bytes.to_string()]));
    }
    if let Some(says) = attempt.says {
        headers.push(json!(["x-accel-buffering", says]));
    }
    let mut upstream = json!({ "after": after, "status": attempt.status, "headers": headers });
    if !bodiless {
        upstream["body"] = body(&attempt.chunks);
        upstream["end"] = json!(end);
    }
    upstream
}

fn body(chunks: &[(u8, u32)]) -> Value {
    let chunk = |(pause, size): &(u8, u32)| json!({ "after": format!("{pause}ms"), "bytes": size });
    chunks.iter().map(chunk).collect()
}

fn length(chunks: &[(u8, u32)]) -> String {
    chunks.iter().map(|(_, size)| size).sum::<u32>().to_string()
}
