//! The clocks of the world outside. Everything that decides gets the time as an argument; `sluice drain` is the one
//! command that deals with running proxies, and here is the one place where it looks at a clock.

#![allow(clippy::disallowed_methods, reason = "running proxies live on the wall clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time that passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// One that begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since it began.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
