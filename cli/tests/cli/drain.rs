//! `sluice drain` against a server that can send any response, including those that no proxy sends.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::upstream::{Reply, Request, Upstream};

use sluice_test_kit::program::{Run, finish, run, sluice};

const TOKEN: &str = "open-sesame";
const PATH: &str = "/.sluice/drain";

/// The state of a proxy. Its drain has epoch 7 and began at the Unix epoch.
fn state(mode: &str, in_flight: u64, closed: u64) -> Value {
    json!({ "status": "draining", "instance": "proxy-1", "epoch": 7, "mode": mode, "in_flight": in_flight,
            "timestamp": "1970-01-01T00:01:00.000Z", "closed": closed,
            "record": { "epoch": 7, "mode": mode, "started_ms": 0, "window_ms": 5000 } })
}

fn respond(reply: &mut Reply, state: &Value) {
    reply.respond(200, &[("content-type", "application/json")], state.to_string().as_bytes());
}

/// A proxy that responds to a command with `first`, and to the poll with number N (from 0) with
/// `poll(N)`.
fn proxy(first: Value, poll: impl Fn(usize) -> Value + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |request, reply| match request.path() {
        PATH => respond(reply, &poll(reply.earlier_requests)),
        _ => respond(reply, &first),
    })
}

/// `sluice drain` with a token, and with an HTTP proxy in the environment that does not exist.
fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = sluice(["drain"].into_iter().chain(arguments));
    let unused = format!("http://127.0.0.1:{}", sluice_tests::unused_port());
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, &unused);
    }
    command.env("SLUICE_TOKEN", TOKEN);
    command
}

/// Runs `sluice drain VERB` against the proxy on this port.
fn drain(verb: &str, port: u16, more: &[&str]) -> Run {
    let url = format!("http://127.0.0.1:{port}{PATH}");
    let run = finish(command([verb, "--url", &url].into_iter().chain(more.iter().copied())));
    assert!(!run.stdout.contains(TOKEN) && !run.stderr.contains(TOKEN), "{run:?}");
    run
}

fn start(port: u16, more: &[&str]) -> Run {
    drain("start", port, &[&["--mode", "terminate"], more].concat())
}

/// The only request with a path that begins with `path`.
fn only_request(upstream: &Upstream, path: &str) -> Request {
    let mut all = upstream.requests(path);
    assert_eq!(all.len(), 1, "{path}");
    all.remove(0)
}

#[test]
fn start_sends_all_arguments_to_the_proxy() {
    let mut rebalancing = state("rebalance", 3, 2);
    rebalancing["record"]["percent"] = json!(33);
    let upstream = proxy(rebalancing, |_| Value::Null);
    let more = [
        "--window",
        "1m30s",
        "--percent",
        "33",
        "--route",
        "api",
        "--route",
        "web-2",
        "--epoch",
        "7",
    ];
    let run = drain("start", upstream.port, &[&["--mode", "rebalance"], &more[..]].concat());
    let expected = "proxy-1: rebalance, epoch 7, 33 percent, window 5s, over; 3 requests in flight, 2 connections closed so far\n";
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (0, expected, ""));
    let query = "?mode=rebalance&epoch=7&window_ms=90000&percent=33&routes=api,web-2";
    let request = only_request(&upstream, &format!("{PATH}{query}"));
    assert_eq!(request.headers.start_line.split(' ').next(), Some("POST"));
    assert_eq!(request.header("authorization"), Some("Bearer open-sesame"));
    assert!(request.body.is_empty());
}

#[test]
fn end_sends_the_mode_off_and_status_sends_nothing() {
    let upstream = proxy(state("off", 3, 2), |_| state("reload", 1, 2));
    let run = drain("end", upstream.port, &[]);
    assert_eq!(run.status, 0, "{run:?}");
    only_request(&upstream, &format!("{PATH}?mode=off"));
    let run = drain("status", upstream.port, &["--format", "json"]);
    let mut line: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let url = line.as_object_mut().and_then(|line| line.remove("url"));
    assert_eq!((run.status, line), (0, state("reload", 1, 2)));
    assert_eq!(url, Some(json!(format!("http://127.0.0.1:{}{PATH}", upstream.port))));
    assert_eq!(only_request(&upstream, PATH).headers.start_line, format!("GET {PATH} HTTP/1.1"));
}

