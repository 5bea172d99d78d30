//! Generates the traces of the replay benchmarks: short requests, and streams that are open at the
//! same time. Each exchange has expectations, so that a wrong replay fails instead of being fast.

use std::fmt::Write as _;

use crate::inputs;

/// The number of client connections; they stay open.
const CONNECTIONS: usize = 100;

/// A trace of `requests` requests, one per millisecond, for [`inputs::configuration`].
pub fn requests(requests: usize) -> String {
    let mut trace = connections();
    for number in 0..requests {
        let _ = writeln!(trace, "{}", exchange(number));
    }
    trace
}

/// A trace of `streams` event streams for the same configuration. They begin within ten seconds and
/// last one minute, with an event every twelve seconds. At 30 s, the metric `sluice.in_flight` is
/// expected to count all of them.
pub fn streams(streams: usize) -> String {
    let mut trace = connections();
    for number in 0..streams {
        let _ = writeln!(trace, "{}", stream(number, number * 10_000_000 / streams));
    }
    let _ = writeln!(trace, r#"{{"at":"30s","metrics":{{"sluice.in_flight":{streams}}}}}"#);
    trace
}

fn connections() -> String {
    let open = |connection| {
        format!(r#"{{"at":"0s","connection":"c{connection}","open":{{"protocol":"HTTP/2"}}}}"#)
            + "\n"
    };
    (0..CONNECTIONS).map(open).collect()
}

fn exchange(number: usize) -> String {
    let route = inputs::route_of(number, inputs::ROUTES);
    format!(
        concat!(
            r#"{{"at":"{number}ms",{request},"#,
            r#""upstream":{{"after":"5ms","headers":[["content-type","text/html"],["content-length","512"]],"#,
            r#""body":[{{"bytes":512}}]}},"expect":{{"status":200,"route":"route-{route}","body_bytes":512}}}}"#,
        ),
        number = number,
        request = request(number, route, "text/html"),
        route = route,
    )
}

fn stream(number: usize, at_us: usize) -> String {
    let route = inputs::streaming_route_of(number, inputs::ROUTES);
    format!(
        concat!(
            r#"{{"at":"{at_us}us",{request},"#,
            r#""upstream":{{"after":"5ms","headers":[["content-type","text/event-stream"]],"#,
            r#""body":[{{"after":"12s","text":"data: {{\"online\":4711}}\n\n","times":5}}]}},"#,
            r#""expect":{{"status":200,"route":"route-{route}","body_bytes":115,"ended_by":"upstream","#,
            r#""first_byte":"12.005s..12.005s","last_byte":"60.005s..60.005s"}}}}"#,
        ),
        at_us = at_us,
        request = request(number, route, "text/event-stream"),
        route = route,
    )
}

/// The `id`, `connection` and `request` fields of an exchange for this route.
fn request(number: usize, route: usize, accept: &str) -> String {
    let headers = inputs::request(route);
    let value = |name: &str| {
        let found = headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let tenant = match value("x-tenant") {
        "" => String::new(),
        tenant => format!(r#",["x-tenant","{tenant}"]"#),
    };
    format!(
        concat!(
            r#""id":"r{number}","connection":"c{connection}","request":{{"method":"{method}","#,
            r#""authority":"{authority}","path":"{path}","headers":[["accept","{accept}"]{tenant}]}}"#,
        ),
        number = number,
        connection = number % CONNECTIONS,
        method = value(":method"),
        authority = value(":authority"),
        path = value(":path"),
        accept = accept,
        tenant = tenant,
    )
}
