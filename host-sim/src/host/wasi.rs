//! The part of WASI preview 1 that proxies offer, so that modules built for wasm32-wasip1 load.
//!
//! There are no files, no arguments and no network: a guest can write log lines to its standard
//! streams, read the clock, the environment that the embedder gives it and random bytes. What else
//! such modules import is there and answers that it cannot be done.

use wasmtime::Linker;

use super::memory::{bytes, bytes_mut, parts, pay, put_u32, put_u64};
use super::{Done, Fail, Guest};
use crate::abi::{LogLevel, errno};
use crate::state::State;
use crate::trap::{HostTrap, TrapReason};

/// Names under which WASI preview 1 has been known.
const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Most bytes that a guest gets from `random_get` at once, as WASI bounds it.
const RANDOM_LIMIT: u32 = 65_536;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for module in MODULES {
        linker.func_wrap(module, "fd_write", fd_write)?;
        linker.func_wrap(module, "clock_time_get", clock_time_get)?;
        linker.func_wrap(module, "random_get", random_get)?;
        linker.func_wrap(module, "environ_sizes_get", environ_sizes_get)?;
        linker.func_wrap(module, "environ_get", environ_get)?;
        linker.func_wrap(module, "args_sizes_get", args_sizes_get)?;
        linker.func_wrap(module, "args_get", |_: u32, _: u32| errno::SUCCESS)?;
        linker.func_wrap(module, "fd_fdstat_get", fd_fdstat_get)?;
        linker.func_wrap(module, "proc_exit", |code: u32| -> wasmtime::Result<()> {
            Err(wasmtime::Error::new(HostTrap(TrapReason::Exit(code))))
        })?;
        linker.func_wrap(module, "sched_yield", || errno::SUCCESS)?;
        // There is no descriptor but the standard streams, and those cannot be read or moved.
        linker.func_wrap(module, "fd_read", |_: u32, _: u32, _: u32, _: u32| errno::BADF)?;
        linker.func_wrap(module, "fd_seek", |_: u32, _: i64, _: u32, _: u32| errno::BADF)?;
        linker.func_wrap(module, "fd_close", |_: u32| errno::BADF)?;
        linker.func_wrap(module, "fd_fdstat_set_flags", |_: u32, _: u32| errno::BADF)?;
        linker.func_wrap(module, "fd_filestat_get", |_: u32, _: u32| errno::BADF)?;
        linker.func_wrap(module, "fd_prestat_get", |_: u32, _: u32| errno::BADF)?;
        linker.func_wrap(module, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| errno::BADF)?;
        linker.func_wrap(module, "fd_readdir", |_: u32, _: u32, _: u32, _: i64, _: u32| {
            errno::BADF
        })?;
        // There is no file system.
        linker.func_wrap(
            module,
            "path_open",
            |_: u32, _: u32, _: u32, _: u32, _: u32, _: i64, _: i64, _: u32, _: u32| errno::NOSYS,
        )?;
        linker.func_wrap(
            module,
            "path_filestat_get",
            |_: u32, _: u32, _: u32, _: u32, _: u32| errno::NOSYS,
        )?;
        linker.func_wrap(module, "path_create_directory", |_: u32, _: u32, _: u32| errno::NOSYS)?;
        linker.func_wrap(module, "path_remove_directory", |_: u32, _: u32, _: u32| errno::NOSYS)?;
        linker.func_wrap(module, "path_unlink_file", |_: u32, _: u32, _: u32| errno::NOSYS)?;
        linker.func_wrap(
            module,
            "path_rename",
            |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| errno::NOSYS,
        )?;
        linker.func_wrap(
            module,
            "path_readlink",
            |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| errno::NOSYS,
        )?;
        linker.func_wrap(module, "poll_oneoff", |_: u32, _: u32, _: u32, _: u32| errno::NOSYS)?;
    }
    Ok(())
}

/// The error number for an outcome: whatever is wrong with a pointer is a fault.
fn number(done: Done) -> wasmtime::Result<u32> {
    match done {
        Ok(()) => Ok(errno::SUCCESS),
        Err(Fail::Status(_)) => Ok(errno::FAULT),
        Err(Fail::Trap(error)) => Err(error),
    }
}

