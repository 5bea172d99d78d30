//! Ten thousand connections through module, host and bridge: a drain must not make a fleet reconnect at once, and a rebalance
//! must take its share.

use std::fmt::Write;

use sluice_sim::replay::ClosedBy;

use super::simulator::{options, replayed};

const CONNECTIONS: usize = 10_000;
const CONFIGURATION: &str = r#"{"version":1,"drain":{"refresh":"250ms"}}"#;

/// The epoch begins at 20 s; all connections were opened before, one each millisecond.
fn opened(drain: &str) -> String {
    let mut trace = String::new();
    for connection in 0..CONNECTIONS {
        writeln!(trace, r#"{{"at":"{connection}ms","connection":"{connection}","request":{{}}}}"#)
            .expect("memory");
    }
    writeln!(trace, r#"{{"at":"20s","shared_data":{{"key":"sluice.drain","value":{drain}}}}}"#)
        .expect("memory");
    trace
}

/// A request on every connection.
fn ask_all(trace: &mut String, at_ms: usize) {
    for connection in 0..CONNECTIONS {
        let line =
            format_args!(r#"{{"at":"{at_ms}ms","connection":"{connection}","request":{{}}}}"#);
        writeln!(trace, "{line}").expect("memory");
    }
}

#[test]
fn closes_are_even_over_the_window() {
    let mut trace = opened(r#"{"epoch":3,"mode":"reload","started_ms":20000,"window_ms":10000}"#);
    for tenth in 1..=10 {
        ask_all(&mut trace, 20_000 + tenth * 1_000 - 1);
    }
    for workers in [1, 4] {
        let tenths = replayed(&trace, &options(CONFIGURATION, workers, 5), |report| {
            assert_eq!(report.traps, 0);
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
        let even = CONNECTIONS / 10;
        let most = even / 4;
        assert!(
            tenths.iter().all(|closed| closed.abs_diff(even) <= most),
            "{workers} workers: {tenths:?}"
        );
    }
}

#[test]
fn a_rebalance_closes_its_share() {
    for percent in [1, 30, 100] {
        let mut trace = opened(&format!(
            r#"{{"epoch":4,"mode":"rebalance","percent":{percent},"started_ms":20000,"window_ms":5000}}"#
        ));
        ask_all(&mut trace, 25_000);
        ask_all(&mut trace, 26_000);
        let closed = replayed(&trace, &options(CONFIGURATION, 2, 0), |report| {
            let closed = report.connections.iter().filter(|one| one.by == Some(ClosedBy::Proxy));
            closed.map(|one| assert_eq!(one.opening, 1, "{}", one.name)).count()
        });
        let share = percent * CONNECTIONS / 100;
        assert!(closed.abs_diff(share) <= 3 * CONNECTIONS / 100, "{percent} %: {closed}");
    }
}
