//! When within the window a connection closes, and whether a rebalance closes it. Both come from
//! one hash of the connection id and the epoch: no state, no randomness, and the same result in
//! every worker.

/// Two numbers for a connection in an epoch, each uniform over `u32` and independent of the other.
fn numbers(connection: u64, epoch: u64) -> (u32, u32) {
    // The finalizer of splitmix64, once for the epoch and once for both. Connection ids are
    // consecutive or have a constant stride; the hash removes that pattern.
    let hash = scramble(connection ^ scramble(epoch));
    ((hash >> 32) as u32, hash as u32)
}

fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// When the connection closes, in milliseconds after the start of the window. Less than
/// `window_ms`, or zero.
pub fn offset_ms(connection: u64, epoch: u64, window_ms: u64) -> u64 {
    let (moment, _) = numbers(connection, epoch);
    ((u128::from(moment) * u128::from(window_ms)) >> 32) as u64
}

/// Whether a rebalance of `percent` closes the connection.
pub fn is_chosen(connection: u64, epoch: u64, percent: u64) -> bool {
    let (_, share) = numbers(connection, epoch);
    (u64::from(share) * 100) >> 32 < percent
}
