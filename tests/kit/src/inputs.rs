//! A made-up fleet for the benchmarks: a configuration with as many routes as one likes, and requests of which we know the route.
//!
//! Every tenth of the routes is of another kind, as gateways carry them: fixed paths, prefixes, tenants' hosts, headers, methods and
//! a few regular expressions. Paths differ in length, because an index that looks at lengths would otherwise have it too easy.

use std::fmt::Write as _;

/// Routes of a configuration on which not the number of routes is measured.
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

/// A configuration with `routes` routes; the one at `index` is called `route-INDEX`.
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
    let place = place(index);
    match index % 10 {
        0..=2 => format!(r#""path":{{"exact":"/{place}"}}"#),
        3..=5 => format!(r#""path":{{"prefix":"/{place}/"}}"#),
        6 => format!(r#""hosts":["*.{place}.example.com"]"#),
        7 => format!(
            r#""path":{{"prefix":"/{place}/"}},"headers":[{{"name":"x-tenant","exact":"{index}"}}]"#
        ),
        8 => format!(r#""path":{{"prefix":"/{place}/"}},"methods":["POST","PUT"]"#),
        _ => format!(r#""path":{{"regex":"/{place}/[0-9]+/items"}}"#),
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

/// The limit that the route at `index` puts on a request, in milliseconds.
pub fn limit_ms(index: usize) -> &'static str {
    match index % 4 {
        0 => "3000",
        1 => "0",
        2 => "60000",
        _ => "15000",
    }
}

/// What tells the route at `index` from others.
fn place(index: usize) -> String {
    format!("{}-{index}", WORDS[index % WORDS.len()])
}

/// The headers of a request that the route at `index`, and no other, matches.
pub fn request(index: usize) -> Vec<(String, String)> {
    let place = place(index);
    let (method, host, path) = match index % 10 {
        0..=2 => ("GET", "www.example.com".to_owned(), format!("/{place}?page=2")),
        6 => ("GET", format!("shop.{place}.example.com"), "/cart/17".to_owned()),
        8 => ("POST", "www.example.com".to_owned(), format!("/{place}/submit")),
        9 => ("GET", "www.example.com".to_owned(), format!("/{place}/4711/items")),
        _ => ("GET", "www.example.com".to_owned(), format!("/{place}/some/page?sort=asc")),
    };
    let mut headers = common(method, &host, &path);
    if index % 10 == 7 {
        headers.push(("x-tenant".to_owned(), index.to_string()));
    }
    headers
}

/// The headers of a request that no route matches.
pub fn stray() -> Vec<(String, String)> {
    common("GET", "www.example.com", "/elsewhere/entirely?page=2")
}

/// What browsers send with every request.
fn common(method: &str, host: &str, path: &str) -> Vec<(String, String)> {
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

/// Which of `routes` routes the request number `request` is for: all of them in turn, neighbours far apart.
pub fn target(request: usize, routes: usize) -> usize {
    request.wrapping_mul(7919) % routes
}

/// The same among the routes that stream without a limit.
pub fn streaming(request: usize, routes: usize) -> usize {
    target(request, routes / 4) * 4 + 1
}
