//! Thousands of event streams at once, each event and each end at its own time: what `cargo xtask bench` does with 100,000, in small.

use sluice_test_kit::{inputs, trace};

use super::simulator::{options, replayed};

const STREAMS: usize = 2000;

#[test]
fn thousands_of_streams_are_open_at_once() {
    let configuration = inputs::configuration(inputs::ROUTES);
    for workers in [1, 2] {
        replayed(&trace::streams(STREAMS), &options(&configuration, workers, 0), |report| {
            assert_eq!(report.failures().collect::<Vec<_>>(), []);
            assert_eq!(report.exchanges.len(), STREAMS);
            assert_eq!(report.expected(), 6 * STREAMS + 1);
        });
    }
}
