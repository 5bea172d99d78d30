//! Each stream takes a file of a process or two, and a process may often open only a thousand unless it asks for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open beside streams: its program, its log, its timers.
const OTHERS: u64 = 200;

/// This user may not open as many files as the streams need.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{streams} streams need a limit of {needed} open files, and this user may have {allowed}: raise it (`ulimit -Hn {needed}` as \
     root), or measure fewer streams"
)]
pub struct TooFew {
    streams: u32,
    needed: u64,
    allowed: u64,
}

/// Lets this process, and those that it starts, open as many files as so many streams on each way need.
///
/// # Errors
/// If that is more than the user may have.
pub fn allow(streams: u32) -> Result<(), TooFew> {
    let needed = u64::from(streams) * super::Way::ALL.len() as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let wanted = Rlimit { current: Some(needed), maximum: limit.maximum };
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, wanted).map_err(|_| TooFew { streams, needed, allowed })
}
