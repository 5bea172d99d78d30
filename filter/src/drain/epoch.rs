//! The limit of epochs. One record must not use up all epochs: a drain with the highest possible
//! epoch could not end before its process does, because no epoch could follow it.

use crate::config::Epoch;

/// How far the clocks of two machines may differ, in milliseconds: 50 days.
const TOLERANCE_MS: u64 = 50 * 24 * 3_600_000;

/// An epoch that would leave no room for the next ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "epoch {epoch} is too high; expected at most {highest}, the Unix time in microseconds plus 50 days"
)]
pub struct EpochTooHigh {
    /// The epoch that was found.
    pub epoch: u64,
    /// The highest epoch that is accepted at this time.
    pub highest: u64,
}

/// The highest epoch that is accepted at this time: the Unix time in microseconds plus 50 days.
///
/// Counters and timestamps are below this limit. It increases by a million each second. After an
/// epoch at the limit, the next one is therefore accepted a millisecond later.
pub fn highest(now_ms: u64) -> u64 {
    now_ms.saturating_add(TOLERANCE_MS).saturating_mul(1000).min(Epoch::MAX)
}

/// Accepts an epoch that is not too high. Accepts the one after `in_force` at any time, so that a
/// clock that was set back never prevents a drain.
///
/// # Errors
/// If the epoch is too high.
pub fn check(epoch: u64, in_force: u64, now_ms: u64) -> Result<(), EpochTooHigh> {
    let highest = highest(now_ms).max(in_force.saturating_add(1)).min(Epoch::MAX);
    if epoch <= highest { Ok(()) } else { Err(EpochTooHigh { epoch, highest }) }
}
