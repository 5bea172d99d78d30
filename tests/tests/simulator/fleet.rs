//! The control store and the admin path in virtual time: outages, contradicting stores, clock
//! jumps, crashed and stalled workers.

use std::fmt::Write as _;

use sluice_sim::replay::{Options, Report};

use super::replays::{options, replayed, replayed_with_crash};

const REFRESH_MS: u64 = 250;
const INTERVAL_MS: u64 = 1_000;

/// The SHA-256 of `open sesame`.
const HASH: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";

fn configuration(cluster: &str) -> String {
    format!(
        r#"{{"version":1,"drain":{{"refresh":"{REFRESH_MS}ms","control":{{"cluster":"{cluster}","format":"raw","key":"drain","interval":"{INTERVAL_MS}ms"}},"admin":{{"path":"/drain","token_sha256":"{HASH}"}}}},"health":{{"path":"/health","local":true}}}}"#
    )
}

fn fleet(workers: u32, seed: u64) -> Options {
    options(&configuration("etcd"), workers, seed).with_allow_on_headers_stop_iteration(true)
}

/// Builds a trace.
struct TraceBuilder(String);

impl Default for TraceBuilder {
    fn default() -> Self {
        Self(r#"{"at":"0s","clusters":["etcd","one","other"]}"#.to_owned() + "\n")
    }
}

impl TraceBuilder {
    fn line(mut self, line: &str) -> Self {
        writeln!(self.0, "{line}").expect("writing to a string does not fail");
        self
    }

    /// Sets the drain record of the store.
    fn store(self, at: &str, cluster: &str, epoch: u64, mode: &str) -> Self {
        self.line(&format!(
            r#"{{"at":"{at}","cluster":"{cluster}","respond":{{"after":"5ms","body":"{{\"epoch\":{epoch},\"mode\":\"{mode}\"}}"}}}}"#
        ))
    }

