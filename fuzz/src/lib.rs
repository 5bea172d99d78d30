//! What the fuzz targets of the host share: guests, and the life of a filter.

pub mod guest;

use sluice_sim::{
    CallId, HeaderMap, Limits, Module, Peer, PluginOptions, Process, Profile, StreamInfo, Vm,
    VmOptions,
};

/// Limits under which no input takes long.
#[must_use]
pub fn budget(instructions: u64) -> Limits {
    Limits::default()
        .with_callback_budget(instructions)
        .with_memory_bytes(4 << 20)
        .with_table_elements(10_000)
        .with_shared_data_bytes(1 << 20)
        .with_queue_bytes(1 << 20)
}

/// Runs the events of a filter's life: two exchanges, a connection, ticks and responses to calls.
///
/// Does nothing if the module does not start.
pub fn exchange(module: &Module, profile: Profile, configuration: &[u8]) {
    let process = Process::with_limits(profile, 1, &budget(1_000_000));
    process.set_max_instructions(20_000_000);
    process.register_foreign_function("f", |_, arguments| Ok(arguments.to_vec()));
    let environment = vec![("KEY".to_owned(), "value".to_owned())];
    let Ok(mut vm) = Vm::new(module, &process, VmOptions::default().with_env(environment)) else {
        return;
    };
    let options = PluginOptions::default().with_configuration(configuration);
    let Ok(plugin) = vm.start_plugin(options) else { return };
    let first = vm.open_http(plugin, StreamInfo::default());
    let second = vm.open_http(plugin, StreamInfo::default());
    let connection = vm.open_tcp(plugin, StreamInfo::default());
    vm.request_headers(first, request(), false);
    vm.request_body(first, b"one", false);
    vm.tick(plugin);
    vm.request_headers(second, request(), true);
    vm.request_trailers(first, [("t", "1")].into_iter().collect());
    vm.downstream_data(connection, b"request", false);
    vm.response_headers(first, response(), false);
    vm.response_body(first, &[0; 2048], false);
    vm.upstream_data(connection, b"response", true);
    vm.response_headers(second, response(), true);
    for call in 1..4 {
        let call = CallId(call);
        vm.http_call_response(call, response(), b"body", HeaderMap::default());
        vm.grpc_message(call, b"message");
        vm.grpc_close(call, 3, "closed");
    }
    vm.response_body(first, b"end", true);
    for event in process.take_queue_events() {
        vm.queue_ready(event.plugin, event.queue);
    }
    vm.close_http(first);
    vm.downstream_close(connection, Peer::Remote);
    vm.tick(plugin);
    vm.close_http(second);
    vm.close_tcp(connection);
    vm.stop_plugin(plugin);
    let mut effects = Vec::new();
    vm.drain_effects(&mut effects);
}

fn request() -> HeaderMap {
    [(":method", "GET"), (":path", "/a?b=c"), (":authority", "a"), ("x-a", "1"), ("x-a", "2")]
        .into_iter()
        .collect()
}

fn response() -> HeaderMap {
    [(":status", "200"), ("content-type", "text/html")].into_iter().collect()
}
