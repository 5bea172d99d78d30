//! Raises the limit of open files. Each stream needs one in each of two processes; the default
//! limit is often 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The open files of a process other than streams: its log, its timers, its listeners.
const OTHER_FILES: u64 = 200;

/// The user's limit of open files is too low for the streams.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{streams} streams need a limit of {needed} open files, but the hard limit is {allowed}; raise it (`ulimit -Hn {needed}` as \
     root) or measure fewer streams"
)]
pub struct LimitTooLow {
    streams: u32,
    needed: u64,
    allowed: u64,
}

/// Raises the limit of this process and its children, so that this many streams fit in each setup.
///
/// # Errors
/// If the hard limit is lower.
pub fn raise_open_file_limit(streams: u32) -> Result<(), LimitTooLow> {
    let needed = u64::from(streams) * super::Setup::ALL.len() as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let wanted = Rlimit { current: Some(needed), maximum: limit.maximum };
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, wanted).map_err(|_| LimitTooLow { streams, needed, allowed })
}
