//! The functions of WASI preview 1 that modules for wasm32-wasip1 import.
//!
//! As in Envoy, a guest can write log lines to standard output and standard error, and read the
//! clocks, its environment and random bytes. There are no files, no arguments and no network.
//! The specification describes seven of the functions; the results of the others are those of
//! Envoy 1.40, and a test compares each of them with it.

use wasmtime::Linker;

use crate::abi::{LogLevel, Status, errno};
use crate::memory::{
    CallError, CallResult, Guest, bytes, bytes_mut, charge_call, charge_copy, memory_and_state,
    write_u32, write_u64,
};
use crate::state::State;
use crate::trap::{HostTrap, TrapReason};

/// The import modules of WASI preview 1; the second name is an older one.
const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// The monotonic clock. The clock before it, 0, is the real-time clock, and there are no others.
const MONOTONIC_CLOCK: u32 = 1;

/// The most bytes that one call of `random_get` returns. WASI permits the limit.
const RANDOM_LIMIT: u32 = 65_536;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for module in MODULES {
        link_provided(linker, module)?;
        link_streams(linker, module)?;
        link_unsupported(linker, module)?;
    }
    Ok(())
}

/// The functions that have their usual meaning.
fn link_provided(linker: &mut Linker<State>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(module, "fd_write", fd_write)?;
    linker.func_wrap(
        module,
        "fd_pwrite",
        |guest: Guest<'_>, fd: u32, vectors: u32, count: u32, _offset: u64, out: u32| {
            fd_write(guest, fd, vectors, count, out)
        },
    )?;
    linker.func_wrap(module, "clock_time_get", clock_time_get)?;
    linker.func_wrap(module, "clock_res_get", clock_res_get)?;
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
    // Returns at once, because a guest that waits would block the worker.
    linker.func_wrap(module, "poll_oneoff", |_: u32, _: u32, _: u32, _: u32| errno::SUCCESS)?;
    Ok(())
}

/// The functions that change or describe an open file. They have no effect; some succeed for the
/// standard streams only, some for every number.
fn link_streams(linker: &mut Linker<State>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(module, "fd_advise", |_: u32, _: u64, _: u64, _: u32| errno::SUCCESS)?;
    linker.func_wrap(module, "fd_close", |_: u32| errno::SUCCESS)?;
    linker.func_wrap(module, "fd_seek", |_: u32, _: i64, _: u32, _: u32| errno::SUCCESS)?;
    linker.func_wrap(module, "fd_allocate", |fd: u32, _: u64, _: u64| output_stream(fd))?;
    linker.func_wrap(module, "fd_datasync", output_stream)?;
    linker.func_wrap(module, "fd_sync", output_stream)?;
    linker
        .func_wrap(module, "fd_fdstat_set_rights", |fd: u32, _: u64, _: u64| output_stream(fd))?;
    linker.func_wrap(module, "fd_filestat_set_size", |fd: u32, _: u64| output_stream(fd))?;
    linker.func_wrap(module, "fd_filestat_set_times", |fd: u32, _: u64, _: u64, _: u32| {
        output_stream(fd)
    })?;
    linker.func_wrap(
        module,
        "fd_tell",
        |guest: Guest<'_>, fd: u32, out: u32| match output_stream(fd) {
            errno::SUCCESS => write_zeros(guest, &[(out, 8)], errno::SUCCESS),
            error => Ok(error),
        },
    )?;
    linker.func_wrap(module, "fd_renumber", |from: u32, to: u32| {
        let both = output_stream(from) == errno::SUCCESS && output_stream(to) == errno::SUCCESS;
        if both { errno::NOTSUP } else { errno::BADF }
    })?;
    Ok(())
}

