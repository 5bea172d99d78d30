//! Drains and filters that reply: behind Sluice, their replies close connections; before it, they
//! never do, and the filter reports that. Also what Sluice sees and does as the first filter.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::http1::{Client, Response};
use sluice_tests::http2;
use sluice_tests::upstream::Upstream;

const BYPASSED: &str = "wasmcustom.sluice.drain.bypassed";

/// A key for HS256, and a token of the user `anna` that is signed with it.
const JWKS: &str = r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"test","k":"YSBzZWNyZXQgb2YgYXQgbGVhc3QgdGhpcnR5LXR3byBieXRlcw"}]}"#;
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InRlc3QifQ.eyJpc3MiOiJ0ZXN0Iiwic3ViIjoiYW5uYSJ9.qV0SMAkmt7ut2AJBEOTC4wGfGS3grbUbhf16S4lCL24";

/// Where a filter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeSluice,
    BehindSluice,
}

fn place(bootstrap: Bootstrap, filter: Value, place: Place) -> Bootstrap {
    match place {
        Place::BeforeSluice => bootstrap.with_filter_before("sluice", filter),
        Place::BehindSluice => bootstrap.with_filter(filter),
    }
}

/// A guard: it replies to `/denied` with `status`, and forwards other requests.
pub(super) struct Guard {
    name: &'static str,
    pub(super) filter: Value,
    status: u16,
    /// The start of the proxy's response code details.
    details: &'static str,
}

/// One guard of each kind. `authz` needs the cluster of the authorization service.
pub(super) fn guards() -> Vec<Guard> {
    let denied = json!({ "prefix": "/denied" });
    let guard = |name, status, details, kind: &str, mut config: Value| {
        config["@type"] =
            json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
        Guard { name, filter: json!({ "name": name, "typed_config": config }), status, details }
    };
    let policy = json!({ "permissions": [{ "url_path": { "path": denied.clone() } }],
        "principals": [{ "any": true }] });
    // The filter is on for every request, but only `/denied` has a low limit.
    let limit = json!({ "value": { "numerator": 100, "denominator": "HUNDRED" } });
    let only_denied = |limited: Value| {
        json!({ "stat_prefix": "limit", "filter_enabled": { "default_value": limit["value"] },
            "filter_enforced": { "default_value": limit["value"] },
            "token_bucket": { "max_tokens": 1000, "fill_interval": "1000s" },
            "rate_limits": [{ "actions": [{ "header_value_match": {
                "descriptor_value": "denied",
                "headers": [{ "name": ":path", "string_match": limited }] } }] }],
            "descriptors": [{ "entries": [{ "key": "header_match", "value": "denied" }],
                "token_bucket": { "max_tokens": 1, "fill_interval": "1000s" } }] })
    };
    vec![
        guard(
            "rbac",
            403,
            "rbac_access_denied",
            "rbac.v3.RBAC",
            json!({
            "rules": { "action": "DENY", "policies": { "denied": policy } } }),
        ),
        guard(
            "authz",
            403,
            "ext_authz_denied",
            "ext_authz.v3.ExtAuthz",
            json!({
            "http_service": { "server_uri":
                { "uri": "http://authz", "cluster": "authz", "timeout": "5s" } } }),
        ),
        guard(
            "jwt",
            401,
            "jwt_authn_access_denied",
            "jwt_authn.v3.JwtAuthentication",
            json!({
            "providers": { "test": { "issuer": "test", "local_jwks": { "inline_string": JWKS } } },
            "rules": [{ "match": denied.clone(), "requires": { "provider_name": "test" } }] }),
        ),
        guard(
            "limit",
            429,
            "local_rate_limited",
            "local_ratelimit.v3.LocalRateLimit",
            only_denied(denied),
        ),
    ]
}

