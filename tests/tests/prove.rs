//! The proof of `cargo xtask prove-drain` in short: real proxies restart behind a real load balancer
//! under clients that never retry, and lose nothing; without a drain the same clients lose some.

use std::time::Duration;

use indicatif::ProgressBar;
use sluice_tests::prove::ways::{Drain, Way};
use sluice_tests::prove::{Kind, Plan, rolling};

/// One after the other: each needs the machine for itself.
#[test]
fn the_filters_drains_lose_nothing_and_the_same_clients_notice_a_kill() {
    let bar = ProgressBar::hidden();
    let plan = Plan { round_trip: Duration::from_millis(10), ..Plan::default() };
    // Longer than HAProxy takes to see that a proxy is out: the last to close are closed in calm.
    let window = Duration::from_secs(3);
    let drained = rolling::run(Way::Envoy(Drain::Sluice(window)), 20_000, plan, &bar);
    assert_eq!(drained.accounts.failed(), 0, "{drained}");
    for kind in [Kind::Looking, Kind::Blind, Kind::Http2] {
        let reconnects = drained.accounts.of(kind).reconnects().len();
        assert!(reconnects > 0, "no {kind:?} client was on a proxy that was restarted");
    }

    let killed = rolling::run(Way::Envoy(Drain::None), 1, plan, &bar);
    let lost = killed.accounts.failed();
    assert!(lost > 0, "clients that cannot lose anything prove nothing: {killed}");
}
