//! Error pages: their placeholders, how `accept` selects one, and the reason words.

use sluice_filter::reason::Reason;
use sluice_filter::reply::LocalReply;
use sluice_filter::stream::decide_request;
use sluice_filter::{Headers, RequestView, Rules, load};

const PAGES: &str = r#"{"version":1,
    "routes":[{"name":"api","match":{"path":{"prefix":"/api"}}}],
    "errors":{"content_type":"application/json","body":"{\"error\":\"{reason}\",\"of\":\"{route}\",\"id\":\"{request_id}\",\"s\":{status}}",
              "alternatives":[{"content_type":"text/plain; charset=utf-8","body":"{reason}\n"},{"content_type":"text/html","body":"<p>{reason}"}]}}"#;

fn config(document: &str) -> Rules {
    load(document.as_bytes()).expect("a valid configuration").rules
}

fn failed(config: &Rules, path: &str, headers: &[(&str, &str)]) -> LocalReply {
    let pseudo = [(":method", "GET"), (":path", path)];
    let headers: Headers = pseudo.iter().chain(headers).copied().collect();
    let decision = decide_request(config, &RequestView::new(&headers), true);
    let context = &decision.error_context;
    config.error_reply(decision.route, context, Reason::ReadTimeout, 504, || "plain".into())
}

#[test]
fn pages_contain_reason_route_request_id_and_status() {
    let config = config(PAGES);
    let reply = failed(&config, "/api/x", &[("x-request-id", "3f-1")]);
    assert_eq!((reply.status, &*reply.content_type), (504, "application/json"));
    assert_eq!(reply.body, r#"{"error":"read_timeout","of":"api","id":"3f-1","s":504}"#);
    let other = failed(&config, "/x", &[("x-request-id", "\",\"admin\":true,\"x\":\"")]);
    assert_eq!(other.body, r#"{"error":"read_timeout","of":"default","id":"","s":504}"#);
    let long = "a".repeat(129);
    assert!(failed(&config, "/x", &[("x-request-id", &long)]).body.contains(r#""id":"""#));
    let reply = failed(&self::config(r#"{"version":1}"#), "/", &[]);
    assert_eq!((&*reply.content_type, reply.body.as_str()), ("text/plain", "plain"));
}

#[test]
fn the_accept_header_selects_the_page() {
    let config = config(PAGES);
    let cases = [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("TEXT/PLAIN;q=0.2, application/json;q=0.1", "text/plain; charset=utf-8"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("text/*;q=0.5, */*;q=0.1", "text/plain; charset=utf-8"),
        ("text/*, text/plain;q=0", "text/html"),
        ("application/json;q=0, */*", "text/plain; charset=utf-8"),
        ("image/png", "application/json"),
        (";;,,/;q=9;q=nan, text/html;q=0.001", "text/html"),
        ("\u{0}", "application/json"),
    ];
    for (accept, expected) in cases {
        assert_eq!(
            failed(&config, "/", &[("accept", accept)]).content_type,
            expected,
            "{accept:?}"
        );
    }
}

#[test]
fn only_the_first_kilobyte_of_accept_is_read() {
    let config = config(PAGES);
    let selected = |accept: &str| failed(&config, "/", &[("accept", accept)]).content_type;
    let filler = |bytes: usize| "image/png;q=0.5,".repeat(bytes / 16);
    assert_eq!(selected(&(filler(1008) + "text/html")), "text/html", "1017 bytes");
    assert_eq!(selected(&(filler(1024) + "text/html")), "application/json");
    assert_eq!(selected(&("text/html,".to_owned() + &filler(58_000))), "text/html");
    assert_eq!(selected(&"x".repeat(58_000)), "application/json", "no comma within it");
}

#[test]
fn grpc_clients_get_a_status_instead_of_a_page() {
    for kind in ["application/grpc", "application/grpc+proto"] {
        let reply = failed(&config(PAGES), "/", &[("content-type", kind)]);
        assert_eq!((reply.grpc_status, reply.body.as_str()), (Some(4), "read_timeout"));
    }
    let reply = failed(&config(PAGES), "/", &[("content-type", "application/grpc-web")]);
    assert_eq!(reply.grpc_status, None, "gRPC-Web has no trailers");
}

#[test]
fn errors_in_pages_name_the_place() {
    let cases = [
        (
            r#"{"body":"{reason}"}"#,
            "errors.content_type: missing, expected a content type such as \"application/json\"",
        ),
        (
            r#"{"content_type":"application/json"}"#,
            "errors.body: missing, expected text of 1 to 16384 bytes whose only words in braces are {reason}, {route}, {request_id} and {status}",
        ),
        (
            r#"{"content_type":"text/plain","body":"{reson}"}"#,
            "errors.body: found \"{reson}\", expected text of 1 to 16384 bytes whose only words in braces are {reason}, {route}, {request_id} and {status}",
        ),
        (
            r#"{"content_type":"text","body":"x"}"#,
            "errors.content_type: found \"text\", expected a content type such as \"application/json\"",
        ),
        (
            r#"{"content_type":"*/*","body":"x"}"#,
            "errors.content_type: found \"*/*\", expected a content type such as \"application/json\"",
        ),
        (
            r#"{"content_type":"text/*","body":"x"}"#,
            "errors.content_type: found \"text/*\", expected a content type such as \"application/json\"",
        ),
        (
            r#"{"content_type":"text/plain\r\nx: y","body":"x"}"#,
            "errors.content_type: found \"text/plain\\r\\nx: y\", expected a content type such as \"application/json\"",
        ),
        (
            r#"{"alternatives":[]}"#,
            "errors.alternatives: found an empty array, expected an array with at least one item",
        ),
    ];
    for (errors, expected) in cases {
        let document = format!(r#"{{"version":1,"errors":{errors}}}"#);
        let error = load(document.as_bytes()).expect_err(errors);
        assert_eq!(error.to_string(), expected);
    }
    config(
        r#"{"version":1,"errors":{"content_type":"text/css","body":"p{color:red}{{}}{A}{ reason }{"}}"#,
    );
}

#[test]
fn response_code_details_map_to_reasons() {
    let cases = [
        ("via_upstream", None),
        ("direct_response", None),
        ("ext_authz_denied", None),
        ("", None),
        ("response_timeout", Some("request_timeout")),
        ("no_healthy_upstream", Some("no_healthy_upstream")),
        (
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            Some("connect_failure"),
        ),
        ("upstream_reset_before_response_started{connection_timeout}", Some("connect_timeout")),
        ("upstream_reset_before_response_started{connection_termination}", Some("upstream_reset")),
        ("upstream_reset_before_response_started{overflow}", Some("overflow")),
        ("upstream_reset_before_response_started{something_new}", Some("upstream_reset")),
        ("upstream_reset_after_response_started{protocol_error}", Some("upstream_reset")),
        ("downstream_remote_disconnect", Some("client_closed")),
    ];
    for (detail, expected) in cases {
        assert_eq!(Reason::from_details(detail.as_bytes()).map(Reason::word), expected, "{detail}");
    }
    assert_eq!(Reason::from_details(b"\xff"), None);
}

#[test]
fn the_documentation_lists_every_reason() {
    let page = include_str!("../../docs/errors.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let expected = Reason::ALL.iter().map(|reason| {
        let envoy: Vec<_> = reason.envoy().iter().map(|word| format!("`{word}`")).collect();
        format!(
            "| `{}` | {} | {} | {} |",
            reason.word(),
            reason.meaning(),
            reason.grpc_status(),
            envoy.join(", ")
        )
    });
    assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}