/// Adds the cluster of the authorization service, which denies `/denied`.
fn with_authz(bootstrap: Bootstrap, port: u16) -> Bootstrap {
    bootstrap.changed("clusters", |clusters| {
        let clusters = clusters.as_array_mut().expect("a list of clusters");
        let mut authz = clusters[0].clone();
        authz["name"] = json!("authz");
        let assignment = &mut authz["load_assignment"];
        assignment["cluster_name"] = json!("authz");
        assignment["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
            ["port_value"] = json!(port);
        clusters.push(authz);
    })
}

fn authorization_service() -> Upstream {
    Upstream::start(|request, reply| {
        let status = if request.path().starts_with("/denied") { 403 } else { 200 };
        reply.respond(status, &[], b"");
    })
}

fn configuration(drain: Option<(u64, &str)>) -> Value {
    let mut configuration = json!({ "version": 1, "drain": { "refresh": "100ms" },
        "errors": { "content_type": "text/plain", "body": "page for {reason}" } });
    if let Some((epoch, mode)) = drain {
        configuration["drain"]["state"] = json!({ "epoch": epoch, "mode": mode, "window": "1ms" });
    }
    configuration
}

/// Sends a request that the guard denies.
fn denied(client: &mut Client, guard: &Guard) -> Response {
    let response = client.get("/denied");
    assert_eq!(response.status, guard.status, "{}", guard.name);
    assert_eq!(response.header("x-sluice-drain"), None, "{}", guard.name);
    response
}

/// An Envoy with one guard, and its upstreams.
fn start(guard: &Guard, at: Place) -> (Envoy, [Upstream; 2]) {
    let upstreams = [Upstream::ok(), authorization_service()];
    let bootstrap = Bootstrap::discovered(upstreams[0].port, &configuration(None));
    let bootstrap = with_authz(bootstrap, upstreams[1].port);
    (Envoy::start(place(bootstrap, guard.filter.clone(), at)), upstreams)
}

#[test]
fn a_denial_behind_sluice_closes_the_connection_in_a_reload_and_in_a_terminate() {
    for guard in guards() {
        let (mut envoy, _upstreams) = start(&guard, Place::BehindSluice);
        // The local rate limit accepts one request.
        Client::connect(envoy.port).get("/denied");
        let mut old = Client::connect(envoy.port);
        assert!(!denied(&mut old, &guard).closes(), "{}: no drain", guard.name);
        assert_eq!(envoy.push(&configuration(Some((1, "reload")))), PushResult::Accepted);
        envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 1);
        let mut new = Client::connect(envoy.port);
        assert!(!denied(&mut new, &guard).closes(), "{}: not an old connection", guard.name);
        assert!(denied(&mut old, &guard).closes(), "{}: reload", guard.name);
        assert!(old.closed_within(Duration::from_secs(2)), "{}", guard.name);

        assert_eq!(envoy.push(&configuration(Some((2, "terminate")))), PushResult::Accepted);
        envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 2);
        assert!(denied(&mut new, &guard).closes(), "{}: terminate", guard.name);
        assert!(new.closed_within(Duration::from_secs(2)), "{}", guard.name);
        assert_eq!(envoy.stat(BYPASSED), 0, "{}", guard.name);
    }
}

#[test]
fn a_denial_before_sluice_never_closes_the_connection_and_is_reported() {
    for guard in guards() {
        let (mut envoy, _upstreams) = start(&guard, Place::BeforeSluice);
        let mut client = Client::connect(envoy.port);
        client.get("/denied");
        denied(&mut client, &guard);
        assert_eq!(envoy.push(&configuration(Some((1, "terminate")))), PushResult::Accepted);
        envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 1);
        for _ in 0..5 {
            assert!(!denied(&mut client, &guard).closes(), "{}", guard.name);
        }
        envoy.wait_for_stat(BYPASSED, 5);
        let log = envoy.log();
        let report = format!("a filter before this one replied ({}", guard.details);
        assert_eq!(log.matches(&report).count(), 1, "{report}: {log}");
        // The drain is in force, for requests that reach the filter.
        assert!(client.get("/").closes(), "{}", guard.name);
    }
}

#[test]
fn a_denial_behind_sluice_sends_goaway_over_http_2() {
    let guard = &guards()[0];
    let (mut envoy, _upstreams) = start(guard, Place::BehindSluice);
    let mut old = http2::Client::connect(envoy.port);
    assert_eq!(old.get("/denied").status, guard.status);
    assert_eq!(envoy.push(&configuration(Some((1, "reload")))), PushResult::Accepted);
    envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 1);
    assert_eq!(old.get("/denied").status, guard.status);
    assert!(old.goaway_within(Duration::from_secs(5)));
}

/// The proxy rejects a malformed request before any filter, and closes the connection itself.
#[test]
fn a_malformed_request_is_not_reported_as_a_reply_of_an_earlier_filter() {
    let upstream = Upstream::ok();
    let bootstrap = Bootstrap::discovered(upstream.port, &configuration(Some((1, "terminate"))));
    let envoy = Envoy::start(bootstrap);
    for request in
        [&b"what?\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"]
    {
        let mut client = Client::connect(envoy.port);
        client.write(request);
        assert!(client.receive().closes());
    }
    // A tick later, the counts have been reported.
    assert!(Client::get_once(envoy.port, "/").closes());
    envoy.wait_for_stat("wasmcustom.sluice.drain.closed", 1);
    assert_eq!(envoy.stat(BYPASSED), 0, "{}", envoy.log());
}

#[test]
fn error_pages_and_reasons_do_not_cover_the_denials_of_a_guard() {
    for guard in guards() {
        let (envoy, _upstreams) = start(&guard, Place::BehindSluice);
        Client::connect(envoy.port).get("/denied");
        let response = denied(&mut Client::connect(envoy.port), &guard);
        let body = String::from_utf8_lossy(&response.body.bytes).into_owned();
        assert!(!body.contains("page for"), "{}: {body}", guard.name);
        envoy.wait_for_stat("wasmcustom.sluice.route.default.requests", 2);
        let ended = envoy.admin_get("/stats?filter=sluice.route.default.ended").1;
        assert_eq!(ended, "", "{}", guard.name);
    }
}

