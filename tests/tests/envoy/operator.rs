//! `sluice drain` in the hand of an operator, at real proxies.

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

/// A proxy of the example's fleet, with two workers.
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

fn told(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect()
}

/// A wait that goes on beside the test.
struct Wait {
    process: Child,
    progress: Arc<Mutex<Vec<String>>>,
}

impl Wait {
    fn begin(arguments: &[&str]) -> Self {
        let piped = |command: &mut Command| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was found")
        };
        let mut process = piped(&mut operator(arguments));
        let progress: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, shared) = (process.stderr.take().expect("it is piped"), progress.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                shared.lock().expect("nobody panics with the lines in hand").push(line);
            }
        });
        Self { process, progress }
    }

    /// Waits until it says so.
    fn says(&self, text: &str) {
        let lines = || self.progress.lock().expect("nobody panics with the lines in hand").clone();
        eventually(text, || lines().iter().any(|line| line.contains(text)).then_some(()));
    }

    fn end(mut self) -> (Option<i32>, String) {
        let status = self.process.wait().expect("it was started");
        let mut stdout = String::new();
        let piped = self.process.stdout.take();
        piped.expect("it is piped").read_to_string(&mut stdout).expect("sluice prints UTF-8");
        (status.code(), stdout)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An upstream whose `/slow` answers when it is told to.
fn slow_upstream() -> (Upstream, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let told = go.clone();
    let upstream = Upstream::start(move |request, reply| {
        if request.path() == "/slow" {
            eventually("the word to go on", || told.load(Ordering::Relaxed).then_some(()));
        }
        reply.respond(200, &[], b"upstream");
    });
    (upstream, go)
}

#[test]
fn a_terminate_is_waited_for_until_the_last_request_has_its_answer() {
    let (upstream, go) = slow_upstream();
    let proxy = proxy(upstream.port, Upstream::nobody());
    let url = admin(&proxy);
    let mut idle = Client::connect(proxy.port);
    assert!(!idle.get("/").closes());
    let mut slow = Client::connect(proxy.port);
    slow.send("GET", "/slow", &[]);
    proxy.await_stat(IN_FLIGHT, 1);

    let start = ["start", "--url", &url, "--mode", "terminate", "--window", "1ms"];
    let run = drain(&[&start[..], &["--wait", "1s"]].concat());
    let last = run.stderr.lines().last().unwrap_or_default();
    assert_eq!(run.status, 1, "{run:?}");
    assert!(last.ends_with("epoch 1 stays in force: 1 request in flight at proxy-1"), "{run:?}");

    let wait = Wait::begin(&[&start[..], &["--wait", "19s"]].concat());
    wait.says("1 request in flight, 0 connections closed");
    eventually("the health check to fail in every worker", || {
        (0..8).all(|_| Client::once(proxy.port, "/health").status == 503).then_some(())
    });
    assert!(idle.get("/").closes());
    go.store(true, Ordering::Relaxed);
    let response = slow.receive();
    assert_eq!((response.status, response.closes()), (200, true));
    let (status, stdout) = wait.end();
    assert_eq!(status, Some(0), "{stdout}");
    assert!(stdout.contains(": 0 requests in flight, 2 connections closed\n"), "{stdout}");
    assert_eq!(proxy.stat(IN_FLIGHT), 0);

    let run = drain(&["end", "--url", &url, "--format", "json"]);
    let state = &told(&run)[0];
    assert_eq!(
        (run.status, &state["outcome"], &state["mode"]),
        (0, &json!("ended"), &json!("off"))
    );
    eventually("the health check to be the upstream's", || {
        (0..8).all(|_| Client::once(proxy.port, "/health").status == 200).then_some(())
    });
    // Whichever worker answers: each follows within a refresh.
    eventually("the end of the drain to be told", || {
        let run = drain(&["status", "--url", &url]);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""));
        run.stdout.starts_with("proxy-1: off, epoch 3; 0 requests in flight, ").then_some(())
    });
}

#[test]
fn a_reload_is_waited_for_until_its_window_is_over() {
    let proxy = proxy(Upstream::ok().port, Upstream::nobody());
    let mut old = Client::connect(proxy.port);
    assert!(!old.get("/").closes());
    // What goes on in new connections does not keep a reload from being over.
    let mut busy = Client::connect(proxy.port);
    let start = ["start", "--url", &admin(&proxy), "--mode", "reload", "--window", "2s"];
    let wait = Wait::begin(&[&start[..], &["--wait", "19s", "--format", "json"]].concat());
    wait.says("window ends in ");
    busy.send("POST", "/", &[("content-length", "10")]);
    let (status, stdout) = wait.end();
    assert_eq!(status, Some(0), "{stdout}");
    let state: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&state["outcome"], &state["mode"]), (&json!("done"), &json!("reload")));
    assert!(old.get("/").closes(), "its moment is over");
}

