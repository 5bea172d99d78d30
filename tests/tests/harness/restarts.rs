//! Real proxies restart behind a real load balancer, under clients that never retry.

use std::time::Duration;

use indicatif::ProgressBar;
use sluice_tests::prove::restart::{Bounds, DrainMethod, RestartMethod};
use sluice_tests::prove::streams::{self, Lengths, StreamLoad};
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

/// A drain of Envoy's own waits for streams without an end, until it is killed.
#[test]
fn drained_streams_end_at_a_boundary_and_killed_streams_do_not() {
    let _exclusive = crate::exclusive();
    let seconds = Duration::from_secs;
    let lengths = Lengths { shortest: seconds(1), longest: seconds(4) };
    let streams = StreamLoad { events: 10, sockets: 10, completions: 10, lengths };
    let load = Load { checking: 10, blind: 10, http2: 2, ..Load::default() };
    let bounds = Bounds { patience: seconds(6), endless: seconds(1), completions: seconds(5) };
    let run = |method, restarts| {
        let method = RestartMethod::Envoy(method);
        streams::run(method, restarts, (load, streams), bounds, &ProgressBar::hidden())
    };
    let drained = run(DrainMethod::Sluice(seconds(1)), 1);
    assert!(drained.holds(), "{drained}");
    let cut = drained.streams.events.at_boundary.min(drained.streams.sockets.at_boundary);
    assert!(cut > 0 && drained.streams.completions >= 10, "{drained}");

    let killed = run(DrainMethod::HealthcheckFail, 1);
    assert!(killed.streams.events.torn > 0 && killed.streams.sockets.torn > 0, "{killed}");
    assert_eq!(killed.streams.sockets.at_boundary, 0, "{killed}");
}
