//! `sluice drain` as an operator runs it, against real proxies.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::etcd::Etcd;
use sluice_tests::eventually;
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

use crate::program::{Run, finish, sluice};

const IN_FLIGHT: &str = "wasmcustom.sluice.in_flight";

/// A proxy of the fleet example, with two workers.
fn proxy(upstream: u16, store: u16) -> Envoy {
    let bootstrap = Bootstrap::example("fleet", upstream).cluster_at("etcd", store);
    Envoy::start_with_workers(bootstrap, 2)
}

fn admin(proxy: &Envoy) -> String {
    format!("http://127.0.0.1:{}/.sluice/drain", proxy.port)
}

fn health(proxy: &Envoy) -> String {
    format!("http://127.0.0.1:{}/health", proxy.port)
}

fn operator(arguments: &[&str]) -> Command {
    let mut command = sluice(["drain"].iter().chain(arguments));
    command.env("SLUICE_TOKEN", "open sesame");
    command
}

fn drain(arguments: &[&str]) -> Run {
    finish(operator(arguments))
}

fn states(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect()
}

/// A `sluice drain --wait` that runs in the background.
struct Wait {
    process: Child,
    progress: Arc<Mutex<Vec<String>>>,
}

impl Wait {
    fn begin(arguments: &[&str]) -> Self {
        let piped = |command: &mut Command| {
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program exists")
        };
        let mut process = piped(&mut operator(arguments));
        let progress: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, shared) =
            (process.stderr.take().expect("the stream is piped"), progress.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                shared.lock().expect("no thread panics while it holds the lock").push(line);
            }
        });
        Self { process, progress }
    }

    /// Waits until the progress contains `text`.
    fn await_progress(&self, text: &str) {
        let lines =
            || self.progress.lock().expect("no thread panics while it holds the lock").clone();
        eventually(text, || lines().iter().any(|line| line.contains(text)).then_some(()));
    }

    fn end(mut self) -> (Option<i32>, String) {
        let status = self.process.wait().expect("the process was started");
        let mut stdout = String::new();
        let piped = self.process.stdout.take();
        piped
            .expect("the stream is piped")
            .read_to_string(&mut stdout)
            .expect("sluice prints UTF-8");
        (status.code(), stdout)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An upstream whose `/slow` responds once the flag is set.
fn slow_upstream() -> (Upstream, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let ready = released.clone();
    let upstream = Upstream::start(move |request, reply| {
        if request.path() == "/slow" {
            eventually("the signal to respond", || ready.load(Ordering::Relaxed).then_some(()));
        }
        reply.respond(200, &[], b"upstream");
    });
    (upstream, released)
}

#[test]
fn terminate_waits_until_the_last_request_is_complete() {
    let (upstream, released) = slow_upstream();
    let proxy = proxy(upstream.port, sluice_tests::unused_port());
    let url = admin(&proxy);
    let mut idle = Client::connect(proxy.port);
    assert!(!idle.get("/").closes());
    let mut slow = Client::connect(proxy.port);
    slow.send("GET", "/slow", &[]);
    proxy.wait_for_stat(IN_FLIGHT, 1);

    let start = ["start", "--url", &url, "--mode", "terminate", "--window", "1ms"];
    let run = drain(&[&start[..], &["--wait", "1s"]].concat());
    let last = run.stderr.lines().last().unwrap_or_default();
    assert_eq!(run.status, 1, "{run:?}");
    assert!(last.ends_with("epoch 1 stays in force: 1 request in flight at proxy-1"), "{run:?}");

    let wait = Wait::begin(&[&start[..], &["--wait", "19s"]].concat());
    wait.await_progress("1 request in flight, 0 connections closed");
    Client::await_status(proxy.port, "/health", 503);
    assert!(idle.get("/").closes());
    released.store(true, Ordering::Relaxed);
    let response = slow.receive();
    assert_eq!((response.status, response.closes()), (200, true));
    let (status, stdout) = wait.end();
    assert_eq!(status, Some(0), "{stdout}");
    assert!(stdout.contains(": 0 requests in flight, 2 connections closed\n"), "{stdout}");
    assert_eq!(proxy.stat(IN_FLIGHT), 0);

    let run = drain(&["end", "--url", &url, "--format", "json"]);
    let state = &states(&run)[0];
    assert_eq!(
        (run.status, &state["outcome"], &state["mode"]),
        (0, &json!("ended"), &json!("off"))
    );
    Client::await_status(proxy.port, "/health", 200);
    // Each worker learns the end of the drain within a refresh.
    eventually("the status to report the end of the drain", || {
        let run = drain(&["status", "--url", &url]);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""));
        run.stdout.starts_with("proxy-1: off, epoch 3; 0 requests in flight, ").then_some(())
    });
}

#[test]
fn reload_waits_until_its_window_is_over() {
    let proxy = proxy(Upstream::ok().port, sluice_tests::unused_port());
    let mut old = Client::connect(proxy.port);
    assert!(!old.get("/").closes());
    // Requests on new connections do not extend a reload.
    let mut busy = Client::connect(proxy.port);
    let start = ["start", "--url", &admin(&proxy), "--mode", "reload", "--window", "2s"];
    let wait = Wait::begin(&[&start[..], &["--wait", "19s", "--format", "json"]].concat());
    wait.await_progress("window ends in ");
    busy.send("POST", "/", &[("content-length", "10")]);
    let (status, stdout) = wait.end();
    assert_eq!(status, Some(0), "{stdout}");
    let state: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&state["outcome"], &state["mode"]), (&json!("done"), &json!("reload")));
    assert!(old.get("/").closes(), "the window is over");
}