/// The functions that always fail: there are no files, no input and no sockets.
fn link_unsupported(linker: &mut Linker<State>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(module, "fd_fdstat_set_flags", |_: u32, _: u32| errno::NOSYS)?;
    linker.func_wrap(module, "fd_filestat_get", |_: u32, _: u32| errno::BADF)?;
    linker.func_wrap(module, "fd_prestat_get", |_: u32, _: u32| errno::BADF)?;
    linker.func_wrap(module, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| errno::NOSYS)?;
    linker.func_wrap(module, "fd_read", |_: u32, _: u32, _: u32, _: u32| errno::NOSYS)?;
    linker.func_wrap(module, "fd_pread", |_: u32, _: u32, _: u32, _: u64, _: u32| errno::NOSYS)?;
    linker.func_wrap(
        module,
        "fd_readdir",
        |guest: Guest<'_>, _: u32, _: u32, _: u32, _: u64, used: u32| {
            write_zeros(guest, &[(used, 4)], errno::CONNABORTED)
        },
    )?;
    linker.func_wrap(
        module,
        "path_open",
        |_: u32, _: u32, _: u32, _: u32, _: u32, _: u64, _: u64, _: u32, _: u32| errno::NOENT,
    )?;
    linker.func_wrap(module, "path_create_directory", |_: u32, _: u32, _: u32| errno::NOTSUP)?;
    linker.func_wrap(module, "path_remove_directory", |_: u32, _: u32, _: u32| errno::NOTSUP)?;
    linker.func_wrap(module, "path_unlink_file", |_: u32, _: u32, _: u32| errno::NOTSUP)?;
    linker.func_wrap(module, "path_filestat_get", |_: u32, _: u32, _: u32, _: u32, _: u32| {
        errno::NOTSUP
    })?;
    linker.func_wrap(
        module,
        "path_filestat_set_times",
        |_: u32, _: u32, _: u32, _: u32, _: u64, _: u64, _: u32| errno::NOTSUP,
    )?;
    // Envoy offers the next two with one parameter less than WASI has.
    linker.func_wrap(module, "path_link", |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
        errno::NOTSUP
    })?;
    linker.func_wrap(module, "path_symlink", |_: u32, _: u32, _: u32, _: u32| errno::NOTSUP)?;
    linker.func_wrap(module, "path_rename", |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
        errno::NOTSUP
    })?;
    linker.func_wrap(
        module,
        "path_readlink",
        |guest: Guest<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, used: u32| {
            write_zeros(guest, &[(used, 4)], errno::NOTSUP)
        },
    )?;
    linker.func_wrap(module, "sock_accept", |guest: Guest<'_>, _: u32, _: u32, out: u32| {
        write_zeros(guest, &[(out, 8)], errno::NOTSUP)
    })?;
    linker.func_wrap(
        module,
        "sock_recv",
        |guest: Guest<'_>, _: u32, _: u32, _: u32, _: u32, size: u32, flags: u32| {
            write_zeros(guest, &[(size, 4), (flags, 2)], errno::NOTSUP)
        },
    )?;
    linker.func_wrap(
        module,
        "sock_send",
        |guest: Guest<'_>, _: u32, _: u32, _: u32, _: u32, size: u32| {
            write_zeros(guest, &[(size, 4)], errno::NOTSUP)
        },
    )?;
    linker.func_wrap(module, "sock_shutdown", |_: u32, _: u32| errno::NOTSUP)?;
    Ok(())
}

/// Success for standard output and standard error, the only open files.
fn output_stream(fd: u32) -> u32 {
    if fd == 1 || fd == 2 { errno::SUCCESS } else { errno::BADF }
}

/// Writes zeros to these places and returns the error number.
fn write_zeros(mut guest: Guest<'_>, places: &[(u32, usize)], errno: u32) -> wasmtime::Result<u32> {
    let written = memory_and_state(&mut guest).and_then(|(memory, _)| {
        for (at, size) in places {
            bytes_mut(memory, *at, *size as u32)?.fill(0);
        }
        Ok(())
    });
    errno_of(written).map(|failed| if failed == errno::SUCCESS { errno } else { failed })
}

