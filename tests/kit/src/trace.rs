//! Generates the traces of the replay benchmarks: short requests, and streams that are open at the
//! same time. Each exchange has expectations, so that a wrong replay fails instead of being fast.

use std::fmt::Write as _;
use std::io;

use crate::inputs;

/// The number of client connections; they stay open.
const CONNECTIONS: usize = 100;

/// The number of routes of [`browser_configuration`].
const BROWSER_ROUTES: u64 = 100;

/// The configuration for [`write_browser_requests`].
pub fn browser_configuration() -> String {
    let route = |number| {
        format!(
            r#"{{"name":"r{number}","match":{{"path":{{"prefix":"/svc{number}/"}}}},"timeouts":{{"request":"10s"}},"buffering":"auto"}}"#
        )
    };
    let routes: Vec<String> = (0..BROWSER_ROUTES).map(route).collect();
    let routes = routes.join(",");
    format!(r#"{{"version":1,"defaults":{{"buffering":"auto"}},"routes":[{routes}]}}"#)
}

/// Writes a trace of `requests` requests like those of browsers: on 200 connections, one each
/// 100 µs, with five headers of ordinary length, and a response of 512 bytes after 5 ms.
///
/// # Errors
/// Those of `out`.
pub fn write_browser_requests(requests: u64, out: &mut impl io::Write) -> io::Result<()> {
    for number in 0..requests {
        let (route, connection) = (number % BROWSER_ROUTES, number % 200);
        let (at, path) = (number * 100, number);
        let line = format!(
            concat!(
                r#"{{"at":"{at}us","connection":"c{connection}","request":{{"path":"/svc{route}/item/{path}","#,
                r#""headers":[["accept","text/html,application/xhtml+xml"],"#,
                r#"["user-agent","Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"],"#,
                r#"["accept-language","de,en;q=0.7"],["accept-encoding","gzip, br"],"#,
                r#"["x-request-id","7d2c4a10-{number:012}"]]}},"#,
                r#""upstream":{{"after":"5ms","headers":[["content-type","text/html"],["content-length","512"]],"#,
                r#""body":[{{"bytes":512}}]}},"expect":{{"status":200,"route":"r{route}"}}}}"#,
            ),
            at = at,
            connection = connection,
            route = route,
            path = path,
            number = number,
        );
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    Ok(())
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
