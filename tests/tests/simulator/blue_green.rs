//! Counts the closes of the scenario `blue-green` over all connections. When a connection closes
//! depends on the hash of its id, so the trace cannot expect it.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_sim::replay::{ClosedBy, ConnectionReport};

use super::replays::{file, generic, options, replayed};
use crate::{configuration, trace};

const EPOCH: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(30);

#[test]
fn each_old_connection_closes_once_within_the_window_and_new_ones_stay_open() {
    let (configuration, trace) = (file(&configuration("blue-green")), file(&trace("blue-green")));
    for options in [
        options(&configuration, 1, 0),
        options(&configuration, 2, 7),
        options(&configuration, 4, 1),
        generic(&configuration, 2, 7),
    ] {
        replayed(&trace, &options, |report| {
            let mut closes: BTreeMap<&str, Vec<&ConnectionReport<'_>>> = BTreeMap::new();
            for connection in &report.connections {
                let closed = closes.entry(&*connection.name).or_default();
                if connection.by == Some(ClosedBy::Proxy) {
                    closed.push(connection);
                }
            }
            assert_eq!(closes.len(), 58);
            for (name, closed) in closes {
                if name.starts_with('n') {
                    assert!(closed.is_empty(), "{name} is new and was closed");
                    continue;
                }
                let [only] = closed[..] else { panic!("{name} was closed {} times", closed.len()) };
                assert_eq!(only.opening, 1, "{name} was closed after a reconnect");
                let at = only.closed.expect("it was closed");
                assert!((EPOCH..EPOCH + WINDOW).contains(&at), "{name} was closed at {at:?}");
            }
        });
    }
}

/// A busy connection closes at its own time within the window, not at the end of the window.
#[test]
fn busy_connections_close_throughout_the_window() {
    let (configuration, trace) = (file(&configuration("blue-green")), file(&trace("blue-green")));
    replayed(&trace, &options(&configuration, 2, 0), |report| {
        let thirds = report
            .connections
            .iter()
            .filter(|connection| connection.by == Some(ClosedBy::Proxy))
            .filter_map(|connection| connection.closed)
            .fold([0; 3], |mut thirds, at| {
                thirds[((at - EPOCH).as_secs() / 10) as usize] += 1;
                thirds
            });
        // A third each on average, and the ten that are idle until the end.
        assert!(thirds.iter().all(|closed| *closed >= 6), "{thirds:?}");
    });
}