#[test]
fn a_wait_ends_after_two_seconds_without_in_flight_requests() {
    // Two requests, then none, and one more at poll 6. Polls 3 and 5 get an invalid response.
    let upstream =
        Upstream::start(|request, reply| match (request.path(), reply.earlier_requests) {
            (PATH, 3) => reply.respond(503, &[], b"<html>overloaded"),
            (PATH, 5) => reply.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"status\":"),
            (PATH, poll) => {
                let in_flight = if poll < 2 { 2 } else { u64::from(poll == 6) };
                respond(reply, &state("terminate", in_flight, 20 + poll as u64));
            }
            _ => respond(reply, &state("terminate", 3, 20)),
        });
    let run = start(upstream.port, &["--window", "5s", "--wait", "60s"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stdout.starts_with("complete after "), "{run:?}");
    assert!(run.stdout.contains("0 requests in flight, "), "{run:?}");
    assert!(run.stderr.starts_with("3 requests in flight, 0 connections closed\n"), "{run:?}");
    let polls = upstream.requests(PATH);
    assert!(polls.len() > 8, "the wait continued after poll 6");
    let quiet = polls[polls.len() - 1].headers_at - polls[7].headers_at;
    assert!(quiet >= Duration::from_millis(1900), "{quiet:?}");
}

#[test]
fn a_wait_that_times_out_lists_what_is_missing() {
    let upstream = proxy(state("terminate", 3, 0), |_| state("terminate", 2, 5));
    let run = start(upstream.port, &["--wait", "700ms", "--format", "json"]);
    assert_eq!(run.status, 1, "{run:?}");
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("sluice: not complete after 7"), "{run:?}");
    assert!(last.ends_with("; epoch 7 stays in force: 2 requests in flight at proxy-1"), "{run:?}");
    let line: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&line["outcome"], &line["in_flight"]), (&json!("time_up"), &json!(2)));
}

#[test]
fn a_proxy_that_does_not_respond_is_not_complete() {
    let upstream = Upstream::start(|request, reply| match request.path() {
        PATH => reply.close(),
        _ => respond(reply, &state("terminate", 0, 0)),
    });
    let run = start(upstream.port, &["--wait", "3s"]);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.stderr.contains("no response ("), "{run:?}");
}

#[test]
fn another_drain_ends_the_wait() {
    let mut other = state("off", 0, 0);
    other["epoch"] = json!(8);
    let upstream = proxy(state("terminate", 0, 0), move |_| other.clone());
    let run = start(upstream.port, &["--wait", "60s"]);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert_eq!((run.status, last), (1, "sluice: epoch 8 (off) at proxy-1 replaced epoch 7"));
}