/// Converts a result to an error number. Every status that occurs here concerns a pointer.
fn errno_of(result: CallResult) -> wasmtime::Result<u32> {
    match result {
        Ok(()) => Ok(errno::SUCCESS),
        Err(CallError::Status(_)) => Ok(errno::FAULT),
        Err(CallError::Trap(error)) => Err(error),
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
    errno_of(
        charge_call(&mut guest, 0)
            .and_then(|()| write_line(&mut guest, level, vectors, count, out)),
    )
}

fn write_line(
    guest: &mut Guest<'_>,
    level: LogLevel,
    vectors: u32,
    count: u32,
    out: u32,
) -> CallResult {
    let vectors_size = count.checked_mul(8).ok_or(Status::InvalidMemoryAccess)?;
    charge_copy(guest, vectors_size as usize)?;
    let mut line = Vec::new();
    for index in 0..count {
        let (memory, _) = memory_and_state(guest)?;
        let vector = bytes(memory, vectors, vectors_size)?;
        let vector = &vector[index as usize * 8..][..8];
        let [at, len] = [&vector[..4], &vector[4..]]
            .map(|half| u32::from_le_bytes([half[0], half[1], half[2], half[3]]));
        charge_copy(guest, len as usize)?;
        let (memory, state) = memory_and_state(guest)?;
        let room = state.limits.log_bytes.saturating_sub(line.len());
        let chunk = bytes(memory, at, len)?;
        line.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    let (memory, state) = memory_and_state(guest)?;
    write_u32(memory, out, line.len() as u32)?;
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
    if clock > MONOTONIC_CLOCK {
        return Ok(errno::NOTSUP);
    }
    let now = guest.data().process.now_nanos();
    errno_of(memory_and_state(&mut guest).and_then(|(memory, _)| write_u64(memory, out, now)))
}

fn clock_res_get(mut guest: Guest<'_>, clock: u32, out: u32) -> wasmtime::Result<u32> {
    if clock > MONOTONIC_CLOCK {
        return Ok(errno::NOTSUP);
    }
    errno_of(memory_and_state(&mut guest).and_then(|(memory, _)| write_u64(memory, out, 1)))
}

fn random_get(mut guest: Guest<'_>, at: u32, len: u32) -> wasmtime::Result<u32> {
    if len > RANDOM_LIMIT {
        return Ok(errno::INVAL);
    }
    errno_of(charge_call(&mut guest, len as usize).and_then(|()| {
        let (memory, state) = memory_and_state(&mut guest)?;
        state.random.fill(bytes_mut(memory, at, len)?);
        Ok(())
    }))
}

/// The size of the environment, with the pointers to its lines.
fn environment_bytes(guest: &Guest<'_>) -> usize {
    let env = &guest.data().options.env;
    env.iter().map(|(key, value)| key.len() + value.len() + 6).sum()
}

fn environ_sizes_get(mut guest: Guest<'_>, count: u32, size: u32) -> wasmtime::Result<u32> {
    let environment = environment_bytes(&guest);
    errno_of(charge_call(&mut guest, environment).and_then(|()| {
        let (memory, state) = memory_and_state(&mut guest)?;
        let env = &state.options.env;
        let bytes: usize = env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        write_u32(memory, count, env.len() as u32)?;
        write_u32(memory, size, bytes as u32)
    }))
}

fn environ_get(mut guest: Guest<'_>, pointers: u32, at: u32) -> wasmtime::Result<u32> {
    let environment = environment_bytes(&guest);
    errno_of(charge_call(&mut guest, environment).and_then(|()| {
        let (memory, state) = memory_and_state(&mut guest)?;
        let (mut pointer, mut at) = (pointers, at);
        for (key, value) in &state.options.env {
            write_u32(memory, pointer, at)?;
            let line = format!("{key}={value}\0");
            bytes_mut(memory, at, line.len() as u32)?.copy_from_slice(line.as_bytes());
            // The writes have checked that both are inside the memory.
            pointer = pointer.wrapping_add(4);
            at = at.wrapping_add(line.len() as u32);
        }
        Ok(())
    }))
}

fn args_sizes_get(mut guest: Guest<'_>, count: u32, size: u32) -> wasmtime::Result<u32> {
    errno_of(memory_and_state(&mut guest).and_then(|(memory, _)| {
        write_u32(memory, count, 0)?;
        write_u32(memory, size, 0)
    }))
}

/// Reports that standard output and standard error are writable. As in Envoy, a pointer outside of
/// the memory is not an error.
fn fd_fdstat_get(mut guest: Guest<'_>, fd: u32, out: u32) -> wasmtime::Result<u32> {
    const RIGHT_TO_WRITE: u64 = 64;
    if output_stream(fd) != errno::SUCCESS {
        return Ok(errno::BADF);
    }
    if let Ok((memory, _)) = memory_and_state(&mut guest)
        && let Ok(stat) = bytes_mut(memory, out, 24)
    {
        stat.fill(0);
        stat[8..16].copy_from_slice(&RIGHT_TO_WRITE.to_le_bytes());
    }
    Ok(errno::SUCCESS)
}