    fn epoch(self, at: &str, epoch: u64) -> Self {
        self.line(&format!(r#"{{"at":"{at}","metrics":{{"sluice.drain.epoch":{epoch}}}}}"#))
    }

    fn health(self, at: &str, worker: u32, status: u16) -> Self {
        let connection = format!("{at} {worker}");
        self.line(&format!(
            r#"{{"at":"{at}","connection":"{connection}","open":{{"worker":{worker}}}}}"#
        ))
        .line(&format!(
            r#"{{"at":"{at}","connection":"{connection}","request":{{"path":"/health"}},"expect":{{"status":{status}}}}}"#
        ))
    }
}

fn assert_held(report: &Report, text: &str) {
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}\nin\n{text}{}", log(report));
}

fn log(report: &Report) -> String {
    report
        .log
        .iter()
        .map(|line| format!("{:?} {:?} {}\n", line.at, line.worker, line.text))
        .collect()
}

fn lines(report: &Report, text: &str) -> usize {
    report.log.iter().filter(|line| line.text.contains(text)).count()
}

fn metric(report: &Report, name: &str) -> u64 {
    report.metrics.iter().find(|metric| metric.name == name).map_or(0, |metric| metric.value)
}

/// Replays with several workers and seeds; the seed decides which worker ticks first.
fn for_workers(trace: &TraceBuilder, check: impl Fn(&Report)) {
    for (workers, seed) in [(2, 0), (3, 1), (4, 2), (4, 3)] {
        replayed(&trace.0, &fleet(workers, seed), |report| {
            assert_eq!(report.traps.len(), 0);
            assert_held(report, &trace.0);
            check(report);
        });
    }
}

#[test]
fn one_worker_polls_each_interval_and_all_follow() {
    let trace = TraceBuilder::default()
        .store("0s", "etcd", 5, "off")
        .health("9s", 0, 200)
        .store("10s", "etcd", 6, "terminate")
        .epoch("11600ms", 6)
        .health("11600ms", 0, 503)
        .health("11600ms", 1, 503)
        .store("20s", "etcd", 7, "off")
        .health("22s", 1, 200)
        .epoch("60s", 7);
    for_workers(&trace, |report| {
        let answered = metric(report, "sluice.drain.control.answered");
        assert!((58..=62).contains(&answered), "{answered} responses in a minute");
        assert_eq!(metric(report, "sluice.drain.control.failed"), 0);
        assert_eq!(lines(report, "control store"), 0, "{}", log(report));
    });
}

#[test]
fn outage_is_logged_once_polled_with_backoff_and_changes_nothing() {
    let trace = TraceBuilder::default()
        .store("0s", "etcd", 6, "terminate")
        .line(r#"{"at":"10s","cluster":"etcd","respond":{"end":"refused"}}"#)
        .line(r#"{"at":"3m","cluster":"etcd","respond":{"end":"never"}}"#)
        .health("5m", 0, 503)
        .line(r#"{"at":"5m","cluster":"etcd","respond":{"status":200,"end":"reset"}}"#)
        .line(r#"{"at":"6m","cluster":"etcd","respond":{"status":500}}"#)
        .health("9m", 1, 503)
        .store("10m", "etcd", 7, "off")
        .health("10m 32s", 1, 200)
        .epoch("11m", 7);
    for_workers(&trace, |report| {
        let failed = metric(report, "sluice.drain.control.failed");
        assert!((20..=50).contains(&failed), "{failed} failures in ten minutes");
        assert_eq!(lines(report, "the last drain stays in force"), 3, "{}", log(report));
        assert_eq!(lines(report, "the response was incomplete"), 1, "{}", log(report));
        assert_eq!(lines(report, "epoch 7 is in force"), 1, "{}", log(report));
    });
}

#[test]
fn higher_epoch_of_two_contradicting_stores_stays() {
    let (one, other) = (configuration("one"), configuration("other"));
    let trace = TraceBuilder::default()
        .store("0s", "one", 6, "terminate")
        .store("0s", "other", 5, "off")
        .line(&format!(r#"{{"at":"0s","configure":{one}}}"#))
        .health("5s", 0, 503)
        .line(&format!(r#"{{"at":"10s","configure":{other}}}"#))
        .health("15s", 0, 503)
        .health("15s", 1, 503)
        // Another record with the epoch in force is not accepted either.
        .store("20s", "other", 6, "off")
        .health("25s", 0, 503)
        .store("30s", "other", 7, "off")
        .health("35s", 0, 200)
        .line(&format!(r#"{{"at":"40s","configure":{one}}}"#))
        .health("45s", 0, 200)
        .epoch("50s", 7);
    for_workers(&trace, |report| {
        assert_eq!(lines(report, "epoch 5 is lower than the one in force"), 1, "{}", log(report));
        assert_eq!(lines(report, "epoch 6 is in force with other settings"), 1, "{}", log(report));
        assert_eq!(lines(report, "epoch 6 is lower than the one in force"), 1, "{}", log(report));
    });
}

#[test]
fn unknown_routes_close_nothing_and_are_logged() {
    let record = r#"{\"epoch\":5,\"mode\":\"terminate\",\"routes\":[\"nowhere\"]}"#;
    let trace = TraceBuilder::default()
        .line(&format!(r#"{{"at":"0s","cluster":"etcd","respond":{{"body":"{record}"}}}}"#))
        .epoch("3s", 5)
        .line(
            r#"{"at":"4s","connection":"c","request":{},"expect":{"status":200,"closed":false}}"#,
        );
    for_workers(&trace, |report| {
        let logged = lines(report, "drain epoch 5: this configuration has no route nowhere");
        assert!((1..=4).contains(&logged), "once for each worker: {}", log(report));
    });
}

#[test]
fn clock_jump_does_not_stop_polling() {
    let trace = TraceBuilder::default()
        .store("0s", "etcd", 5, "off")
        .line(r#"{"at":"10s","clock":"2026-02-11T16:00:00Z"}"#)
        .store("11s", "etcd", 6, "terminate")
        .health("15s", 0, 503)
        .health("15s", 1, 503)
        .line(r#"{"at":"20s","clock":"2026-01-01T01:00:00Z"}"#)
        .store("21s", "etcd", 7, "off")
        .health("25s", 0, 200)
        .health("25s", 1, 200)
        // A drain that started while the clock was wrong still ends after its window.
        .line(r#"{"at":"30s","connection":"old","request":{}}"#)
        .line(r#"{"at":"40s","clock":"2026-02-11T15:00:00Z"}"#)
        .store("40s", "etcd", 8, "reload")
        .epoch("43s", 8)
        .line(r#"{"at":"80s","connection":"old","request":{},"expect":{"closed":true}}"#);
    for_workers(&trace, |report| assert_eq!(lines(report, "control store"), 0, "{}", log(report)));
}

#[test]
fn another_worker_replaces_a_stalled_leader_within_two_intervals() {
    for leader in 0..3_u32 {
        let other = (leader + 1) % 3;
        let mut trace = TraceBuilder::default().store("0s", "etcd", 5, "off");
        // The seed chooses the first leader. The other workers are stalled at the start, so that
        // each can be the leader.
        for worker in (0..3).filter(|worker| *worker != leader) {
            trace = trace.line(&format!(r#"{{"at":"0s","worker":{worker},"stall":"2s"}}"#));
        }
        let trace = trace
            .line(&format!(r#"{{"at":"10s","worker":{leader},"stall":"1h"}}"#))
            .store("10s", "etcd", 6, "terminate")
            .epoch("12300ms", 6)
            .health("12600ms", other, 503)
            .health("12600ms", leader, 200)
            .health("70m 1s", leader, 503);
        for seed in 0..4 {
            replayed(&trace.0, &fleet(3, seed), |report| assert_held(report, &trace.0));
        }
    }
}

#[test]
fn another_worker_replaces_a_crashed_leader_and_the_drain_stays() {
    for leader in 0..3_u32 {
        let mut trace = TraceBuilder::default().store("0s", "etcd", 5, "reload");
        for worker in (0..3).filter(|worker| *worker != leader) {
            trace = trace.line(&format!(r#"{{"at":"0s","worker":{worker},"stall":"2s"}}"#));
        }
        let trace = trace
            .line(&format!(r#"{{"at":"9s","connection":"c","open":{{"worker":{leader}}}}}"#))
            .line(r#"{"at":"10s","connection":"c","request":{"headers":[["x-crash","now"]]},"expect":{"status":503}}"#)
            .store("10s", "etcd", 6, "terminate")
            .epoch("12300ms", 6)
            .health("12600ms", 0, 503)
            .health("12600ms", 1, 503)
            .health("12600ms", 2, 503);
        for seed in 0..4 {
            replayed_with_crash(&trace.0, &fleet(3, seed), |report| {
                assert_eq!(report.traps.len(), 1);
                assert_held(report, &trace.0);
            });
        }
    }
}

#[test]
fn in_flight_requests_of_a_crashed_vm_expire_and_slow_requests_stay_counted() {
    let trace = TraceBuilder::default()
        .line(r#"{"at":"0s","connection":"a","open":{"worker":0}}"#)
        .line(r#"{"at":"0s","connection":"b","open":{"worker":1}}"#)
        .line(r#"{"at":"0s","connection":"c","open":{"worker":0}}"#)
        .line(r#"{"at":"1s","connection":"a","request":{},"upstream":{"after":"5m"}}"#)
        .line(r#"{"at":"1s","connection":"b","request":{},"upstream":{"after":"13500ms"}}"#)
        .line(r#"{"at":"2s","metrics":{"sluice.in_flight":2}}"#)
        .line(r#"{"at":"3s","connection":"c","request":{"headers":[["x-crash","now"]]}}"#)
        .line(r#"{"at":"12500ms","metrics":{"sluice.in_flight":2}}"#)
        .line(r#"{"at":"13800ms","metrics":{"sluice.in_flight":1}}"#)
        .line(r#"{"at":"15s","metrics":{"sluice.in_flight":0}}"#);
    replayed_with_crash(&trace.0, &fleet(2, 0), |report| assert_held(report, &trace.0));
}

#[test]
fn admin_path_requires_the_token() {
    let token = r#"["authorization","Bearer open sesame"]"#;
    let trace = TraceBuilder::default()
        .store("0s", "etcd", 5, "off")
        .line(r#"{"at":"2s","request":{"path":"/drain"},"upstream":{"status":404},"expect":{"status":404}}"#)
        .line(r#"{"at":"2s","request":{"path":"/drain","headers":[["authorization","Bearer open"]]},"upstream":{"status":404},"expect":{"status":404}}"#)
        .line(&format!(r#"{{"at":"2s","request":{{"path":"/drain","headers":[{token}]}},"upstream":{{"end":"refused"}},"expect":{{"status":200,"upstream":{{"attempts":0}}}}}}"#))
        .line(&format!(r#"{{"at":"3s","request":{{"method":"POST","path":"/drain","headers":[{token}],"body":[{{"text":"{{\"mode\":"}},{{"after":"1s","text":"\"terminate\"}}"}}]}},"expect":{{"status":200,"upstream":{{"attempts":0}}}}}}"#))
        .epoch("4500ms", 6)
        .health("5s", 0, 503)
        .health("5s", 1, 503)
        .line(&format!(r#"{{"at":"6s","request":{{"method":"POST","path":"/drain","headers":[{token}],"body":[{{"bytes":5000}}]}},"expect":{{"status":413,"upstream":{{"attempts":0}}}}}}"#))
        .line(&format!(r#"{{"at":"6s","request":{{"method":"POST","path":"/drain?mode=sleep","headers":[{token}]}},"expect":{{"status":400}}}}"#))
        .line(&format!(r#"{{"at":"6s","request":{{"method":"POST","path":"/drain?mode=off&epoch=5","headers":[{token}]}},"expect":{{"status":409}}}}"#))
        .line(&format!(r#"{{"at":"7s","request":{{"method":"POST","path":"/drain","headers":[{token}],"body":[{{"text":"{{"}},{{"after":"20s","text":"}}"}}]}},"expect":{{"status":408,"first_byte":"5s..6s"}}}}"#))
        .line(&format!(r#"{{"at":"30s","request":{{"method":"POST","path":"/drain?mode=off","headers":[{token}]}},"expect":{{"status":200}}}}"#))
        .health("31s", 0, 200)
        .line(r#"{"at":"31s","metrics":{"sluice.drain.epoch":7,"sluice.drain.admin.commands":2,"sluice.in_flight":0}}"#);
    for_workers(&trace, |report| assert!(!log(report).contains("sesame")));
}
