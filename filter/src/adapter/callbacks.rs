//! The callbacks of proxy-wasm ABI 0.2.1 that the module exports. A proxy pays for each call of an
//! exported callback, so there are no others.
//!
//! Each callback borrows the state of the module until it returns. While a tick ends streams, the
//! state is not borrowed, because the host may call back into those streams.
#![expect(unsafe_code, reason = "exported names must be unique")]

use std::cell::RefCell;

use super::HostCalls;
use crate::hash::Map;
use crate::plugin::Plugin;
use crate::stream::{Action, Stream};
use crate::vm::Vm;

#[derive(Default)]
struct Module {
    vm: Vm,
    host: HostCalls,
    /// By context.
    plugins: Map<u32, Plugin>,
    /// By context. They lie in the table itself, which keeps its memory.
    streams: Map<u32, Stream>,
}

thread_local! {
    static MODULE: RefCell<Module> = RefCell::default();
}

fn with_plugin<T>(
    context: u32,
    act: impl FnOnce(&mut Plugin, &mut Vm, &mut HostCalls) -> T,
) -> Option<T> {
    MODULE.with_borrow_mut(|module| {
        let plugin = module.plugins.get_mut(&context)?;
        Some(act(plugin, &mut module.vm, &mut module.host))
    })
}

/// Calls `act` with the stream, and returns the number of its action. The host continues a stream
/// that the module does not know.
fn with_stream(
    context: u32,
    act: impl FnOnce(&mut Stream, &mut Vm, &mut HostCalls) -> Action,
) -> u32 {
    MODULE.with_borrow_mut(|module| {
        let Some(stream) = module.streams.get_mut(&context) else { return 0 };
        match act(stream, &mut module.vm, &mut module.host) {
            Action::Continue => 0,
            Action::Pause => 1,
            Action::Discard => 3,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    MODULE.with_borrow_mut(|module| {
        let Module { vm, plugins, streams, .. } = module;
        if parent == 0 {
            plugins.insert(context, Plugin::new(vm));
        } else if let Some(plugin) = plugins.get(&parent) {
            streams.insert(context, plugin.new_stream(vm, context));
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(context: u32, size: usize) -> u32 {
    let is_accepted = with_plugin(context, |plugin, vm, host| plugin.on_configure(vm, host, size));
    is_accepted.unwrap_or(false).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(context: u32) {
    let endings = with_plugin(context, |plugin, vm, host| plugin.on_tick(vm, host));
    let mut host = HostCalls::default();
    endings.iter().flatten().for_each(|ending| ending.carry_out(&mut host));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    context: u32,
    _call: u32,
    headers: usize,
    body_size: usize,
    _trailers: usize,
) {
    with_plugin(context, |plugin, vm, host| {
        plugin.on_http_call_response(vm, host, headers, body_size);
    });
}

/// Returns whether the host may delete the context now.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> u32 {
    with_plugin(context, |plugin, vm, host| plugin.on_done(vm, host)).unwrap_or(true).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    MODULE.with_borrow_mut(|module| {
        if let Some(mut stream) = module.streams.remove(&context) {
            stream.end(&mut module.vm);
        } else if let Some(mut plugin) = module.plugins.remove(&context) {
            plugin.end(&mut module.vm);
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _count: u32, end: u32) -> u32 {
    with_stream(context, |stream, vm, host| stream.on_request_headers(vm, host, end != 0))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, buffered: usize, end: u32) -> u32 {
    with_stream(context, |stream, vm, host| stream.on_request_body(vm, host, buffered, end != 0))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _count: u32) -> u32 {
    with_stream(context, |stream, vm, host| stream.on_request_trailers(vm, host))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, _count: u32, end: u32) -> u32 {
    with_stream(context, |stream, vm, host| stream.on_response_headers(vm, host, end != 0))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(context: u32, buffered: usize, end: u32) -> u32 {
    with_stream(context, |stream, vm, host| stream.on_response_body(vm, host, buffered, end != 0))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(context: u32, _count: u32) -> u32 {
    with_stream(context, |stream, vm, _| stream.on_response_trailers(vm))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context: u32) {
    with_stream(context, |stream, vm, host| {
        stream.on_log(vm, host);
        Action::Continue
    });
}