#[test]
fn a_wrong_token_and_an_old_epoch_are_refused() {
    let (upstream, _) = slow_upstream();
    let proxy = proxy(upstream.port, sluice_tests::unused_port());
    let url = admin(&proxy);
    let start = ["start", "--url", &url, "--mode", "reload"];
    let mut stranger = operator(&start);
    stranger.env("SLUICE_TOKEN", "open barley");
    let run = finish(stranger);
    let message = format!(
        "sluice: {url}: the response with status 200 is not from an admin path of Sluice; check the token, and that the configuration has drain.admin\n"
    );
    assert_eq!((run.status, run.stderr), (2, message));
    let run = drain(&["status", "--url", &url]);
    assert_eq!(
        run.stdout,
        "proxy-1: no drain yet; 0 requests in flight, 0 connections closed so far\n"
    );

    let run = drain(&[&start[..], &["--epoch", "5", "--window", "10s"]].concat());
    assert!(run.stdout.starts_with("proxy-1: reload, epoch 5, window 10s, "), "{run:?}");
    for (more, refusal) in [
        (
            &["--epoch", "4"][..],
            "the proxy rejected the command with status 409: epoch 4 is lower than epoch 5, which is in force",
        ),
        (
            &["--epoch", "5"],
            "the proxy rejected the command with status 409: epoch 5 is in force with other settings",
        ),
        (
            &["--route", "nowhere"],
            "the proxy rejected the command with status 400: this configuration has no route nowhere",
        ),
    ] {
        let run = drain(&[&start[..], more].concat());
        assert!(
            run.status == 2 && run.stderr.starts_with(&format!("sluice: {url}: {refusal}")),
            "{run:?}"
        );
    }
    let same = drain(&[&start[..], &["--epoch", "5", "--window", "10s"]].concat());
    assert_eq!(same.status, 0, "a repeated command changes nothing: {same:?}");
}

#[test]
fn a_drain_through_etcd_waits_for_every_proxy() {
    let (upstream, released) = slow_upstream();
    let etcd = Etcd::start();
    let proxies = [proxy(upstream.port, etcd.port), proxy(upstream.port, etcd.port)];
    let mut slow = Client::connect(proxies[1].port);
    slow.send("GET", "/slow", &[]);
    proxies[1].wait_for_stat(IN_FLIGHT, 1);
    let store = format!("http://127.0.0.1:{}", etcd.port);
    let place = ["--etcd", &store, "--key", "sluice/drain"];
    let watch = ["--watch", &admin(&proxies[0]), "--watch", &health(&proxies[1])];
    let run = drain(&[&["status"], &place[..], &watch[..2]].concat());
    let expected = "sluice/drain: no drain (the key does not exist)\nproxy-1: no drain yet; ";
    assert!(run.status == 0 && run.stdout.starts_with(expected), "{run:?}");

    let terminate = [&["start", "--mode", "terminate"], &place[..]].concat();
    let wait =
        Wait::begin(&[&terminate[..], &watch, &["--wait", "19s", "--format", "json"]].concat());
    wait.await_progress("waiting for 2 of 2 proxies");
    wait.await_progress("1 request in flight");
    released.store(true, Ordering::Relaxed);
    assert_eq!(slow.receive().status, 200);
    let (status, stdout) = wait.end();
    assert_eq!(status, Some(0), "{stdout}");
    assert_eq!(stdout.lines().count(), 2);
    let stored = etcd.value("sluice/drain").expect("the key exists");
    assert!(stored.starts_with(r#"{"epoch":1,"mode":"terminate","started_ms":"#), "{stored}");

    let refused = drain(&[&terminate[..], &["--epoch", "1", "--window", "3s"]].concat());
    let message = "epoch 1 under the key is a different drain; expected a higher epoch";
    assert_eq!((refused.status, refused.stderr), (2, format!("sluice: {store}/: {message}\n")));
    let ended = drain(&[&["end"], &place[..]].concat());
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "sluice/drain: off, epoch 2\n"));
    for proxy in &proxies {
        proxy.wait_for_stat("wasmcustom.sluice.drain.epoch", 2);
    }

    etcd.put("sluice/drain", "somebody else's");
    let refused = drain(&terminate);
    assert!(
        refused.status == 2 && refused.stderr.contains("the key has a value that is not a drain"),
        "{refused:?}"
    );
    assert_eq!(etcd.value("sluice/drain").as_deref(), Some("somebody else's"));
}

/// Concurrent operators each get a different epoch.
#[test]
fn concurrent_operators_do_not_overwrite_each_other_in_etcd() {
    let etcd = Etcd::start();
    let store = format!("http://127.0.0.1:{}", etcd.port);
    let start = ["start", "--etcd", &store, "--key", "k", "--mode", "reload", "--format", "json"];
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| drain(&start))).collect();
        all.into_iter().map(|run| run.join().expect("the run ended")).collect()
    });
    let epochs = runs.iter().map(|run| states(run)[0]["record"]["epoch"].as_u64());
    let mut epochs: Vec<u64> = epochs.map(|epoch| epoch.expect("an epoch")).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
}