#[test]
fn who_lacks_the_token_or_takes_an_old_epoch_is_refused() {
    let (upstream, _) = slow_upstream();
    let proxy = proxy(upstream.port, Upstream::nobody());
    let url = admin(&proxy);
    let start = ["start", "--url", &url, "--mode", "reload"];
    let mut stranger = operator(&start);
    stranger.env("SLUICE_TOKEN", "open barley");
    let run = finish(stranger);
    let message = format!(
        "sluice: {url} did not answer as an admin path of Sluice (status 200); is the token right, and is drain.admin configured?\n"
    );
    assert_eq!((run.status, run.stderr), (2, message));
    let run = drain(&["status", "--url", &url]);
    assert_eq!(
        run.stdout,
        "proxy-1: no drain so far; 0 requests in flight, 0 connections closed so far\n"
    );

    let run = drain(&[&start[..], &["--epoch", "5", "--window", "10s"]].concat());
    assert!(run.stdout.starts_with("proxy-1: reload, epoch 5, window of 10s, "), "{run:?}");
    for (more, refusal) in [
        (&["--epoch", "4"][..], "refused with status 409: epoch 4 is below 5, which is in force"),
        (
            &["--epoch", "5"],
            "refused with status 409: epoch 5 is in force and means something else",
        ),
        (
            &["--route", "nowhere"],
            "refused with status 400: this configuration has no route nowhere",
        ),
    ] {
        let run = drain(&[&start[..], more].concat());
        assert!(
            run.status == 2 && run.stderr.starts_with(&format!("sluice: {url} {refusal}")),
            "{run:?}"
        );
    }
    let same = drain(&[&start[..], &["--epoch", "5", "--window", "10s"]].concat());
    assert_eq!(same.status, 0, "the same again changes nothing: {same:?}");
}

#[test]
fn a_fleet_is_drained_through_etcd_and_waited_for_at_each_proxy() {
    let (upstream, go) = slow_upstream();
    let etcd = Etcd::start();
    let proxies = [proxy(upstream.port, etcd.port), proxy(upstream.port, etcd.port)];
    let mut slow = Client::connect(proxies[1].port);
    slow.send("GET", "/slow", &[]);
    proxies[1].await_stat(IN_FLIGHT, 1);
    let store = format!("http://127.0.0.1:{}", etcd.port);
    let place = ["--etcd", &store, "--key", "sluice/drain"];
    let watch = ["--watch", &admin(&proxies[0]), "--watch", &health(&proxies[1])];
    let run = drain(&[&["status"], &place[..], &watch[..2]].concat());
    let expected = "sluice/drain: no such key, so no drain\nproxy-1: no drain so far; ";
    assert!(run.status == 0 && run.stdout.starts_with(expected), "{run:?}");

    let terminate = [&["start", "--mode", "terminate"], &place[..]].concat();
    let wait =
        Wait::begin(&[&terminate[..], &watch, &["--wait", "19s", "--format", "json"]].concat());
    wait.says("waiting for 2 of 2 proxies");
    wait.says("1 request in flight");
    go.store(true, Ordering::Relaxed);
    assert_eq!(slow.receive().status, 200);
    let (status, stdout) = wait.end();
    assert_eq!(status, Some(0), "{stdout}");
    assert_eq!(stdout.lines().count(), 2);
    let stored = etcd.value("sluice/drain").expect("it was written");
    assert!(stored.starts_with(r#"{"epoch":1,"mode":"terminate","started_ms":"#), "{stored}");

    let refused = drain(&[&terminate[..], &["--epoch", "1", "--window", "3s"]].concat());
    let message = "epoch 1 stands under the key and means something else; expected a higher one";
    assert_eq!((refused.status, refused.stderr), (2, format!("sluice: {store}/ {message}\n")));
    let ended = drain(&[&["end"], &place[..]].concat());
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "sluice/drain: off, epoch 2\n"));
    for proxy in &proxies {
        proxy.await_stat("wasmcustom.sluice.drain.epoch", 2);
    }

    etcd.put("sluice/drain", "somebody else's");
    let refused = drain(&terminate);
    assert!(
        refused.status == 2 && refused.stderr.contains("the key holds something else, which stays"),
        "{refused:?}"
    );
    assert_eq!(etcd.value("sluice/drain").as_deref(), Some("somebody else's"));
}

/// Of operators who write at the same time each gets an epoch of his own.
#[test]
fn operators_at_the_same_time_do_not_overwrite_each_other_in_etcd() {
    let etcd = Etcd::start();
    let store = format!("http://127.0.0.1:{}", etcd.port);
    let start = ["start", "--etcd", &store, "--key", "k", "--mode", "reload", "--format", "json"];
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| drain(&start))).collect();
        all.into_iter().map(|run| run.join().expect("it ran")).collect()
    });
    let epochs = runs.iter().map(|run| told(run)[0]["record"]["epoch"].as_u64());
    let mut epochs: Vec<u64> = epochs.map(|epoch| epoch.expect("an epoch")).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
}