#[test]
fn a_response_from_another_server_is_an_error_of_one_sentence() {
    let not_admin = |status| {
        format!(
            "the response with status {status} is not from an admin path of Sluice; check the token"
        )
    };
    let whole = state("terminate", 0, 0).to_string();
    let long = format!("\"{}\"", "x".repeat(3 << 20));
    let cases: Vec<(u16, String, String)> = vec![
        (404, "<html>not found</html>".into(), not_admin(404)),
        (200, "<html>welcome</html>".into(), not_admin(200)),
        (200, String::new(), not_admin(200)),
        (200, whole[..whole.len() - 9].to_owned(), not_admin(200)),
        (200, whole.replace("terminate", "reload"), "epoch 7 (reload) has already replaced".into()),
        (500, whole.clone(), not_admin(500)),
        (302, String::new(), not_admin(302)),
        (200, "{\"status\":\"ok\"}".into(), not_admin(200)),
        (
            409,
            r#"{"error":"epoch 6 is below 7\u001b[2J"}"#.into(),
            r"the proxy rejected the command with status 409: epoch 6 is below 7\u{1b}[2J".into(),
        ),
        (409, r#"{"error":{"code":7}}"#.into(), not_admin(409)),
        (200, long, "the response is longer than 2097152 bytes".into()),
    ];
    let elsewhere = Upstream::ok();
    let target = format!("http://127.0.0.1:{}/", elsewhere.port);
    for (status, body, message) in cases {
        let (body, location) = (body.into_bytes(), target.clone());
        let upstream = Upstream::start(move |_, reply| {
            reply.respond(status, &[("location", &location)], &body)
        });
        let run = start(upstream.port, &["--wait", "10s"]);
        let begin = format!("sluice: http://127.0.0.1:{}{PATH}: ", upstream.port);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{run:?}");
        assert!(
            run.stderr.starts_with(&begin) && run.stderr[begin.len()..].starts_with(&message),
            "{run:?}"
        );
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    }
    assert_eq!(elsewhere.connections(), 0, "the token was sent to another server");
}

#[test]
fn every_request_has_a_timeout() {
    let silent = Upstream::start(|_, reply| reply.pause(20_000));
    let slow = Upstream::start(|_, reply| {
        reply.send_headers(200, &[("content-length", "100000")]);
        for _ in 0..200 {
            reply.write(b" ");
            reply.pause(100);
        }
    });
    let endless = Upstream::start(|_, reply| {
        reply.write(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..200_000 {
            reply.write(b"x-more: and more\r\n");
        }
    });
    let closing = Upstream::start(|_, reply| reply.close());
    let not_http = Upstream::start(|_, reply| reply.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"));
    let late = "no complete response within 5s\n";
    for (port, message) in [
        (silent.port, late),
        (slow.port, late),
        (endless.port, "no response ("),
        (closing.port, "no response ("),
        (not_http.port, "no response ("),
        (sluice_tests::unused_port(), "no response ("),
    ] {
        let run = drain("status", port, &[]);
        assert_eq!(run.status, 2, "{message}: {run:?}");
        assert!(run.stdout.contains(message), "{message}: {run:?}");
        let run = start(port, &[]);
        let begin = format!("sluice: http://127.0.0.1:{port}{PATH}: {}", message.trim_end());
        assert!(run.status == 2 && run.stderr.starts_with(&begin), "{message}: {run:?}");
    }
}

#[test]
fn the_token_comes_from_a_file_or_the_environment() {
    let upstream = proxy(state("off", 0, 0), |_| Value::Null);
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("http://127.0.0.1:{}{PATH}", upstream.port);
    let file = folder.path().join("token");
    let name = file.to_str().expect("UTF-8");
    let end = |from_file: bool, variable: Option<&str>| {
        let from = ["--token-file", name];
        let mut command = command(
            ["end", "--url", &url].into_iter().chain(from.into_iter().filter(|_| from_file)),
        );
        command.env_remove("SLUICE_TOKEN").envs(variable.map(|value| ("SLUICE_TOKEN", value)));
        finish(command)
    };
    std::fs::write(&file, "from the file\n").expect("a file");
    for (from_file, variable, sent) in [
        (true, None, "Bearer from the file"),
        (true, Some("other"), "Bearer from the file"),
        (false, Some("other"), "Bearer other"),
    ] {
        assert_eq!(end(from_file, variable).status, 0);
        let requests = upstream.requests(&format!("{PATH}?mode=off"));
        let header = requests.last().and_then(|request| request.header("authorization"));
        assert_eq!(header, Some(sent));
    }
    let fails = |run: Run, message: String| {
        assert_eq!((run.status, run.stderr), (2, format!("sluice: {message}\n")));
    };
    let none = format!(
        "no token for {url}; expected a file with --token-file, or SLUICE_TOKEN in the environment"
    );
    fails(end(false, None), none.clone());
    fails(end(false, Some("")), none);
    let unfit = "expected a token, which is one line of printable ASCII characters";
    fails(end(false, Some("two\nlines")), format!("SLUICE_TOKEN: {unfit}"));
    std::fs::write(&file, "secr\u{e9}t").expect("a file");
    fails(end(true, None), format!("{name}: {unfit}"));
    std::fs::remove_file(&file).expect("our own file");
    assert!(end(true, None).stderr.starts_with(&format!("sluice: {name}: cannot be read: ")));
}

#[test]
fn invalid_arguments_send_nothing() {
    let upstream = Upstream::ok();
    let url = format!("http://127.0.0.1:{}{PATH}", upstream.port);
    let at = ["start", "--url", url.as_str()];
    let terminate = ["start", "--url", &url, "--mode", "terminate"];
    let etcd = ["start", "--etcd", &url, "--key", "k", "--mode", "reload"];
    let cases: [(&[&str], &[&str], &str); 16] = [
        (&at, &[], "--mode"),
        (&at, &["--mode", "off"], "invalid value 'off'"),
        (&at, &["--mode", "rebalance"], "percent: missing, expected a whole number from 1 to 100"),
        (
            &at,
            &["--mode", "rebalance", "--percent", "101"],
            "percent: found 101, expected a whole number from 1 to 100",
        ),
        (&terminate, &["--percent", "5"], "--percent: expected only with --mode rebalance"),
        (
            &terminate,
            &["--window", "20"],
            r#"window: found "20", expected a duration with a unit; write "20s""#,
        ),
        (&terminate, &["--window", "8760h"], "window: "),
        (&terminate, &["--epoch", "0"], "epoch: found 0, expected a whole number from 1 to"),
        (&terminate, &["--epoch=-1"], "--epoch"),
        (&terminate, &["--route", "api&mode=off"], r#"routes[0]: found "api&mode=off""#),
        (&terminate, &["--wait", "soon"], "--wait"),
        (&terminate, &["--watch", &url], "--etcd"),
        (&terminate, &["--etcd", &url, "--key", "k"], "--url"),
        (&etcd, &["--wait", "5s"], "--wait needs the state of the proxies"),
        (&etcd, &["--watch", &url], "--wait"),
        (&["end", "--etcd"], &[&url], "--key"),
    ];
    for (arguments, more, message) in cases {
        let run = finish(command(arguments.iter().chain(more).copied()));
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{more:?}: {run:?}");
        assert!(run.stderr.contains(message), "{more:?}: {run:?}");
    }
    for url in
        ["https://127.0.0.1/x", "http://a:b@127.0.0.1/x", "http://127.0.0.1/?x", "nowhere", ""]
    {
        let run = run(["drain", "status", "--url", url]);
        assert_eq!(run.status, 2, "{url}: {run:?}");
        assert!(run.stderr.contains("'--url <URL>': "), "{url}: {run:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn the_wait_for_a_fleet_covers_each_proxy() {
    let etcd = Upstream::start(|request, reply| {
        let range = json!({ "header": {} });
        let done = json!({ "header": {}, "succeeded": true });
        respond(reply, if request.path().ends_with("/txn") { &done } else { &range });
    });
    // Before the command writes the key, it reads each proxy's epoch once. The first proxy has the
    // drain at the next poll, and the second one at its fifth.
    let report = |reply: &mut Reply, epoch: u64, in_flight: u64| {
        let mut state = state("terminate", in_flight, 0);
        state["epoch"] = json!(epoch);
        state["timestamp"] = json!("2999-01-01T00:00:00.000Z");
        let health = state.as_object_mut().expect("an object");
        health.retain(|name, _| name != "closed" && name != "record");
        reply.respond(503, &[], state.to_string().as_bytes());
    };
    let draining_from = |poll: usize| {
        Upstream::start(move |_, reply| match reply.earlier_requests {
            before if before < poll => reply.respond(200, &[], b"the upstream's own health"),
            _ => report(reply, 1, 0),
        })
    };
    let (quick, late) = (draining_from(1), draining_from(4));
    let urls = [&etcd, &quick, &late].map(|server| format!("http://127.0.0.1:{}", server.port));
    let [etcd_url, quick_url, late_url] = &urls;
    let arguments = [
        "start",
        "--mode",
        "terminate",
        "--etcd",
        etcd_url,
        "--key",
        "sluice/drain",
        "--wait",
        "60s",
    ];
    let watch = ["--watch", quick_url, "--watch", late_url, "--format", "json"];
    let run = finish(command(arguments.into_iter().chain(watch)));
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stderr.contains(", waiting for 2 of 2 proxies\n"), "{run:?}");
    let lines: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let results: Vec<_> =
        lines.iter().map(|line| (&line["url"], &line["outcome"], &line["in_flight"])).collect();
    let urls = [format!("{quick_url}/"), format!("{late_url}/")].map(|url| json!(url));
    assert_eq!(
        results,
        [(&urls[0], &json!("done"), &json!(0)), (&urls[1], &json!("done"), &json!(0))]
    );
    assert!(
        etcd.requests("/v3/kv/txn").iter().all(|request| request.header("authorization").is_none())
    );
}
