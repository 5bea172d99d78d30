//! The functions of the proxy-wasm ABI that guests import, for the guests that tests generate.

/// The functions of ABI 0.2.1 without the prefix `proxy_`, with their parameters: `i` has 32 bits,
/// `L` has 64. Each returns an `i32`. Positions stay: the corpus of a fuzz target refers to them.
pub const HOST_FUNCTIONS: [(&str, &str); 39] = [
    ("log", "iii"),
    ("get_current_time_nanoseconds", "i"),
    ("set_tick_period_milliseconds", "i"),
    ("get_buffer_bytes", "iiiii"),
    ("set_buffer_bytes", "iiiii"),
    ("get_buffer_status", "iii"),
    ("get_header_map_size", "ii"),
    ("get_header_map_pairs", "iii"),
    ("set_header_map_pairs", "iii"),
    ("get_header_map_value", "iiiii"),
    ("add_header_map_value", "iiiii"),
    ("replace_header_map_value", "iiiii"),
    ("remove_header_map_value", "iii"),
    ("continue_stream", "i"),
    ("close_stream", "i"),
    ("get_status", "iii"),
    ("send_local_response", "iiiiiiii"),
    ("set_effective_context", "i"),
    ("done", ""),
    ("http_call", "iiiiiiiiii"),
    ("grpc_call", "iiiiiiiiiiii"),
    ("grpc_stream", "iiiiiiiii"),
    ("grpc_send", "iiii"),
    ("grpc_cancel", "i"),
    ("grpc_close", "i"),
    ("set_shared_data", "iiiii"),
    ("get_shared_data", "iiiii"),
    ("register_shared_queue", "iii"),
    ("resolve_shared_queue", "iiiii"),
    ("enqueue_shared_queue", "iii"),
    ("dequeue_shared_queue", "iii"),
    ("define_metric", "iiii"),
    ("record_metric", "iL"),
    ("increment_metric", "iL"),
    ("get_metric", "ii"),
    ("get_property", "iiii"),
    ("set_property", "iiii"),
    ("call_foreign_function", "iiiiii"),
    ("get_log_level", "i"),
];

/// The import of a function in WebAssembly text: `$name` is the function `prefix` + `name` of
/// `module`.
pub fn import(module: &str, prefix: &str, (name, params): (&str, &str)) -> String {
    let params: String =
        params.chars().map(|kind| if kind == 'L' { " i64" } else { " i32" }).collect();
    format!(
        "(import \"{module}\" \"{prefix}{name}\" (func ${name} (param{params}) (result i32)))\n"
    )
}

/// The imports of all [`HOST_FUNCTIONS`].
pub fn host_imports() -> String {
    HOST_FUNCTIONS.map(|function| import("env", "proxy_", function)).concat()
}
