//! Tests of the harness itself: its HTTP/1.1 reader, and short runs of its programs: the drain
//! proof (`cargo xtask prove-drain`) and the measurement of event streams (`cargo xtask bench
//! --only streams`).

mod harness {
    mod chaos;
    mod event_streams;
    mod http1;
    mod restarts;
}

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Prevents that two loads run at the same time and disturb each other.
fn exclusive() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
