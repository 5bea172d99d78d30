//! The end-to-end harness: a real Envoy between an upstream that follows a script and clients that
//! see every byte, because what the filter promises is what a client of a real proxy gets.
//!
//! Everything runs on ports of its own and is gone when its value is dropped. Whatever goes wrong
//! panics: a harness that reports its own trouble as a value invites tests that overlook it.

#![allow(clippy::disallowed_methods, reason = "a real proxy runs on the wall clock")]

pub mod conformance;
pub mod debian;
pub mod envoy;
pub mod etcd;
pub mod haproxy;
pub mod http1;
pub mod http2;
pub mod message;
pub mod nginx;
pub mod prometheus;
pub mod prove;
pub mod streams;
pub mod upstream;
pub mod walkthrough;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// No wait of the harness is longer: a test that hangs is a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The root of the repository.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the tests lie in a folder of the workspace").to_owned()
}

/// Waits until `holds` gives a value.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub fn eventually<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A free port for a server that is stopped and started again. It lies below those that Linux gives
/// to clients, so that no client's socket sits on it in between.
///
/// # Panics
/// If there is none.
pub fn steady_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| fastrand::u16(PORTS).into());
    for _ in PORTS {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
