//! What the filter does to one request and its response, step by step: headers, holding and streaming, its own answers.

use serde_json::{Value, json};
use sluice_filter::buffering::ResponseView;
use sluice_filter::config::DrainMode;
use sluice_filter::decision::{self, Decisions};
use sluice_filter::drain::{Record, Worker};
use sluice_filter::health;
use sluice_filter::reason::Reason;
use sluice_filter::state::State;
use sluice_filter::stream::{Passage, ResponseEffects, Stream};
use sluice_filter::{RequestView, Rules, load};

type Headers = Vec<(String, Vec<u8>)>;

fn parse(document: &Value) -> Rules {
    load(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}")).rules
}

/// A configuration with one route for everything.
fn route(policy: Value) -> Rules {
    let mut route = policy;
    route["name"] = "r".into();
    parse(&json!({ "version": 1, "routes": [route] }))
}

fn list(headers: &[(&str, &str)]) -> Headers {
    headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn request(method: &str, more: &[(&str, &str)]) -> Headers {
    let pseudo = [(":method", method), (":authority", "a"), (":path", "/x")];
    list(&pseudo.iter().chain(more).copied().collect::<Vec<_>>())
}

/// A stream of `config` whose request head has passed.
fn begun(config: &Rules, method: &str) -> Stream {
    let mut stream = Stream::default();
    let effects = stream.request(config, &RequestView::new(&request(method, &[])), None, true);
    assert_eq!(effects.reply, None);
    stream
}

fn response(stream: &mut Stream, config: &Rules, headers: &[(&str, &str)]) -> ResponseEffects {
    let headers = list(headers);
    let seen = stream.needs_response(config, false).then(|| ResponseView::new(&headers));
    stream.response(config, seen.as_ref(), false, false)
}

fn set(config: &Rules) -> Vec<(&'static str, String)> {
    config.policy(Some(0)).request_headers().to_vec()
}

fn headers(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn limits_and_retries_become_envoys_headers() {
    let config = route(json!({
        "timeouts": { "request": "1m30s", "per_try": "10s" },
        "retry": { "on": ["connect-failure", "unavailable", "reset"], "attempts": 2 },
    }));
    let expected = headers(&[
        ("x-envoy-upstream-rq-timeout-ms", "90000"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "10000"),
        ("x-envoy-retry-on", "connect-failure,reset"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-max-retries", "1"),
    ]);
    assert_eq!(set(&config), expected);
}

#[test]
fn a_route_that_says_nothing_sets_nothing() {
    let config = route(json!({}));
    let mut stream = begun(&config, "GET");
    assert_eq!(set(&config), []);
    assert!(!stream.needs_response(&config, false));
    let effects = response(&mut stream, &config, &[(":status", "200"), ("content-length", "5")]);
    assert_eq!(effects, ResponseEffects::default());
}

#[test]
fn one_try_takes_the_retries_of_the_defaults_back() {
    let config = parse(&json!({
        "version": 1,
        "defaults": { "retry": { "on": ["reset"], "attempts": 3 } },
        "routes": [{ "name": "r", "retry": { "on": ["reset"], "attempts": 1 } }],
    }));
    assert_eq!(
        set(&config),
        headers(&[("x-envoy-retry-on", "reset"), ("x-envoy-max-retries", "0")])
    );
}

#[test]
fn streaming_lifts_the_limit_that_would_cut_it() {
    let limit = |defaults: Value, own: Value| {
        let mut route = own;
        route["name"] = "r".into();
        let config = parse(&json!({ "version": 1, "defaults": defaults, "routes": [route] }));
        config.policy(Some(0)).request_timeout.map(|limit| limit.to_string())
    };
    let fifteen = json!({ "timeouts": { "request": "15s" } });
    let off = json!({ "buffering": "off" });
    assert_eq!(limit(json!({}), off.clone()).as_deref(), Some("0s"));
    assert_eq!(
        limit(fifteen.clone(), off.clone()).as_deref(),
        Some("0s"),
        "the default is not its own"
    );
    assert_eq!(limit(fifteen.clone(), json!({})).as_deref(), Some("15s"));
    let own = json!({ "buffering": "off", "timeouts": { "request": "1h" } });
    assert_eq!(limit(fifteen.clone(), own).as_deref(), Some("1h"));
    let both = json!({ "buffering": "off", "timeouts": { "request": "15s" } });
    assert_eq!(limit(both, json!({})).as_deref(), Some("15s"), "both stand in one place");
    assert_eq!(limit(off.clone(), json!({})).as_deref(), Some("0s"));
    assert_eq!(limit(off.clone(), json!({ "buffering": "on" })), None);
    assert_eq!(limit(off, fifteen).as_deref(), Some("15s"));
}

#[test]
fn what_a_route_leaves_out_comes_from_the_defaults_field_by_field() {
    let config = parse(&json!({
        "version": 1,
        "defaults": {
            "buffering": { "response": "on", "request": "on", "max_bytes": 7 },
            "timeouts": { "request": "15s", "per_try": "5s" },
        },
        "routes": [{ "name": "r", "buffering": { "max_bytes": 9 }, "timeouts": { "per_try": "1s" } }],
    }));
    let (own, rest) = (config.policy(Some(0)), config.policy(None));
    assert_eq!(
        (own.response_buffering, own.buffer_request, own.max_bytes),
        (rest.response_buffering, true, 9)
    );
    assert_eq!(own.request_timeout.map(|t| t.as_millis()), Some(15_000));
    assert_eq!(own.per_try_timeout.map(|t| t.as_millis()), Some(1_000));
    assert_eq!((rest.max_bytes, rest.per_try_timeout.map(|t| t.as_millis())), (7, Some(5_000)));
}

#[test]
fn orders_to_the_router_are_taken_from_clients() {
    let config = route(json!({ "timeouts": { "request": "5s" } }));
    let list = request(
        "GET",
        &[
            ("x-envoy-upstream-rq-timeout-ms", "1"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
            ("x-envoy-upstream-stream-duration-ms", "1"),
            ("x-envoy-upstream-rq-timeout-alt-response", "1"),
            ("x-envoy-retry-on", "5xx"),
            ("x-envoy-retry-on", "reset"),
            ("x-envoy-retry-grpc-on", "internal"),
            ("x-envoy-max-retries", "9"),
            ("x-envoy-retriable-status-codes", "404"),
            ("x-envoy-hedge-on-per-try-timeout", "true"),
            ("x-sluice-drain", "close"),
            ("x-envoy-original-path", "/"),
            ("x-request-id", "1"),
        ],
    );
    let mut stream = Stream::default();
    let effects = stream.request(&config, &RequestView::new(&list), None, true);
    assert_eq!(effects.set, headers(&[("x-envoy-upstream-rq-timeout-ms", "5000")]));
    let removed = [
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-stream-duration-ms",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-retriable-status-codes",
        "x-envoy-hedge-on-per-try-timeout",
        "x-sluice-drain",
    ];
    assert_eq!(effects.remove, removed);
}

/// Whether a response with these headers is held by a route with this buffering.
fn held(buffering: Value, method: &str, headers: &[(&str, &str)]) -> bool {
    let config = route(json!({ "buffering": buffering }));
    response(&mut begun(&config, method), &config, headers).hold
}

const SMALL: [(&str, &str); 3] =
    [(":status", "200"), ("content-length", "5"), ("content-type", "text/html")];

fn small_with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    SMALL.iter().chain(more).copied().collect()
}

#[test]
fn on_holds_what_is_known_to_fit() {
    assert!(held(json!("on"), "GET", &SMALL));
    let of = |length: &str, max: u32| {
        held(
            json!({ "response": "on", "max_bytes": max }),
            "GET",
            &[(":status", "200"), ("content-length", length)],
        )
    };
    assert!(of("10", 10) && !of("11", 10) && !of("0", 10));
    for unclear in ["", "-1", "1e1", "+5", "5, 5", "99999999999999999999"] {
        assert!(!of(unclear, 10), "{unclear}");
    }
    assert!(!held(json!("on"), "GET", &[(":status", "200")]), "no length");
    let two = |second| [(":status", "200"), ("content-length", "5"), ("content-length", second)];
    assert!(held(json!("on"), "GET", &two("5")) && !held(json!("on"), "GET", &two("6")));
    let at_default =
        |length| held(json!("on"), "GET", &[(":status", "200"), ("content-length", length)]);
    assert!(at_default("32768") && !at_default("32769"));
}

#[test]
fn a_response_without_a_body_is_not_held() {
    assert!(!held(json!("on"), "HEAD", &SMALL));
    for status in ["204", "304", "101"] {
        assert!(
            !held(json!("on"), "GET", &[(":status", status), ("content-length", "5")]),
            "{status}"
        );
    }
    assert!(!held(json!("on"), "GET", &small_with(&[("upgrade", "websocket")])));
    assert!(!held(json!("on"), "CONNECT", &SMALL));
    let config = route(json!({ "buffering": "on" }));
    let mut stream = begun(&config, "GET");
    let ended = list(&SMALL);
    assert!(!stream.response(&config, Some(&ResponseView::new(&ended)), true, false).hold);
}

#[test]
fn auto_lets_streams_pass() {
    let typed = |content_type| {
        held(
            json!("auto"),
            "GET",
            &[(":status", "200"), ("content-length", "5"), ("content-type", content_type)],
        )
    };
    let streams = [
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "application/x-ndjson",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "multipart/x-mixed-replace;boundary=x",
    ];
    assert_eq!(streams.map(typed), [false; 7]);
    let others = [
        "",
        "application/json",
        "text/event-streams",
        "application/grpcx",
        "text/html; x=text/event-stream",
    ];
    assert_eq!(others.map(typed), [true; 5]);
    assert!(!held(json!("auto"), "GET", &[(":status", "200")]), "no length");
}

#[test]
fn the_upstream_decides_under_auto_only() {
    let says = |mode: &str, content_type, accel| {
        let headers = [
            (":status", "200"),
            ("content-length", "5"),
            ("content-type", content_type),
            ("x-accel-buffering", accel),
        ];
        held(json!(mode), "GET", &headers)
    };
    assert!(!says("auto", "text/html", "no") && says("auto", "text/event-stream", "YES"));
    assert!(says("auto", "text/html", "perhaps"));
    assert!(says("on", "text/html", "no") && !says("off", "text/html", "yes"));
}

#[test]
fn off_asks_the_hops_in_front_to_stream_without_reading_anything() {
    let config = route(json!({ "buffering": "off" }));
    let mut stream = begun(&config, "GET");
    assert!(!stream.needs_response(&config, false));
    let effects = response(&mut stream, &config, &SMALL);
    assert_eq!(effects, ResponseEffects { ask_to_stream: true, ..ResponseEffects::default() });
    assert_eq!(stream.response_body(&config, 5, false), Passage::Pass);
}

#[test]
fn a_held_body_passes_at_its_end_and_never_above_its_limit() {
    let config =
        route(json!({ "buffering": { "response": "on", "request": "on", "max_bytes": 10 } }));
    let mut stream = Stream::default();
    let upload = request("POST", &[("content-length", "10")]);
    stream.request(&config, &RequestView::new(&upload), None, false);
    assert!(stream.holds_request());
    assert_eq!(stream.request_body(&config, 4, false), Passage::Hold);
    assert_eq!(stream.request_body(&config, 10, false), Passage::Hold);
    assert_eq!(stream.request_body(&config, 10, true), Passage::Pass);
    response(&mut stream, &config, &SMALL);
    assert_eq!(stream.response_body(&config, 5, false), Passage::Hold);
    assert_eq!(stream.response_body(&config, 11, false), Passage::Pass, "more than declared");
    assert_eq!(stream.response_body(&config, 1, false), Passage::Pass, "and it stays so");
}

#[test]
fn an_upload_is_held_refused_or_streamed_by_its_declared_length() {
    let config = route(json!({ "buffering": { "request": "on", "max_bytes": 10 } }));
    let upload = |more: &[(&str, &str)], ended| {
        let mut stream = Stream::default();
        let list = request("POST", more);
        let reply = stream.request(&config, &RequestView::new(&list), None, ended).reply;
        (stream.holds_request(), reply.map(|reply| (reply.status, reply.body)))
    };
    assert_eq!(upload(&[("content-length", "10")], false), (true, None));
    let refused = "the request body has 11 bytes; at most 10 are accepted here\n".to_owned();
    assert_eq!(upload(&[("content-length", "11")], false), (false, Some((413, refused))));
    assert_eq!(upload(&[], false), (false, None), "chunked");
    assert_eq!(upload(&[("content-length", "5"), ("upgrade", "h2c")], false), (false, None));
    assert_eq!(upload(&[("content-length", "11")], true), (false, None), "no body comes");
}

#[test]
fn the_policy_does_not_apply_to_the_filters_own_answers() {
    let config =
        route(json!({ "buffering": { "response": "off", "request": "on", "max_bytes": 10 } }));
    let mut stream = Stream::default();
    let upload = request("POST", &[("content-length", "11")]);
    assert!(stream.request(&config, &RequestView::new(&upload), None, false).reply.is_some());
    assert_eq!(response(&mut stream, &config, &[(":status", "413")]), ResponseEffects::default());
}

#[test]
fn a_connection_closes_only_after_an_exchange_that_completes() {
    let config = parse(&json!({ "version": 1, "drain": {} }));
    let closes = |method: &str, status: &str| {
        let mut stream = begun(&config, method);
        let headers = list(&[(":status", status), ("x-sluice-drain", "close")]);
        assert!(stream.needs_response(&config, true));
        let effects = stream.response(&config, Some(&ResponseView::new(&headers)), false, true);
        assert!(effects.interim || effects.remove_marker, "no forged marker stays");
        effects.close
    };
    for (method, status) in
        [("GET", "200"), ("GET", "404"), ("POST", "503"), ("HEAD", "200"), ("CONNECT", "403")]
    {
        assert!(closes(method, status), "{method} {status}");
    }
    for (method, status) in [("GET", "100"), ("GET", "103"), ("GET", "101"), ("CONNECT", "200")] {
        assert!(!closes(method, status), "{method} {status}");
    }
}

#[test]
fn after_an_interim_response_the_final_one_is_decided() {
    let config = route(json!({ "buffering": "on" }));
    let mut stream = begun(&config, "GET");
    let interim = ResponseEffects { interim: true, ..ResponseEffects::default() };
    assert_eq!(response(&mut stream, &config, &[(":status", "103")]), interim);
    assert!(response(&mut stream, &config, &SMALL).hold);
}

#[test]
fn a_marker_of_the_upstream_goes_when_the_configuration_takes_part_in_drains() {
    let forged = [(":status", "200"), ("x-sluice-drain", "close")];
    let removes = |document: Value| {
        let config = parse(&document);
        response(&mut begun(&config, "GET"), &config, &forged).remove_marker
    };
    assert!(removes(json!({ "version": 1, "drain": {} })));
    assert!(removes(json!({ "version": 1, "drain": {}, "defaults": { "buffering": "on" } })));
    assert!(!removes(json!({ "version": 1 })));
}

#[test]
fn the_health_path_answers_while_the_proxy_terminates_and_else_if_it_is_local() {
    let config = |local: bool| {
        let health = json!({ "path": "/health", "drain_status": 503, "local": local });
        parse(&json!({ "version": 1, "drain": {}, "health": health }))
    };
    let (passing, local) = (config(false), config(true));
    let list = list(&[(":method", "GET"), (":path", "/health?from=lb")]);
    let health = RequestView::new(&list);
    let mut worker = Worker::default();
    let statuses =
        |worker: &Worker| [&passing, &local].map(|config| health::status(config, worker, &health));
    assert_eq!(statuses(&worker), [None, Some(200)]);
    let learn = |worker: &mut Worker, epoch: u64, mode: DrainMode| {
        let json = format!(r#"{{"epoch":{epoch},"mode":"{}","started_ms":1}}"#, mode.word());
        worker.look(Some(json.as_bytes()), 1);
    };
    learn(&mut worker, 1, DrainMode::Reload);
    assert_eq!(statuses(&worker), [None, Some(200)]);
    learn(&mut worker, 2, DrainMode::Terminate);
    assert_eq!(statuses(&worker), [Some(503), Some(503)]);
    let other = request("GET", &[]);
    assert_eq!(health::status(&local, &worker, &RequestView::new(&other)), None);
    learn(&mut worker, 3, DrainMode::Off);
    assert_eq!(statuses(&worker), [None, Some(200)]);
}

#[test]
fn the_state_is_told_as_json() {
    let record =
        Record::parse(br#"{"epoch":2,"mode":"terminate","started_ms":1}"#).expect("a record");
    let mut state =
        State { record: Some(&record), instance: "node \"1\"\n", in_flight: 3, now_ms: 1_000 };
    let reply = health::answer(503, &state);
    assert_eq!((reply.status, &*reply.content_type), (503, "application/json"));
    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
    let expected = json!({
        "status": "draining", "instance": "node \"1\"\n", "epoch": 2, "mode": "terminate",
        "in_flight": 3, "timestamp": "1970-01-01T00:00:01.000Z",
    });
    assert_eq!(body, expected);
    let full: Value = serde_json::from_str(&state.to_full_json(17)).expect("JSON");
    assert_eq!(full["closed"], 17);
    assert_eq!(
        full["record"],
        json!({ "epoch": 2, "mode": "terminate", "started_ms": 1, "window_ms": 0 })
    );
    state.record = None;
    let body: Value = serde_json::from_str(&state.to_json()).expect("JSON");
    assert_eq!((&body["status"], body.get("epoch")), (&json!("ok"), None));
}

#[test]
fn decisions_are_told_in_compact_json() {
    let config = route(json!({
        "buffering": { "response": "on", "request": "on" },
        "timeouts": { "request": "60s", "per_try": "10s" },
        "retry": { "on": ["connect-failure", "reset"], "attempts": 2 },
    }));
    let decisions = Decisions::new(&config);
    let decision = r#"{"phase":"request","route":"r","timeout_ms":60000,"per_try_ms":10000,"retry":"connect-failure,reset","attempts":2,"hold":true}"#;
    assert_eq!(decisions.request(Some(0), true), decision);
    assert_eq!(decisions.request(Some(0), false), decision.replace(r#","hold":true"#, ""));
    assert_eq!(decisions.request(None, false), r#"{"phase":"request"}"#);
    for (hold, body) in [(false, "stream"), (true, "hold")] {
        for ask_to_stream in [false, true].into_iter().filter(|ask| !(hold && *ask)) {
            for close in [false, true] {
                let effects =
                    ResponseEffects { hold, close, ask_to_stream, ..ResponseEffects::default() };
                let mut said = json!({ "phase": "response", "body": body });
                if close {
                    said["close"] = json!(true);
                }
                if ask_to_stream {
                    said["accel"] = json!("no");
                }
                assert_eq!(loaded(decision::response(&effects)), said);
            }
        }
    }
}

#[test]
fn an_access_log_gets_both_decisions_in_one_object() {
    let config = route(json!({ "timeouts": { "request": "60s" } }));
    let decisions = Decisions::new(&config);
    let response = decision::response(&ResponseEffects::default());
    let request = decisions.request(Some(0), true);
    let both = json!({ "phase": "response", "body": "stream",
                       "route": "r", "timeout_ms": 60_000, "hold": true });
    assert_eq!(loaded(&decision::both(request, Some(response))), both);
    assert_eq!(decision::both(request, None), request);
    let nothing = decision::both(decisions.request(None, false), Some(response));
    assert_eq!(loaded(&nothing), loaded(response));
}

/// Whoever compares decisions must know what may be missing.
#[test]
fn the_fields_that_may_be_missing_are_named() {
    let every = json!({
        "buffering": { "response": "off", "request": "on" },
        "timeouts": { "request": "60s", "per_try": "10s", "read": "5s", "send": "5s" },
        "retry": { "on": ["reset"], "attempts": 2 },
        "drain": "cut",
    });
    let said = |config: &Rules, route, hold, effects: &ResponseEffects| {
        let decisions = Decisions::new(config);
        let both =
            decision::both(decisions.request(route, hold), Some(decision::response(effects)));
        loaded(&decision::with(&both, hold.then_some(7), hold.then_some(Reason::ReadTimeout)))
    };
    let all = ResponseEffects { close: true, ask_to_stream: true, ..ResponseEffects::default() };
    let most = said(&route(every), Some(0), true, &all);
    let least = said(&parse(&json!({ "version": 1 })), None, false, &ResponseEffects::default());
    let (most, least) = (most.as_object().expect("an object"), least.as_object().expect("one"));
    let missing = most.keys().filter(|field| !least.contains_key(*field));
    // How often is tried goes with what is tried again.
    let mut missing: Vec<&str> = missing.map(String::as_str).filter(|f| *f != "attempts").collect();
    let mut optional = decision::OPTIONAL.to_vec();
    missing.sort_unstable();
    optional.sort_unstable();
    assert_eq!(missing, optional);
}

fn loaded(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}
