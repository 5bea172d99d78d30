//! Real proxies restart behind a real load balancer, under clients that never retry.

use std::time::Duration;

use indicatif::ProgressBar;
use sluice_tests::prove::restart::{DrainMethod, RestartMethod};
use sluice_tests::prove::{ClientKind, Load, rolling};

/// The kill at the end shows that the same clients do lose requests without a drain.
#[test]
fn drained_restarts_lose_no_request_and_a_kill_does() {
    let _exclusive = crate::exclusive();
    let bar = ProgressBar::hidden();
    let load = Load { round_trip: Duration::from_millis(10), ..Load::default() };
    // Longer than HAProxy needs to mark a proxy as down, so that the last connections close without
    // load.
    let window = Duration::from_secs(3);
    let drain = RestartMethod::Envoy(DrainMethod::Sluice(window));
    let drained = rolling::run(drain, 20_000, load, &bar);
    assert_eq!(drained.clients.failed(), 0, "{drained}");
    for kind in [ClientKind::Checking, ClientKind::Blind, ClientKind::Http2] {
        let reconnects = drained.clients.of(kind).reconnects().len();
        assert!(reconnects > 0, "no {kind:?} client was connected to a proxy that restarted");
    }

    let killed = rolling::run(RestartMethod::Envoy(DrainMethod::None), 1, load, &bar);
    assert!(killed.clients.failed() > 0, "a kill lost no request: {killed}");
}
