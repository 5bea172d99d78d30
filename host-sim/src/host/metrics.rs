//! Metrics.

use super::memory::{bytes, parts, put_u32, put_u64};
use super::{Done, Guest};
use crate::abi::{MetricKind, Status};

pub(super) fn define(
    guest: &mut Guest<'_>,
    kind: u32,
    name: u32,
    name_size: u32,
    out: u32,
) -> Done {
    let kind = MetricKind::from_abi(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = parts(guest)?;
    let name = bytes(memory, name, name_size)?;
    bytes(memory, out, 4)?;
    let metric = state.process.metrics_mut().define(kind, name)?;
    put_u32(memory, out, metric)
}

pub(super) fn record(guest: &mut Guest<'_>, metric: u32, value: u64) -> Done {
    Ok(guest.data().process.metrics_mut().record(metric, value)?)
}

pub(super) fn increment(guest: &mut Guest<'_>, metric: u32, delta: i64) -> Done {
    Ok(guest.data().process.metrics_mut().increment(metric, delta)?)
}

pub(super) fn get(guest: &mut Guest<'_>, metric: u32, out: u32) -> Done {
    let value = guest.data().process.metrics_mut().value(metric)?;
    put_u64(parts(guest)?.0, out, value)
}