/// The proxy rejects an upload that a guard buffers. It is a failure of the proxy, not a denial.
#[test]
fn error_pages_cover_failures_of_the_proxy_while_a_guard_buffers() {
    let authz = json!({ "name": "authz", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "with_request_body": { "max_request_bytes": 10 },
        "http_service": { "server_uri": { "uri": "http://authz", "cluster": "authz", "timeout": "5s" } },
    } });
    for (at, body) in [
        (Place::BehindSluice, "page for body_too_large"),
        (Place::BeforeSluice, "Payload Too Large"),
    ] {
        let upstreams = [Upstream::ok(), authorization_service()];
        let bootstrap = Bootstrap::discovered(upstreams[0].port, &configuration(None));
        let bootstrap = with_authz(bootstrap, upstreams[1].port);
        let envoy = Envoy::start(place(bootstrap, authz.clone(), at));
        let response = Client::connect(envoy.port).post("/", &[b'x'; 1000]);
        let found = String::from_utf8_lossy(&response.body.bytes).into_owned();
        assert_eq!((response.status, &found[..]), (413, body), "{at:?}");
    }
}

/// A guard adds a header with the user of a valid token.
#[test]
fn conditions_see_the_headers_of_the_client_and_not_those_that_a_later_guard_adds() {
    let upstream = Upstream::ok();
    let jwt = json!({ "name": "jwt", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": { "test": { "issuer": "test", "local_jwks": { "inline_string": JWKS },
            "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "test" } }],
    } });
    let configuration = json!({ "version": 1, "routes": [{ "name": "anna",
        "match": { "headers": [{ "name": "x-user", "exact": "anna" }] }, "buffering": "off" }] });
    let token = format!("Bearer {TOKEN}");
    for (at, matches, forged) in
        [(Place::BehindSluice, false, true), (Place::BeforeSluice, true, false)]
    {
        let bootstrap = Bootstrap::discovered(upstream.port, &configuration);
        let envoy = Envoy::start(place(bootstrap, jwt.clone(), at));
        let get = |headers: &[(&str, &str)]| {
            let mut client = Client::connect(envoy.port);
            client.send("GET", "/", headers);
            client.receive()
        };
        let response = get(&[("authorization", &token)]);
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-accel-buffering") == Some("no"), matches, "{at:?}");
        // A guard behind Sluice also rejects a client that sends the header itself, but only after
        // the filter has matched.
        let response = get(&[("x-user", "anna")]);
        assert_eq!(response.status, 401);
        assert_eq!(response.header("x-accel-buffering") == Some("no"), forged, "{at:?}");
    }
    let forwarded = upstream.requests("/");
    let user = forwarded.iter().map(|request| request.header("x-user"));
    assert_eq!(user.collect::<Vec<_>>(), [Some("anna"); 2]);
}

#[test]
fn the_read_timeout_includes_the_time_of_a_later_guard() {
    let authz = guards().remove(1).filter;
    let upstream = Upstream::ok();
    let slow = Upstream::start(|_, reply| {
        reply.pause(3000);
        reply.respond(200, &[], b"");
    });
    let configuration = json!({ "version": 1, "defaults": { "timeouts": { "read": "500ms" } } });
    let bootstrap = Bootstrap::discovered(upstream.port, &configuration);
    let bootstrap = with_authz(bootstrap, slow.port);
    let envoy = Envoy::start(place(bootstrap, authz, Place::BehindSluice));
    assert_eq!(Client::get_once(envoy.port, "/").status, 504);
    envoy.wait_for_stat("wasmcustom.sluice.route.default.ended.read_timeout", 1);
    assert_eq!(upstream.connections(), 0);
}

/// The filter replies to these paths before a guard sees the request.
#[test]
fn the_health_and_admin_paths_do_not_pass_the_guards_behind_sluice() {
    let upstream = Upstream::ok();
    let rbac = json!({ "name": "rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": { "action": "ALLOW" },
    } });
    let configuration = json!({ "version": 1, "health": { "path": "/health", "local": true },
        "drain": { "admin": { "path": "/.sluice/drain", "token_sha256":
            "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb" } } });
    let bootstrap = Bootstrap::discovered(upstream.port, &configuration);
    let envoy = Envoy::start(place(bootstrap, rbac, Place::BehindSluice));
    let mut client = Client::connect(envoy.port);
    assert_eq!(client.get("/").status, 403, "RBAC denies every request");
    assert_eq!(client.get("/health").status, 200);
    client.send("GET", "/.sluice/drain", &[("authorization", "Bearer open sesame")]);
    assert_eq!(client.receive().status, 200);
    assert_eq!(client.get("/.sluice/drain").status, 403, "without the token, the guard decides");
}
