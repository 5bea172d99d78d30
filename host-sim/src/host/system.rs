//! Host calls for logging, the clock and the tick period.

use std::time::Duration;

use crate::abi::{LogLevel, Status};
use crate::memory::{
    CallResult, Guest, bytes, charge_copy, memory_and_state, write_u32, write_u64,
};

pub(super) fn log(guest: &mut Guest<'_>, level: u32, text: u32, size: u32) -> CallResult {
    let level = LogLevel::from_abi(level).ok_or(Status::BadArgument)?;
    charge_copy(guest, size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let text = bytes(memory, text, size)?;
    if level >= state.options.log_level {
        state.log(level, text);
    }
    Ok(())
}

pub(super) fn log_level(guest: &mut Guest<'_>, out: u32) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    write_u32(memory, out, state.options.log_level as u32)
}

pub(super) fn current_time(guest: &mut Guest<'_>, out: u32) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    write_u64(memory, out, state.process.now_nanos())
}

pub(super) fn set_tick_period(guest: &mut Guest<'_>, period: u32) -> CallResult {
    let state = guest.data_mut();
    let slot = state.effective.ok_or(Status::BadArgument)?;
    let plugin = state.contexts.at(slot).plugin;
    let plugin = state.contexts.plugin_mut(plugin).ok_or(Status::InternalFailure)?;
    plugin.tick = (period > 0).then(|| Duration::from_millis(period.into()));
    Ok(())
}
