//! `sluice drain` against a server that answers as it is told, which no proxy of ours ever would.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::upstream::{Reply, Request, Upstream};

use crate::program::{Run, finish, run, sluice};

const TOKEN: &str = "open-sesame";
const PATH: &str = "/.sluice/drain";

/// What a proxy tells whose drain of epoch 7 began at the Unix epoch.
fn state(mode: &str, in_flight: u64, closed: u64) -> Value {
    json!({ "status": "draining", "instance": "proxy-1", "epoch": 7, "mode": mode, "in_flight": in_flight,
            "timestamp": "1970-01-01T00:01:00.000Z", "closed": closed,
            "record": { "epoch": 7, "mode": mode, "started_ms": 0, "window_ms": 5000 } })
}

fn tell(reply: &mut Reply, state: &Value) {
    reply.respond(200, &[("content-type", "application/json")], state.to_string().as_bytes());
}

/// A proxy that answers a command with `first`, and then, at the how-manieth look from 0, with `look`.
fn proxy(first: Value, look: impl Fn(usize) -> Value + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |request, reply| match request.path() {
        PATH => tell(reply, &look(reply.earlier_requests)),
        _ => tell(reply, &first),
    })
}

/// `sluice drain` for an operator with the token, whose environment names a proxy that is not there.
fn operator<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = sluice(["drain"].into_iter().chain(arguments));
    let nobody = format!("http://127.0.0.1:{}", sluice_tests::unused_port());
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, &nobody);
    }
    command.env("SLUICE_TOKEN", TOKEN);
    command
}

/// Runs it against a proxy on this port.
fn drain(verb: &str, port: u16, more: &[&str]) -> Run {
    let url = format!("http://127.0.0.1:{port}{PATH}");
    let run = finish(operator([verb, "--url", &url].into_iter().chain(more.iter().copied())));
    assert!(!run.stdout.contains(TOKEN) && !run.stderr.contains(TOKEN), "{run:?}");
    run
}

fn start(port: u16, more: &[&str]) -> Run {
    drain("start", port, &[&["--mode", "terminate"], more].concat())
}

/// The only request whose path begins so.
fn command(upstream: &Upstream, path: &str) -> Request {
    let mut all = upstream.requests(path);
    assert_eq!(all.len(), 1, "{path}");
    all.remove(0)
}

#[test]
fn start_tells_the_proxy_what_the_operator_said() {
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
    let told = "proxy-1: rebalance, epoch 7, 33 percent, window of 5s, over; 3 requests in flight, 2 connections closed so far\n";
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (0, told, ""));
    let query = "?mode=rebalance&epoch=7&window_ms=90000&percent=33&routes=api,web-2";
    let request = command(&upstream, &format!("{PATH}{query}"));
    assert_eq!(request.headers.start_line.split(' ').next(), Some("POST"));
    assert_eq!(request.header("authorization"), Some("Bearer open-sesame"));
    assert!(request.body.is_empty());
}

#[test]
fn end_is_the_mode_off_and_status_only_looks() {
    let upstream = proxy(state("off", 3, 2), |_| state("reload", 1, 2));
    let run = drain("end", upstream.port, &[]);
    assert_eq!(run.status, 0, "{run:?}");
    command(&upstream, &format!("{PATH}?mode=off"));
    let run = drain("status", upstream.port, &["--format", "json"]);
    let mut told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let url = told.as_object_mut().and_then(|told| told.remove("url"));
    assert_eq!((run.status, told), (0, state("reload", 1, 2)));
    assert_eq!(url, Some(json!(format!("http://127.0.0.1:{}{PATH}", upstream.port))));
    assert_eq!(command(&upstream, PATH).headers.start_line, format!("GET {PATH} HTTP/1.1"));
}

#[test]
fn a_wait_ends_when_nothing_was_in_flight_for_a_while() {
    // Two, then none but for one more after a second, and meanwhile an answer that is none.
    let upstream =
        Upstream::start(|request, reply| match (request.path(), reply.earlier_requests) {
            (PATH, 3) => reply.respond(503, &[], b"<html>overloaded"),
            (PATH, 5) => reply.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"status\":"),
            (PATH, look) => {
                let in_flight = if look < 2 { 2 } else { u64::from(look == 6) };
                tell(reply, &state("terminate", in_flight, 20 + look as u64));
            }
            _ => tell(reply, &state("terminate", 3, 20)),
        });
    let run = start(upstream.port, &["--window", "5s", "--wait", "60s"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stdout.starts_with("done after "), "{run:?}");
    assert!(run.stdout.contains("0 requests in flight, "), "{run:?}");
    assert!(run.stderr.starts_with("3 requests in flight, 0 connections closed\n"), "{run:?}");
    let looks = upstream.requests(PATH);
    assert!(looks.len() > 8, "it went on after look 6");
    let quiet = looks[looks.len() - 1].headers_at - looks[7].headers_at;
    assert!(quiet >= Duration::from_millis(1900), "{quiet:?}");
}

