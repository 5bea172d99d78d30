//! Ten thousand connections: a reload spreads the reconnects over its window, and a rebalance
//! closes its share.

use std::fmt::Write;

use sluice_sim::replay::ClosedBy;

use super::replays::{options, replayed};

const CONNECTIONS: usize = 10_000;
const CONFIGURATION: &str = r#"{"version":1,"drain":{"refresh":"250ms"}}"#;

/// Opens all connections, one per millisecond, and starts a drain at 20 s.
fn connections_and_drain(drain: &str) -> String {
    let mut trace = String::new();
    for connection in 0..CONNECTIONS {
        writeln!(trace, r#"{{"at":"{connection}ms","connection":"{connection}","request":{{}}}}"#)
            .expect("writing to a string does not fail");
    }
    writeln!(trace, r#"{{"at":"20s","shared_data":{{"key":"sluice.drain","value":{drain}}}}}"#)
        .expect("writing to a string does not fail");
    trace
}

/// Sends a request on each connection.
fn request_on_all(trace: &mut String, at_ms: usize) {
    for connection in 0..CONNECTIONS {
        let line =
            format_args!(r#"{{"at":"{at_ms}ms","connection":"{connection}","request":{{}}}}"#);
        writeln!(trace, "{line}").expect("writing to a string does not fail");
    }
}

#[test]
fn reload_spreads_closes_evenly_over_the_window() {
    let mut trace = connections_and_drain(
        r#"{"epoch":3,"mode":"reload","started_ms":1767225620000,"window_ms":10000}"#,
    );
    for tenth in 1..=10 {
        request_on_all(&mut trace, 20_000 + tenth * 1_000 - 1);
    }
    for workers in [1, 4] {
        let tenths = replayed(&trace, &options(CONFIGURATION, workers, 5), |report| {
            assert_eq!(report.traps.len(), 0);
            let mut tenths = [0; 10];
            for connection in &report.connections {
                if connection.by == Some(ClosedBy::Proxy) {
                    assert_eq!(connection.opening, 1, "{} was closed twice", connection.name);
                    let at = connection.closed.expect("it was closed").as_millis() as usize;
                    tenths[(at - 20_000) / 1_000] += 1;
                }
            }
            tenths
        });
        assert_eq!(tenths.iter().sum::<usize>(), CONNECTIONS, "{workers} workers: {tenths:?}");
        let expected = CONNECTIONS / 10;
        let tolerance = expected / 4;
        assert!(
            tenths.iter().all(|closed| closed.abs_diff(expected) <= tolerance),
            "{workers} workers: {tenths:?}"
        );
    }
}

#[test]
fn rebalance_closes_its_share() {
    for percent in [1, 30, 100] {
        let mut trace = connections_and_drain(&format!(
            r#"{{"epoch":4,"mode":"rebalance","percent":{percent},"started_ms":1767225620000,"window_ms":5000}}"#
        ));
        request_on_all(&mut trace, 25_000);
        request_on_all(&mut trace, 26_000);
        let closed = replayed(&trace, &options(CONFIGURATION, 2, 0), |report| {
            let closed = report.connections.iter().filter(|one| one.by == Some(ClosedBy::Proxy));
            closed.map(|one| assert_eq!(one.opening, 1, "{}", one.name)).count()
        });
        let share = percent * CONNECTIONS / 100;
        assert!(closed.abs_diff(share) <= 3 * CONNECTIONS / 100, "{percent} %: {closed}");
    }
}
