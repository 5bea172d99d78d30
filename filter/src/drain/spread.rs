//! Each connection's own moment within a window, and whether it belongs to the share that a rebalance closes, both from one hash of the
//! connection and the epoch: no state, no chance, and the same answer in every worker.

/// The two numbers of a connection in an epoch, each even over all `u32`, independent of each other.
fn numbers(connection: u64, epoch: u64) -> (u32, u32) {
    // The finalizer of splitmix64, once for the epoch and once for both: connections are numbered one after the other, often with a
    // stride, and this leaves nothing of that.
    let hash = scramble(connection ^ scramble(epoch));
    ((hash >> 32) as u32, hash as u32)
}

fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The connection's moment, in milliseconds from the begin of a window of `window_ms`; always below it, or zero.
pub fn offset_ms(connection: u64, epoch: u64, window_ms: u64) -> u64 {
    let (moment, _) = numbers(connection, epoch);
    ((u128::from(moment) * u128::from(window_ms)) >> 32) as u64
}

/// Whether the connection belongs to the `percent` that a rebalance closes.
pub fn is_chosen(connection: u64, epoch: u64, percent: u64) -> bool {
    let (_, share) = numbers(connection, epoch);
    (u64::from(share) * 100) >> 32 < percent
}