#[test]
fn a_wait_whose_time_is_up_says_what_is_left() {
    let upstream = proxy(state("terminate", 3, 0), |_| state("terminate", 2, 5));
    let run = start(upstream.port, &["--wait", "700ms", "--format", "json"]);
    assert_eq!(run.status, 1, "{run:?}");
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("sluice: time is up after 7"), "{run:?}");
    assert!(last.ends_with(", epoch 7 stays in force: 2 requests in flight at proxy-1"), "{run:?}");
    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&told["outcome"], &told["in_flight"]), (&json!("time_up"), &json!(2)));
}

#[test]
fn a_proxy_that_is_gone_is_not_taken_for_a_quiet_one() {
    let upstream = Upstream::start(|request, reply| match request.path() {
        PATH => reply.close(),
        _ => tell(reply, &state("terminate", 0, 0)),
    });
    let run = start(upstream.port, &["--wait", "3s"]);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.stderr.contains("no answer ("), "{run:?}");
}

#[test]
fn somebody_elses_drain_ends_the_wait() {
    let mut other = state("off", 0, 0);
    other["epoch"] = json!(8);
    let upstream = proxy(state("terminate", 0, 0), move |_| other.clone());
    let run = start(upstream.port, &["--wait", "60s"]);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert_eq!(
        (run.status, last),
        (1, "sluice: epoch 7 is not in force: epoch 8 (off) at proxy-1 is")
    );
}

