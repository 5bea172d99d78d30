//! Thousands of concurrent event streams, a small version of the benchmark with 100,000.

use sluice_test_kit::{inputs, trace};

use super::replays::{options, replayed};

const STREAMS: usize = 2000;

#[test]
fn thousands_of_concurrent_streams_end_as_expected() {
    let configuration = inputs::configuration(inputs::ROUTES);
    for workers in [1, 2] {
        replayed(&trace::streams(STREAMS), &options(&configuration, workers, 0), |report| {
            assert_eq!(report.failures().collect::<Vec<_>>(), []);
            assert_eq!(report.exchanges.len(), STREAMS);
            assert_eq!(report.expected(), 6 * STREAMS + 1);
        });
    }
}
