//! Generates a configuration with any number of routes, and requests whose route is known.
//!
//! The kinds of routes are those of a gateway: exact paths, prefixes, hosts, headers, methods and
//! regular expressions, in fixed proportions. Paths differ in length, so that a matcher cannot rely
//! on equal lengths.

use std::fmt::Write as _;

/// The number of routes where a benchmark does not vary it.
pub const ROUTES: usize = 100;

const WORDS: [&str; 12] = [
    "api",
    "users",
    "billing",
    "notifications",
    "search",
    "v1",
    "checkout",
    "inventory",
    "logs",
    "recommendations",
    "metrics",
    "sessions",
];

/// A configuration with `routes` routes. The route at `index` is named `route-INDEX`.
pub fn configuration(routes: usize) -> String {
    let mut json = String::from(
        "{\"version\":1,\"defaults\":{\"timeouts\":{\"request\":\"15s\"}},\"routes\":[",
    );
    for index in 0..routes {
        let comma = if index == 0 { "" } else { "," };
        let (conditions, policy) = (conditions(index), policy(index));
        let _ = write!(
            json,
            "{comma}\n{{\"name\":\"route-{index}\",\"match\":{{{conditions}}},{policy}}}"
        );
    }
    json.push_str("]}\n");
    json
}

fn conditions(index: usize) -> String {
    let segment = segment(index);
    match index % 10 {
        0..=2 => format!(r#""path":{{"exact":"/{segment}"}}"#),
        3..=5 => format!(r#""path":{{"prefix":"/{segment}/"}}"#),
        6 => format!(r#""hosts":["*.{segment}.example.com"]"#),
        7 => format!(
            r#""path":{{"prefix":"/{segment}/"}},"headers":[{{"name":"x-tenant","exact":"{index}"}}]"#
        ),
        8 => format!(r#""path":{{"prefix":"/{segment}/"}},"methods":["POST","PUT"]"#),
        _ => format!(r#""path":{{"regex":"/{segment}/[0-9]+/items"}}"#),
    }
}

fn policy(index: usize) -> &'static str {
    match index % 4 {
        0 => r#""timeouts":{"request":"3s"}"#,
        1 => r#""buffering":"off","timeouts":{"request":"0s","read":"60s"}"#,
        2 => {
            r#""buffering":"auto","timeouts":{"request":"60s","per_try":"10s"},"retry":{"on":["connect-failure"],"attempts":2}"#
        }
        _ => r#""buffering":{"response":"on","max_bytes":65536}"#,
    }
}

/// The request timeout of the route at `index`, in milliseconds.
pub fn timeout_ms(index: usize) -> &'static str {
    match index % 4 {
        0 => "3000",
        1 => "0",
        2 => "60000",
        _ => "15000",
    }
}

/// The path segment or host label that only the route at `index` has.
fn segment(index: usize) -> String {
    format!("{}-{index}", WORDS[index % WORDS.len()])
}

/// The headers of a request that only the route at `index` matches.
pub fn request(index: usize) -> Vec<(String, String)> {
    let segment = segment(index);
    let (method, host, path) = match index % 10 {
        0..=2 => ("GET", "www.example.com".to_owned(), format!("/{segment}?page=2")),
        6 => ("GET", format!("shop.{segment}.example.com"), "/cart/17".to_owned()),
        8 => ("POST", "www.example.com".to_owned(), format!("/{segment}/submit")),
        9 => ("GET", "www.example.com".to_owned(), format!("/{segment}/4711/items")),
        _ => ("GET", "www.example.com".to_owned(), format!("/{segment}/some/page?sort=asc")),
    };
    let mut headers = browser_headers(method, &host, &path);
    if index % 10 == 7 {
        headers.push(("x-tenant".to_owned(), index.to_string()));
    }
    headers
}

/// The headers of a request that no route matches.
pub fn unmatched_request() -> Vec<(String, String)> {
    browser_headers("GET", "www.example.com", "/elsewhere/entirely?page=2")
}

/// The headers that a browser sends with every request.
fn browser_headers(method: &str, host: &str, path: &str) -> Vec<(String, String)> {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", host),
        (":path", path),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "session=8d1f3c5e7a9b0d2f4a6c8e0b1d3f5a7c; theme=dark"),
        ("x-forwarded-for", "203.0.113.7"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The route of the request with this number. Consecutive requests go to distant routes; all routes
/// get equally many.
pub fn route_of(request: usize, routes: usize) -> usize {
    request.wrapping_mul(7919) % routes
}

/// [`route_of`], but only routes that stream without a request timeout.
pub fn streaming_route_of(request: usize, routes: usize) -> usize {
    route_of(request, routes / 4) * 4 + 1
}
