//! The end-to-end harness: it starts a real Envoy between scripted upstreams and clients that
//! record every byte, and compares the simulator with it.
//!
//! | module | contents |
//! |---|---|
//! | [`http1`], [`http2`], [`upstream`], [`net`] | clients and upstreams on real sockets |
//! | [`envoy`], [`etcd`], [`haproxy`], [`nginx`], [`chromium`], [`prometheus`] | real programs, started on free ports |
//! | [`guests`] | runs guests in several languages on both hosts |
//! | [`grpc_health`] | clients and upstreams of gRPC health checks |
//! | [`module`] | modules for Envoy that differ from the built filter |
//! | [`readme_commands`] | runs the commands of an example's README |
//! | [`conformance`] | runs one trace in the simulator and in Envoy, and compares |
//! | [`random_guest`] | runs programs of random host calls on both hosts |
//! | [`prove`] | restarts real proxies under load and counts failed requests |
//! | [`chaos`] | drains real proxies while faults happen, and checks every connection |
//! | [`streams`] | measures the delay of events through Envoy |
//! | [`requests`] | measures the cost of a request through Envoy, by feature |
//! | [`wasi_guest`], [`call_guest`] | guests that make host calls and log the results |
//! | [`cluster_server`] | a server that responds to the calls of a guest as a trace says |
//!
//! Generated inputs, the built module and the program `sluice` are in `sluice-test-kit`, which
//! other packages use too.
//!
//! Servers listen on ports of their own and stop when their value is dropped. An error of the
//! harness panics: a returned error could be overlooked by a test.

#![allow(clippy::disallowed_methods, reason = "a real proxy runs on the wall clock")]

pub mod call_guest;
pub mod chaos;
pub mod chromium;
pub mod cluster_server;
pub mod compatibility;
pub mod conformance;
pub mod crash_guest;
mod debian;
pub mod envoy;
pub mod etcd;
pub mod grpc_health;
pub mod guests;
pub mod haproxy;
pub mod http1;
pub mod http2;
pub mod module;
pub mod net;
pub mod nginx;
mod process;
pub mod prometheus;
pub mod prove;
pub mod random_guest;
pub mod readme_commands;
pub mod requests;
pub mod streams;
pub mod upstream;
pub mod wasi_guest;

use std::time::{Duration, Instant};

pub use net::{reusable_port, unused_port};
pub use sluice_test_kit::program::root;

/// The longest wait of the harness; a test that waits longer fails.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Polls until `poll` returns a value.
///
/// # Panics
/// After [`TEST_TIMEOUT`]; the message contains `awaited`.
pub fn eventually<T>(awaited: &str, poll: impl FnMut() -> Option<T>) -> T {
    eventually_within(TEST_TIMEOUT, awaited, poll)
}

/// [`eventually`] with another timeout.
///
/// # Panics
/// After this time; the message contains `awaited`.
pub fn eventually_within<T>(
    time: Duration,
    awaited: &str,
    mut poll: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(start.elapsed() < time, "waited {time:?} for {awaited}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
