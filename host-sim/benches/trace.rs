//! The trace on which replays are measured: requests that keep a simulated proxy busy, each with an expectation, so that a replay that
//! goes wrong fails instead of being fast.

use std::fmt::Write as _;

use super::inputs;

/// Clients' connections, which stay open all the time.
const CONNECTIONS: usize = 100;

/// A trace of `requests` requests, one each millisecond, for the made-up configuration.
pub(crate) fn trace(requests: usize) -> String {
    let mut trace = String::new();
    for connection in 0..CONNECTIONS {
        let _ = writeln!(
            trace,
            r#"{{"at":"0s","connection":"c{connection}","open":{{"protocol":"HTTP/2"}}}}"#
        );
    }
    for number in 0..requests {
        let _ = writeln!(trace, "{}", exchange(number));
    }
    trace
}

fn exchange(number: usize) -> String {
    let route = inputs::target(number, inputs::ROUTES);
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
            r#"{{"at":"{number}ms","id":"r{number}","connection":"c{connection}","request":{{"method":"{method}","#,
            r#""authority":"{authority}","path":"{path}","headers":[["accept","text/html"]{tenant}]}},"#,
            r#""upstream":{{"after":"5ms","headers":[["content-type","text/html"],["content-length","512"]],"#,
            r#""body":[{{"bytes":512}}]}},"expect":{{"status":200,"route":"route-{route}","body_bytes":512}}}}"#,
        ),
        number = number,
        connection = number % CONNECTIONS,
        method = value(":method"),
        authority = value(":authority"),
        path = value(":path"),
        tenant = tenant,
        route = route,
    )
}
