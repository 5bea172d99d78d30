//! Host calls that define, change and read metrics.

use crate::abi::{MetricKind, Status};
use crate::memory::{CallResult, Guest, bytes, memory_and_state, write_u32, write_u64};

pub(super) fn define(
    guest: &mut Guest<'_>,
    kind: u32,
    name: u32,
    name_size: u32,
    out: u32,
) -> CallResult {
    let kind = MetricKind::from_abi(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = memory_and_state(guest)?;
    let name = bytes(memory, name, name_size)?;
    bytes(memory, out, 4)?;
    let metric = state.process.metrics_mut().define(kind, name)?;
    write_u32(memory, out, metric)
}

pub(super) fn record(guest: &mut Guest<'_>, metric: u32, value: u64) -> CallResult {
    Ok(guest.data().process.metrics_mut().record(metric, value)?)
}

pub(super) fn increment(guest: &mut Guest<'_>, metric: u32, delta: i64) -> CallResult {
    Ok(guest.data().process.metrics_mut().increment(metric, delta)?)
}

pub(super) fn get(guest: &mut Guest<'_>, metric: u32, out: u32) -> CallResult {
    let value = guest.data().process.metrics_mut().value(metric)?;
    write_u64(memory_and_state(guest)?.0, out, value)
}
