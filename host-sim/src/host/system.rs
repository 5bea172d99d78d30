//! Logging, the clock and the tick.

use std::time::Duration;

use super::memory::{bytes, parts, pay, put_u32, put_u64};
use super::{Done, Guest};
use crate::abi::{LogLevel, Status};

pub(super) fn log(guest: &mut Guest<'_>, level: u32, text: u32, size: u32) -> Done {
    let level = LogLevel::from_abi(level).ok_or(Status::BadArgument)?;
    pay(guest, size as usize)?;
    let (memory, state) = parts(guest)?;
    let text = bytes(memory, text, size)?;
    if level >= state.options.log_level {
        state.log(level, text);
    }
    Ok(())
}

pub(super) fn log_level(guest: &mut Guest<'_>, out: u32) -> Done {
    let (memory, state) = parts(guest)?;
    put_u32(memory, out, state.options.log_level as u32)
}

pub(super) fn time(guest: &mut Guest<'_>, out: u32) -> Done {
    let (memory, state) = parts(guest)?;
    put_u64(memory, out, state.process.now_nanos())
}

pub(super) fn tick_period(guest: &mut Guest<'_>, period: u32) -> Done {
    let state = guest.data_mut();
    let slot = state.current.ok_or(Status::BadArgument)?;
    let plugin = state.contexts.at(slot).plugin;
    let plugin = state.contexts.plugin_mut(plugin).ok_or(Status::InternalFailure)?;
    plugin.tick = (period > 0).then(|| Duration::from_millis(period.into()));
    Ok(())
}