#[test]
fn whatever_answers_instead_of_the_proxy_is_refused_with_one_sentence() {
    let not_ours = "did not answer as an admin path of Sluice (status ";
    let whole = state("terminate", 0, 0).to_string();
    let long = format!("\"{}\"", "x".repeat(3 << 20));
    let cases: Vec<(u16, String, String)> = vec![
        (404, "<html>not found</html>".into(), format!("{not_ours}404)")),
        (200, "<html>welcome</html>".into(), format!("{not_ours}200)")),
        (200, String::new(), format!("{not_ours}200)")),
        (200, whole[..whole.len() - 9].to_owned(), format!("{not_ours}200)")),
        (200, whole.replace("terminate", "reload"), "epoch 7 (reload) has taken".into()),
        (500, whole.clone(), format!("{not_ours}500)")),
        (302, String::new(), format!("{not_ours}302)")),
        (200, "{\"status\":\"ok\"}".into(), format!("{not_ours}200)")),
        (
            409,
            r#"{"error":"epoch 6 is below 7\u001b[2J"}"#.into(),
            r"refused with status 409: epoch 6 is below 7\u{1b}[2J".into(),
        ),
        (409, r#"{"error":{"code":7}}"#.into(), format!("{not_ours}409)")),
        (200, long, "the answer has over 2097152 bytes".into()),
    ];
    let elsewhere = Upstream::ok();
    let target = format!("http://127.0.0.1:{}/", elsewhere.port);
    for (status, body, message) in cases {
        let (body, location) = (body.into_bytes(), target.clone());
        let upstream = Upstream::start(move |_, reply| {
            reply.respond(status, &[("location", &location)], &body)
        });
        let run = start(upstream.port, &["--wait", "10s"]);
        let begin = format!("sluice: http://127.0.0.1:{}{PATH} ", upstream.port);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{run:?}");
        assert!(
            run.stderr.starts_with(&begin) && run.stderr[begin.len()..].starts_with(&message),
            "{run:?}"
        );
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    }
    assert_eq!(elsewhere.connections(), 0, "the token went to somebody else");
}

#[test]
fn a_server_that_is_silent_slow_or_gone_is_given_up() {
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
    let rude = Upstream::start(|_, reply| reply.close());
    let babble = Upstream::start(|_, reply| reply.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"));
    let late = "no whole answer within 5s\n";
    for (port, message) in [
        (silent.port, late),
        (slow.port, late),
        (endless.port, "no answer ("),
        (rude.port, "no answer ("),
        (babble.port, "no answer ("),
        (sluice_tests::unused_port(), "no answer ("),
    ] {
        let run = drain("status", port, &[]);
        assert_eq!(run.status, 2, "{message}: {run:?}");
        assert!(run.stdout.contains(message), "{message}: {run:?}");
        let run = start(port, &[]);
        let begin = format!("sluice: http://127.0.0.1:{port}{PATH} {}", message.trim_end());
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
        let mut command = operator(
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
    let refused = |run: Run, message: String| {
        assert_eq!((run.status, run.stderr), (2, format!("sluice: {message}\n")));
    };
    let none = format!("no token for {url}; expected a file with --token-file, or SLUICE_TOKEN");
    refused(end(false, None), none.clone());
    refused(end(false, Some("")), none);
    let unfit = "found more than one line of plain ASCII text, expected a token";
    refused(end(false, Some("two\nlines")), format!("SLUICE_TOKEN: {unfit}"));
    std::fs::write(&file, "secr\u{e9}t").expect("a file");
    refused(end(true, None), format!("{name}: {unfit}"));
    std::fs::remove_file(&file).expect("our own file");
    assert!(end(true, None).stderr.starts_with(&format!("sluice: {name}: cannot be read: ")));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let upstream = Upstream::ok();
    let url = format!("http://127.0.0.1:{}{PATH}", upstream.port);
    let at = ["start", "--url", url.as_str()];
    let terminate = ["start", "--url", &url, "--mode", "terminate"];
    let etcd = ["start", "--etcd", &url, "--key", "k", "--mode", "reload"];
    let cases: [(&[&str], &[&str], &str); 17] = [
        (&at, &[], "--mode"),
        (&at, &["--mode", "off"], "invalid value 'off'"),
        (&at, &["--mode", "rebalance"], "percent: missing; expected a whole number from 1 to 100"),
        (&at, &["--mode", "rebalance", "--percent", "101"], "percent: 101 is out of range"),
        (&terminate, &["--percent", "5"], "--percent: only --mode rebalance closes a share"),
        (&terminate, &["--window", "20"], r#"window: "20" has no unit; write "20s""#),
        (&terminate, &["--window", "0s"], "window: "),
        (&terminate, &["--window", "8760h"], "window: "),
        (&terminate, &["--epoch", "0"], "epoch: 0 is out of range"),
        (&terminate, &["--epoch=-1"], "--epoch"),
        (&terminate, &["--route", "api&mode=off"], r#"routes[0]: found "api&mode=off""#),
        (&terminate, &["--wait", "soon"], "--wait"),
        (&terminate, &["--watch", &url], "--etcd"),
        (&terminate, &["--etcd", &url, "--key", "k"], "--url"),
        (&etcd, &["--wait", "5s"], "--wait has nobody to ask about a drain in etcd"),
        (&etcd, &["--watch", &url], "--wait"),
        (&["end", "--etcd"], &[&url], "--key"),
    ];
    for (arguments, more, message) in cases {
        let run = finish(operator(arguments.iter().chain(more).copied()));
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
fn a_fleet_is_waited_for_proxy_by_proxy() {
    let etcd = Upstream::start(|request, reply| {
        let range = json!({ "header": {} });
        let done = json!({ "header": {}, "succeeded": true });
        tell(reply, if request.path().ends_with("/txn") { &done } else { &range });
    });
    // Before it is written each is asked for its epoch. One hears of it at once; the other at its fourth look.
    let told = |reply: &mut Reply, epoch: u64, in_flight: u64| {
        let mut state = state("terminate", in_flight, 0);
        state["epoch"] = json!(epoch);
        state["timestamp"] = json!("2999-01-01T00:00:00.000Z");
        let health = state.as_object_mut().expect("an object");
        health.retain(|name, _| name != "closed" && name != "record");
        reply.respond(503, &[], state.to_string().as_bytes());
    };
    let hearing_at = |look: usize| {
        Upstream::start(move |_, reply| match reply.earlier_requests {
            before if before < look => reply.respond(200, &[], b"the upstream's own health"),
            _ => told(reply, 1, 0),
        })
    };
    let (quick, late) = (hearing_at(1), hearing_at(4));
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
    let run = finish(operator(arguments.into_iter().chain(watch)));
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stderr.contains(", waiting for 2 of 2 proxies\n"), "{run:?}");
    let lines: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> =
        lines.iter().map(|line| (&line["url"], &line["outcome"], &line["in_flight"])).collect();
    let urls = [format!("{quick_url}/"), format!("{late_url}/")].map(|url| json!(url));
    assert_eq!(
        told,
        [(&urls[0], &json!("done"), &json!(0)), (&urls[1], &json!("done"), &json!(0))]
    );
    assert!(
        etcd.requests("/v3/kv/txn").iter().all(|request| request.header("authorization").is_none())
    );
}