fn fd_write(
    mut guest: Guest<'_>,
    fd: u32,
    vectors: u32,
    count: u32,
    out: u32,
) -> wasmtime::Result<u32> {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Ok(errno::BADF),
    };
    number(write_line(&mut guest, level, vectors, count, out))
}

fn write_line(guest: &mut Guest<'_>, level: LogLevel, vectors: u32, count: u32, out: u32) -> Done {
    let vectors_size = count.checked_mul(8).ok_or(crate::abi::Status::InvalidMemoryAccess)?;
    pay(guest, vectors_size as usize)?;
    let mut line = Vec::new();
    for index in 0..count {
        let (memory, _) = parts(guest)?;
        let vector = bytes(memory, vectors, vectors_size)?;
        let vector = &vector[index as usize * 8..][..8];
        let [at, len] = [&vector[..4], &vector[4..]]
            .map(|half| u32::from_le_bytes([half[0], half[1], half[2], half[3]]));
        pay(guest, len as usize)?;
        let (memory, state) = parts(guest)?;
        let room = state.limits.log_bytes.saturating_sub(line.len());
        let piece = bytes(memory, at, len)?;
        line.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    let (memory, state) = parts(guest)?;
    put_u32(memory, out, line.len() as u32)?;
    if !line.is_empty() && level >= state.options.log_level {
        state.log(level, line.strip_suffix(b"\n").unwrap_or(&line));
    }
    Ok(())
}

fn clock_time_get(
    mut guest: Guest<'_>,
    clock: u32,
    _precision: u64,
    out: u32,
) -> wasmtime::Result<u32> {
    let known = clock == 0 || (clock == 1 && guest.data().rules.monotonic_clock);
    if !known {
        return Ok(errno::NOTSUP);
    }
    let now = guest.data().process.now_nanos();
    number(parts(&mut guest).and_then(|(memory, _)| put_u64(memory, out, now)))
}

fn random_get(mut guest: Guest<'_>, at: u32, len: u32) -> wasmtime::Result<u32> {
    if len > RANDOM_LIMIT {
        return Ok(errno::INVAL);
    }
    number(pay(&mut guest, len as usize).and_then(|()| {
        let (memory, state) = parts(&mut guest)?;
        state.random.fill(bytes_mut(memory, at, len)?);
        Ok(())
    }))
}

fn environ_sizes_get(mut guest: Guest<'_>, count: u32, size: u32) -> wasmtime::Result<u32> {
    number(parts(&mut guest).and_then(|(memory, state)| {
        let env = &state.options.env;
        let bytes: usize = env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        put_u32(memory, count, env.len() as u32)?;
        put_u32(memory, size, bytes as u32)
    }))
}

fn environ_get(mut guest: Guest<'_>, pointers: u32, at: u32) -> wasmtime::Result<u32> {
    number(parts(&mut guest).and_then(|(memory, state)| {
        let (mut pointer, mut at) = (pointers, at);
        for (key, value) in &state.options.env {
            put_u32(memory, pointer, at)?;
            let line = format!("{key}={value}\0");
            bytes_mut(memory, at, line.len() as u32)?.copy_from_slice(line.as_bytes());
            // Both lie inside of the memory, as the writes have shown.
            pointer = pointer.wrapping_add(4);
            at = at.wrapping_add(line.len() as u32);
        }
        Ok(())
    }))
}

fn args_sizes_get(mut guest: Guest<'_>, count: u32, size: u32) -> wasmtime::Result<u32> {
    number(parts(&mut guest).and_then(|(memory, _)| {
        put_u32(memory, count, 0)?;
        put_u32(memory, size, 0)
    }))
}

/// The standard streams can be written, nothing else is known about them.
fn fd_fdstat_get(mut guest: Guest<'_>, fd: u32, out: u32) -> wasmtime::Result<u32> {
    if fd != 1 && fd != 2 {
        return Ok(errno::BADF);
    }
    const RIGHT_TO_WRITE: u64 = 64;
    number(parts(&mut guest).and_then(|(memory, _)| {
        let stat = bytes_mut(memory, out, 24)?;
        stat.fill(0);
        stat[8..16].copy_from_slice(&RIGHT_TO_WRITE.to_le_bytes());
        Ok(())
    }))
}
