//! With random drains and requests, no client loses a request, and no connection closes for an
//! epoch that started before it was opened.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;
use sluice_sim::START_TIME;
use sluice_sim::replay::{ClosedBy, Report};
use sluice_sim::trace::Outcome;

use super::replays::{options, replayed};

const CONFIGURATION: &str = r#"{
    "version": 1,
    "defaults": { "buffering": "auto" },
    "drain": { "refresh": "100ms" }
}"#;

/// Workers learn an epoch within one refresh, and agree on the newest connection within the next.
const PROPAGATION: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
enum Step {
    Request { connection: usize, after_ms: u64, chunks: u32, length: bool },
    Drain { epoch: u64, mode: Mode, window_ms: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Reload,
    Rebalance,
    Terminate,
    Off,
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![
        4 => Just(Mode::Reload),
        2 => Just(Mode::Rebalance),
        1 => Just(Mode::Terminate),
        1 => Just(Mode::Off),
    ];
    prop_oneof![
        12 => (0..6usize, 0..400u64, 0..4u32, any::<bool>()).prop_map(
            |(connection, after_ms, chunks, length)| Step::Request { connection, after_ms, chunks, length }
        ),
        1 => (1..9u64, mode, 0..2_000u64)
            .prop_map(|(epoch, mode, window_ms)| Step::Drain { epoch, mode, window_ms }),
    ]
}

/// The trace, and the time and mode of each drain.
fn trace(steps: &[(u64, Step)]) -> (String, Vec<(Duration, Mode)>) {
    let (mut text, mut drains, mut now) = (String::new(), Vec::new(), 0);
    for connection in 0..6 {
        let protocol = if connection % 3 == 2 { "HTTP/2" } else { "HTTP/1.1" };
        writeln!(
            text,
            r#"{{"at":"0s","connection":"c{connection}","open":{{"protocol":"{protocol}"}}}}"#
        )
        .expect("writing to a string does not fail");
    }
    // A trace of drains alone would check nothing.
    text.push_str("{\"at\":\"0s\",\"request\":{}}\n");
    for (pause, step) in steps {
        now += pause;
        match step {
            Step::Request { connection, after_ms, chunks, length } => {
                let body = match chunks {
                    0 => String::new(),
                    times => format!(r#","body":[{{"after":"5ms","bytes":100,"times":{times}}}]"#),
                };
                let headers = match length {
                    true => format!(r#","headers":[["content-length","{}"]]"#, chunks * 100),
                    false => String::new(),
                };
                writeln!(
                    text,
                    r#"{{"at":"{now}ms","connection":"c{connection}","request":{{}},"upstream":{{"after":"{after_ms}ms"{headers}{body}}},"expect":{{"status":200,"end":"complete","body_bytes":{},"absent":["x-sluice-drain"]}}}}"#,
                    chunks * 100
                )
            }
            Step::Drain { epoch, mode, window_ms } => {
                drains.push((Duration::from_millis(now), *mode));
                let started_ms = START_TIME.as_millis() as u64 + now;
                let (mode, percent) = match mode {
                    Mode::Reload => ("reload", ""),
                    Mode::Rebalance => ("rebalance", r#","percent":50"#),
                    Mode::Terminate => ("terminate", ""),
                    Mode::Off => ("off", ""),
                };
                writeln!(
                    text,
                    r#"{{"at":"{now}ms","shared_data":{{"key":"sluice.drain","value":{{"epoch":{epoch},"mode":"{mode}","started_ms":{started_ms},"window_ms":{window_ms}{percent}}}}}}}"#
                )
            }
        }
        .expect("writing to a string does not fail");
    }
    (text, drains)
}

/// Each connection that the proxy closed was open when a drain started. `terminate` also closes new
/// connections.
fn check_closed_connections_are_old(
    report: &Report,
    drains: &[(Duration, Mode)],
) -> Result<(), TestCaseError> {
    for connection in report.connections.iter().filter(|one| one.by == Some(ClosedBy::Proxy)) {
        let closed = connection.closed.expect("it was closed");
        let justified =
            drains.iter().filter(|(began, _)| *began <= closed).any(|(began, mode)| match mode {
                Mode::Terminate => true,
                Mode::Reload | Mode::Rebalance => connection.opened <= *began + PROPAGATION,
                Mode::Off => false,
            });
        prop_assert!(justified, "{connection:?} was closed without a drain: {drains:?}");
    }
    Ok(())
}

fn check_each_connection_closes_once(report: &Report) -> Result<(), TestCaseError> {
    let mut closes = BTreeMap::new();
    for exchange in report.exchanges.iter().filter(|exchange| exchange.closed) {
        *closes.entry((exchange.connection, exchange.opening)).or_insert(0) += 1;
    }
    prop_assert!(closes.values().all(|times| *times == 1), "{closes:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn drains_lose_no_request_and_close_no_connection_twice(
        steps in prop::collection::vec((0..300u64, step()), 1..60),
        workers in 1..4u32,
        seed in any::<u64>(),
    ) {
        let (text, drains) = trace(&steps);
        replayed(&text, &options(CONFIGURATION, workers, seed), |report| {
            prop_assert_eq!(report.traps.len(), 0);
            prop_assert_eq!(report.failures().next(), None);
            prop_assert!(report.exchanges.iter().all(|exchange| exchange.end == Outcome::Complete));
            check_each_connection_closes_once(report)?;
            check_closed_connections_are_old(report, &drains)
        })?;
    }
}
